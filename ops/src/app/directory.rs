//! The directory of an org, as the log has it, with the instances that are known at present.

use super::reads::Reads;
use crate::{
    problems, rights,
    told::{Resolved, ResolvedInstance},
};
use quipu_kinds::alias::{Address, Addressee, AliasName};
use quipu_runtime::volatile::InstanceStatus;
use quipu_schemas::{
    ids::{EntityId, Kind, PrincipalId, StreamId},
    problem::Problem,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn at<T: DeserializeOwned>(value: &Value, pointer: &str) -> Option<T> {
    serde_json::from_value(value.pointer(pointer)?.clone()).ok()
}

impl Reads<'_> {
    /// Whom an address means, for whoever may read that entity.
    pub async fn resolve(&self, address: &Address) -> Result<Resolved, Problem> {
        let not_found = || {
            Problem::new(404, "address_not_found", "nobody is addressed so in this org")
                .field("address")
                .fix("see who there is in the views `entities` and `handles`")
        };
        let entity = match &address.whom {
            Addressee::Id(id) => Some(self.stream(Kind::ENTITY, id.clone())),
            Addressee::Alias(alias) => self.holder_of(alias).await?,
        };
        // Whoever may not read it is not told that it exists.
        let Some(stream) = entity else {
            self.ask_kind(&Kind::ENTITY)?;
            return Err(not_found());
        };
        let asked = self.ask_entity(&stream);
        let known = self.known_entity(&stream).await?;
        let project = known.as_ref().and_then(|(_, state)| at(state, "/project"));
        let is_within =
            project.is_some_and(|project| self.holds_within(&rights::of_kind(&stream.kind), (&stream.kind, &stream.id), &project));
        if !is_within {
            asked?;
        }
        let Some((version, state)) = known else {
            return Err(not_found());
        };
        let aliases = at::<Vec<Value>>(&state, "/aliases").unwrap_or_default();
        let held = aliases.into_iter().filter(|claimed| claimed["is_held"] == true);
        let instances: Vec<ResolvedInstance> = self.instances(&stream).into_iter().map(Into::into).collect();
        let instance = match &address.instance {
            Some(id) => {
                let named = instances.iter().find(|instance| instance.id == id.as_str());
                let problem = || Problem::new(404, "instance_not_found", format!("{} has no instance {id} at present", stream.id));
                Some(
                    named
                        .cloned()
                        .ok_or_else(|| problem().field("address").fix("resolve it without #"))?,
                )
            }
            None => instances.iter().find(|one| one.status == InstanceStatus::Available).cloned(),
        };
        Ok(Resolved {
            id: stream.id.to_string(),
            entity_type: at(&state, "/type").ok_or_else(|| problems::internal("an entity without a type"))?,
            name: at(&state, "/name").unwrap_or_default(),
            status: at(&state, "/status").unwrap_or_default(),
            version,
            aliases: held.filter_map(|claimed| at(&claimed, "/alias")).collect(),
            bindings: at(&state, "/bindings").unwrap_or_default(),
            instance,
            instances,
        })
    }

    /// Refuses whoever is neither bound to the entity nor manages the directory: nobody else speaks for its instances.
    pub async fn ask_instance_of(&self, stream: &StreamId, principal: &PrincipalId) -> Result<(), Problem> {
        let manages = self.ask_right(&rights::SYNC, Some((&stream.kind, &stream.id)));
        let Err(problem) = manages else { return Ok(()) };
        let Some((_, state)) = self.known_entity(stream).await? else {
            return Err(problem);
        };
        let bindings: Vec<quipu_kinds::entity::Binding> = at(&state, "/bindings").unwrap_or_default();
        let is_bound = bindings.iter().any(|binding| {
            use quipu_kinds::entity::BoundTo;
            matches!(binding.to, BoundTo::Principal | BoundTo::Agent) && binding.id == principal.as_str()
        });
        if is_bound { Ok(()) } else { Err(problem) }
    }

    /// The project that an entity belongs to now.
    pub(super) async fn project_of(&self, stream: &StreamId) -> Result<Option<EntityId>, Problem> {
        let known = self.known_entity(stream).await?;
        Ok(known.and_then(|(_, state)| at(&state, "/project")))
    }

    async fn holder_of(&self, alias: &AliasName) -> Result<Option<StreamId>, Problem> {
        let stream = self.stream(Kind::ALIAS, alias.id());
        let Some((_, state)) = self.state_of(&stream).await? else {
            return Ok(None);
        };
        let is_this = at::<AliasName>(&state, "/held/alias").is_some_and(|held| held == *alias);
        Ok(at(&state, "/held/entity").filter(|_| is_this))
    }

    async fn known_entity(&self, stream: &StreamId) -> Result<Option<(u64, Value)>, Problem> {
        let state = self.state_of(stream).await?;
        Ok(state.and_then(|(version, state)| Some((version, state.get("known")?.clone()))))
    }
}
