//! Rules of an entity of the directory: one id, the aliases that it has, and what it is bound to.
//!
//! Who has an alias is decided by the alias's own stream: an entity asks there and is told, so that of two that ask at once one
//! gets it. Claims are numbered, so that whatever order answers and news of an alias come in, each is about its own claim.

mod change;
mod rejection;

pub use rejection::EntityRejection;

use crate::decider::{Asked, AskedOf, Belongs, Corrupt, Decider, Decision, Right};
use change::{Change, entered};
use quipu_kinds::{
    alias::{AliasName, AliasWord, ClaimAlias, GiveUpAlias},
    entity::{
        AddAlias, AliasAnswered, BindEntity, Binding, BoundTo, CreateEntity, EntityCommand, EntityEvent, EntityStatus, EntityType,
        EntityWord, LoseAlias, MoveEntity, RemoveAlias, RenameEntity, SetEntityStatus, SyncEntity, UnbindEntity,
    },
};
use quipu_schemas::{
    context::Context,
    envelope::KernelCommand,
    ids::{EntityId, Kind, StreamId},
    json::Json,
    reaction::{Dispatch, Reaction, Settled},
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a claim is told by, with its number behind it.
const CLAIM: &str = "claim-";

/// The kind `entity`.
pub struct Entity;

/// State of an entity.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityState {
    /// Not in the directory.
    #[default]
    Missing,
    /// In the directory.
    Known(Known),
}

/// An entity that is in the directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Known {
    /// What it is.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Display name.
    pub name: String,
    /// How it stands.
    pub status: EntityStatus,
    /// The project that it belongs to.
    pub project: Option<EntityId>,
    /// Its aliases, those among them that it only claims.
    pub aliases: Vec<Claimed>,
    /// What it is bound to.
    pub bindings: BTreeSet<Binding>,
    /// How many claims it has made.
    pub claims: u64,
}

/// An alias that an entity has or claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claimed {
    /// The alias.
    pub alias: AliasName,
    /// The number of the claim.
    pub claim: u64,
    /// Whether it has it; otherwise there is no answer yet.
    pub is_held: bool,
}

impl Known {
    fn new(entity_type: EntityType, name: &str) -> Self {
        Self {
            entity_type,
            name: name.to_owned(),
            status: EntityStatus::default(),
            project: None,
            aliases: Vec::new(),
            bindings: BTreeSet::new(),
            claims: 0,
        }
    }

    fn claimed(&self, alias: &AliasName) -> Option<&Claimed> {
        self.aliases.iter().find(|claimed| claimed.alias == *alias)
    }

    fn numbered(&self, claim: u64) -> Option<&Claimed> {
        self.aliases.iter().find(|claimed| claimed.claim == claim)
    }

    /// The aliases that it has.
    pub fn held(&self) -> impl Iterator<Item = &AliasName> {
        self.aliases.iter().filter(|claimed| claimed.is_held).map(|claimed| &claimed.alias)
    }

    /// What it is bound to of this sort, where that is one at a time.
    fn only(&self, to: BoundTo) -> Option<&Binding> {
        let is_single = to != BoundTo::Participant;
        self.bindings.iter().find(|binding| is_single && binding.to == to)
    }
}

impl Decider for Entity {
    const KIND: &'static str = "entity";
    const RULES_VERSION: u32 = 1;
    const HEARS_ENTITIES: bool = true;
    type State = EntityState;
    type Command = EntityCommand;
    type Word = EntityWord;
    type Event = EntityEvent;
    type Rejection = EntityRejection;

    fn initial() -> EntityState {
        EntityState::Missing
    }

    fn decide(state: &EntityState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<EntityEvent>, EntityRejection> {
        match (asked, state) {
            (Asked::Word(word), state) => decide_word(state, word, context),
            (Asked::Command(EntityCommand::Create(_)), EntityState::Known(_)) => Err(EntityRejection::Exists(context.stream.id.clone())),
            (Asked::Command(EntityCommand::Create(create)), EntityState::Missing) => decide_create(create, context),
            (Asked::Command(EntityCommand::Sync(sync)), state) => decide_sync(state, sync, context),
            (Asked::Command(_), EntityState::Missing) => Err(EntityRejection::NotFound(context.stream.id.clone())),
            (Asked::Command(command), EntityState::Known(known)) => decide_known(known, command, context),
        }
    }

    fn evolve(state: EntityState, event: &EntityEvent) -> Result<EntityState, Corrupt> {
        match (state, event) {
            (EntityState::Missing, EntityEvent::Created { entity_type, name }) => Ok(EntityState::Known(Known::new(*entity_type, name))),
            (EntityState::Known(known), event) => folded(known, event).map(EntityState::Known),
            (EntityState::Missing, event) => Err(Corrupt(format!("{event:?} of an entity that is not in the directory"))),
        }
    }

    fn react(_state: &EntityState, event: &EntityEvent) -> Vec<Reaction> {
        let send = |of: &StreamId, word: AliasWord| Dispatch::new(of.clone(), Json(serde_json::to_value(word).expect("words serialize")));
        match event {
            EntityEvent::AliasAsked { alias, of, claim } => {
                let word = AliasWord::Claim(ClaimAlias {
                    alias: alias.clone(),
                    claim: *claim,
                });
                vec![Reaction::Dispatch(send(of, word).awaiting(format!("{CLAIM}{claim}")))]
            }
            EntityEvent::AliasRemoved { of, claim, .. } => {
                vec![Reaction::Dispatch(send(of, AliasWord::GiveUp(GiveUpAlias { claim: *claim })))]
            }
            EntityEvent::Created { .. }
            | EntityEvent::Renamed { .. }
            | EntityEvent::StatusSet { .. }
            | EntityEvent::AliasHeld { .. }
            | EntityEvent::AliasRefused { .. }
            | EntityEvent::AliasLost { .. }
            | EntityEvent::Moved { .. }
            | EntityEvent::Bound { .. }
            | EntityEvent::Unbound { .. } => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<EntityWord> {
        let KernelCommand::DispatchSettled { name, outcome, .. } = told else {
            return None;
        };
        let claim = name.strip_prefix(CLAIM)?.parse().ok()?;
        let refused = match outcome {
            Settled::Accepted | Settled::Unchanged => None,
            Settled::Refused { code } => Some(code),
            _ => Some("dropped".to_owned()),
        };
        Some(EntityWord::AliasAnswered(AliasAnswered { claim, refused }))
    }

    fn belongs_to(state: &EntityState, command: &Value) -> Belongs {
        let named = |of: &str| command[of]["project"].as_str().and_then(|id| EntityId::parse(id).ok());
        let (project, into) = match state {
            EntityState::Known(known) => (known.project.clone(), named("move").filter(|to| known.project.as_ref() != Some(to))),
            // What is made in a project takes a right on the project.
            EntityState::Missing => (named("create"), named("create")),
        };
        Belongs {
            project,
            application: None,
            into,
        }
    }

    fn right(_command: &str) -> Right {
        // Who is called what, and who is who, is said by admins; others by a grant.
        Right::Role(Role::Admin)
    }
}

fn folded(mut known: Known, event: &EntityEvent) -> Result<Known, Corrupt> {
    let corrupt = |what: &str| Err(Corrupt(format!("{what}: {event:?}")));
    match event {
        EntityEvent::Created { .. } => return corrupt("it is in the directory"),
        EntityEvent::Renamed { name } => known.name.clone_from(name),
        EntityEvent::StatusSet { status } => known.status = *status,
        EntityEvent::Moved { project } => known.project.clone_from(project),
        EntityEvent::AliasAsked { alias, claim, .. } => {
            known.claims = known.claims.max(*claim);
            known.aliases.push(Claimed {
                alias: alias.clone(),
                claim: *claim,
                is_held: false,
            });
        }
        EntityEvent::AliasHeld { claim, .. } => match known.aliases.iter_mut().find(|claimed| claimed.claim == *claim) {
            Some(claimed) => claimed.is_held = true,
            None => return corrupt("not claimed"),
        },
        EntityEvent::AliasRefused { claim, .. } | EntityEvent::AliasRemoved { claim, .. } | EntityEvent::AliasLost { claim, .. } => {
            let before = known.aliases.len();
            known.aliases.retain(|claimed| claimed.claim != *claim);
            if known.aliases.len() == before {
                return corrupt("not claimed");
            }
        }
        EntityEvent::Bound { binding } => {
            if !known.bindings.insert(binding.clone()) {
                return corrupt("bound already");
            }
        }
        EntityEvent::Unbound { binding } => {
            if !known.bindings.remove(binding) {
                return corrupt("not bound");
            }
        }
    }
    Ok(known)
}

/// The stream that decides who has an alias.
fn decider_of(alias: &AliasName, context: &Context<'_>) -> StreamId {
    StreamId::new(context.stream.org.clone(), Kind::ALIAS, alias.id())
}

fn decide_create(create: &CreateEntity, context: &Context<'_>) -> Result<Decision<EntityEvent>, EntityRejection> {
    let mut change = entered(create.entity_type, &create.name, context)?;
    change.move_to(create.project.as_ref());
    for alias in &create.aliases {
        change.claim(alias)?;
    }
    for binding in &create.bindings {
        change.bind(binding)?;
    }
    Ok(Decision::all(change.events))
}

fn decide_sync(state: &EntityState, sync: &SyncEntity, context: &Context<'_>) -> Result<Decision<EntityEvent>, EntityRejection> {
    let mut change = match state {
        EntityState::Missing => entered(sync.entity_type, &sync.name, context)?,
        EntityState::Known(known) if known.entity_type != sync.entity_type => return Err(EntityRejection::OtherType(known.entity_type)),
        EntityState::Known(known) => Change::of(known, context),
    };
    change.rename(&sync.name)?;
    if let Some(status) = sync.status {
        change.set_status(status);
    }
    if let Some(aliases) = &sync.aliases {
        let others: Vec<AliasName> = change.known.aliases.iter().map(|claimed| claimed.alias.clone()).collect();
        for other in others.iter().filter(|other| !aliases.contains(other)) {
            change.give_up(other)?;
        }
        for alias in aliases {
            change.claim(alias)?;
        }
    }
    if let Some(bindings) = &sync.bindings {
        let others: Vec<Binding> = change.known.bindings.iter().cloned().collect();
        for other in others.iter().filter(|other| !bindings.contains(other)) {
            change.unbind(other)?;
        }
        for binding in bindings {
            change.bind(binding)?;
        }
    }
    Ok(Decision::all(change.events))
}

fn decide_known(known: &Known, command: &EntityCommand, context: &Context<'_>) -> Result<Decision<EntityEvent>, EntityRejection> {
    let mut change = Change::of(known, context);
    match command {
        // Both are decided before.
        EntityCommand::Create(_) | EntityCommand::Sync(_) => return Err(EntityRejection::Exists(context.stream.id.clone())),
        EntityCommand::Rename(RenameEntity { name }) => change.rename(name)?,
        EntityCommand::SetStatus(SetEntityStatus { status }) => change.set_status(*status),
        EntityCommand::Move(MoveEntity { project }) => change.move_to(project.as_ref()),
        EntityCommand::AddAlias(AddAlias { alias }) => change.claim(alias)?,
        EntityCommand::RemoveAlias(RemoveAlias { alias }) => change.give_up(alias)?,
        EntityCommand::Bind(BindEntity { binding }) => change.bind(binding)?,
        EntityCommand::Unbind(UnbindEntity { binding }) => change.unbind(binding)?,
    }
    Ok(Decision::all(change.events))
}

fn decide_word(state: &EntityState, word: &EntityWord, context: &Context<'_>) -> Result<Decision<EntityEvent>, EntityRejection> {
    let EntityState::Known(known) = state else {
        return Ok(Decision::Unchanged);
    };
    match word {
        EntityWord::AliasAnswered(AliasAnswered { claim, refused }) => {
            if context.authority.dispatched_by.is_some() {
                return Err(EntityRejection::NotTheAlias);
            }
            // It may have been taken in the meantime.
            let Some(claimed) = known.numbered(*claim).filter(|claimed| !claimed.is_held) else {
                return Ok(Decision::Unchanged);
            };
            let alias = claimed.alias.clone();
            Ok(Decision::one(match refused {
                None => EntityEvent::AliasHeld { alias, claim: *claim },
                Some(why) => EntityEvent::AliasRefused {
                    alias,
                    claim: *claim,
                    why: why.clone(),
                },
            }))
        }
        EntityWord::LoseAlias(LoseAlias { claim }) => {
            let Some(claimed) = known.numbered(*claim) else {
                return Ok(Decision::Unchanged);
            };
            if context.authority.dispatched_by.as_ref() != Some(&decider_of(&claimed.alias, context)) {
                return Err(EntityRejection::NotTheAlias);
            }
            Ok(Decision::one(EntityEvent::AliasLost {
                alias: claimed.alias.clone(),
                claim: *claim,
                was_held: claimed.is_held,
            }))
        }
    }
}

#[cfg(test)]
mod tests;
