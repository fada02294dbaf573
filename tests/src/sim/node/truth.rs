//! Nothing is put to its rules without the right: asked again of what the log says, from its beginning, whatever the node keeps in
//! memory and whatever its relays carry along.

use super::SimNode;
use quipu_rules::{
    decider::Right,
    org::OrgState,
    principal::PrincipalState,
    rights::{Asked, RoleSpec, Roles},
};
use quipu_runtime::kernel::{
    authorities::folded::Folded,
    cause::Cause,
    entity::{Admitted, settles},
    relay::{Purpose, RelayAction},
};
use quipu_schemas::{
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope},
    ids::{CredentialId, EntityId, Home, Kind, OrgId, PrincipalId, StreamId},
    reaction::Effect,
    rights::Capability,
};
use std::{collections::BTreeMap, sync::Arc};

impl SimNode {
    /// An entity as its durable records have it.
    fn truth(&mut self, stream: StreamId) -> Result<Arc<Folded>, String> {
        let head = self.index.stream_head(&stream).map_err(|e| e.to_string())?;
        let end = head.map_or(Digest::ZERO, |head| head.hash);
        if let Some(known) = self.truth.get(&stream).filter(|known| known.hash() == end) {
            return Ok(known.clone());
        }
        let folded = Arc::new(self.library().folded(&stream)?);
        self.truth.insert(stream, folded.clone());
        Ok(folded)
    }

    /// By whose rights and by which credential a command is sent: a dispatch by its cause's, as the record says.
    fn sent_by(&self, envelope: &CommandEnvelope) -> Result<(PrincipalId, Option<CredentialId>), String> {
        let own = || (envelope.principal.clone(), envelope.credential.clone());
        let Some(key) = settles(&envelope.body) else { return Ok(own()) };
        let records = self.library().records(&key.stream, key.version)?;
        let Some(record) = records.first() else { return Ok(own()) };
        Ok(match &record.header.acts_as {
            Some(acting) => (acting.principal.clone(), acting.credential.clone()),
            None => (record.header.principal.clone(), record.header.credential.clone()),
        })
    }

    pub(super) fn check_right(&mut self, envelope: &CommandEnvelope, admitted: &Admitted) -> Result<(), String> {
        let CommandBody::Given { command, .. } = &envelope.body else {
            return Ok(());
        };
        let org = StreamId::of_org(&envelope.stream.org);
        let is_suspended = matches!(&*self.truth(org)?, Folded::Org(org) if matches!(org.typed_state(), OrgState::Suspended { .. }));
        if is_suspended != admitted.authority.org_suspended {
            let about = format!("{} {}", envelope.stream, envelope.command_id);
            self.broken.push(format!(
                "{about}: that its org is suspended is {is_suspended}, and was taken for the opposite"
            ));
        }
        if admitted.refused.is_some() || admitted.seen.is_some() {
            return Ok(());
        }
        let name = command.0.as_object().and_then(|map| map.keys().next()).cloned().unwrap_or_default();
        let Some(right) = self.charter.command(&envelope.stream.kind, &name) else {
            return Ok(());
        };
        let (sender, credential) = self.sent_by(envelope)?;
        let org = envelope.stream.org.clone();
        let mut lacks = Vec::new();
        for who in [Some(&sender), envelope.on_behalf_of.as_ref()].into_iter().flatten() {
            if !who.is_platform() && self.is_stopped(&Home::of(&org, who))? {
                lacks.push(format!("{who} was stopped"));
            }
        }
        if let Some(id) = credential.as_ref().and_then(CredentialId::session) {
            lacks.extend(self.session_lacks(&Home::of(&org, &sender), id, right.cap, admitted)?);
        } else if let Some(credential) = &credential
            && let Some(why) = self.key_lacks(&org, credential, &sender, right.cap, admitted)?
        {
            lacks.push(why);
        }
        let is_token = sender == PrincipalId::BOOTSTRAP && credential.is_none();
        if let Some(speaker) = speaker(envelope, &name, &sender, is_token) {
            let act_as = Capability::named("principal.act_as");
            let act_as = self.charter.catalogue().cap(&act_as).ok_or("nobody may speak for others")?;
            if !self.was_given(&org, &speaker, act_as, envelope)? {
                lacks.push(format!("{speaker} may not speak for others"));
            }
            if let Some(credential) = &credential
                && let Some(why) = self.key_lacks(&org, credential, &sender, act_as, admitted)?
            {
                lacks.push(why);
            }
        }
        let actor = match &envelope.on_behalf_of {
            Some(actor) => Some(actor.clone()),
            None => (!is_token).then_some(sender),
        };
        if let (Some(actor), Right::Role(needed)) = (actor, right.right) {
            let role = match &*self.truth(StreamId::of_org(&org))? {
                Folded::Org(folded) => match folded.typed_state() {
                    OrgState::Missing => None,
                    state => state.role(&actor),
                },
                _ => None,
            };
            if role.is_none_or(|role| role < needed) && !self.was_given(&org, &actor, right.cap, envelope)? {
                lacks.push(format!("{actor} is {role:?}, it takes {needed:?}"));
            }
        }
        let kind = &envelope.stream.kind;
        let lacks = lacks.into_iter();
        self.broken
            .extend(lacks.map(|why| format!("{kind}.{name} was put to its rules without the right: {why}")));
        Ok(())
    }

    /// What leaves now was caused by nobody who is stopped, as the log says it.
    pub(super) fn check_stopped(&mut self, action: &RelayAction) -> Result<(), String> {
        let key = match action {
            RelayAction::Perform { effect, .. } if matches!(**effect, Effect::Seal(_) | Effect::Shred(_) | Effect::Refresh(_)) => {
                return Ok(());
            }
            RelayAction::Perform { key, .. } => key,
            RelayAction::Submit {
                key,
                purpose: Purpose::Start | Purpose::Dispatch,
                ..
            } => key,
            RelayAction::Submit { .. } | RelayAction::Load { .. } | RelayAction::Cancel(_) => return Ok(()),
        };
        let records = self.library().records(&key.stream, key.version)?;
        let cause = Cause::from(&records.first().ok_or("a reaction without a record")?.header);
        for who in [Some(cause.principal), cause.on_behalf_of].into_iter().flatten() {
            if !who.is_platform() && self.is_suspended_principal(&Home::of(&key.stream.org, &who))? {
                self.broken.push(format!("{key} leaves, and {who}, who caused it, is suspended"));
            }
        }
        Ok(())
    }

    /// Those of these principals that are suspended.
    pub(crate) fn suspended_of(&mut self, of: Vec<Home>) -> Result<Vec<Home>, String> {
        let mut found = Vec::new();
        for home in of {
            if self.is_suspended_principal(&home)? {
                found.push(home);
            }
        }
        Ok(found)
    }

    fn is_suspended_principal(&mut self, home: &Home) -> Result<bool, String> {
        let truth = self.truth(home.stream())?;
        Ok(matches!(&*truth, Folded::Principal(known) if matches!(known.typed_state(), PrincipalState::Suspended { .. })))
    }

    fn own_roles(&mut self, org: &OrgId) -> Result<Roles, String> {
        let own: BTreeMap<String, RoleSpec> = match &*self.truth(StreamId::new(org.clone(), Kind::ROLE, EntityId::from_static("all")))? {
            Folded::Roles(roles) => roles.typed_state().specs().map(|(name, spec)| (name.to_owned(), spec)).collect(),
            _ => BTreeMap::new(),
        };
        Ok(self.charter.roles(&own))
    }

    fn is_stopped(&mut self, home: &Home) -> Result<bool, String> {
        Ok(match &*self.truth(home.stream())? {
            Folded::Principal(known) => match known.typed_state() {
                PrincipalState::Missing | PrincipalState::Active(_) | PrincipalState::Device(_) => false,
                PrincipalState::Suspended { .. } | PrincipalState::Retired { .. } => true,
            },
            _ => false,
        })
    }

    fn session_lacks(
        &mut self,
        home: &Home,
        id: &EntityId,
        cap: quipu_rules::rights::Cap,
        admitted: &Admitted,
    ) -> Result<Option<String>, String> {
        let roles = self.charter.roles([]);
        let truth = self.truth(home.stream())?;
        let Folded::Principal(known) = &*truth else {
            return Ok(Some(format!("{home} is not a principal")));
        };
        let session = known.typed_state().account().and_then(|account| account.session(id));
        let Some(session) = session.filter(|session| session.is_live(self.now.time)) else {
            return Ok(Some(format!("session {id} of {home} has ended")));
        };
        let scope = self.charter.scope(&session.start.scope, &roles);
        let is_cut = !scope.holds(&asked(cap, &admitted.command, self.now.time));
        Ok(is_cut.then(|| format!("session {id} is cut to {:?}", session.start.scope)))
    }

    fn key_lacks(
        &mut self,
        org: &OrgId,
        credential: &CredentialId,
        sender: &PrincipalId,
        cap: quipu_rules::rights::Cap,
        admitted: &Admitted,
    ) -> Result<Option<String>, String> {
        let roles = self.own_roles(org)?;
        let stream = StreamId::new(org.clone(), credential.kind.clone(), credential.id.clone());
        let truth = self.truth(stream)?;
        let Folded::Key(key) = &*truth else {
            return Ok(Some(format!("{credential} is not a key")));
        };
        let state = key.typed_state();
        if let Err(why) = state.check(self.now.time) {
            return Ok(Some(format!("{credential}: {why}")));
        }
        let scope = self.charter.scope(state.scopes(), &roles);
        let asked = asked(cap, &admitted.command, self.now.time);
        if !scope.holds(&asked) {
            return Ok(Some(format!("{credential} is cut to {:?}", state.scopes())));
        }
        Ok((state.principal() != Some(sender)).then(|| format!("{credential} is not {sender}'s")))
    }

    fn was_given(
        &mut self,
        org: &OrgId,
        actor: &PrincipalId,
        cap: quipu_rules::rights::Cap,
        envelope: &CommandEnvelope,
    ) -> Result<bool, String> {
        let roles = self.own_roles(org)?;
        let id = EntityId::parse(actor.as_str()).map_err(|e| e.to_string())?;
        Ok(match &*self.truth(StreamId::new(org.clone(), Kind::GRANT, id))? {
            Folded::Grant(grant) => {
                let rights = self.charter.rights(None, &grant.typed_state().grants, &roles);
                rights.holds(&asked(cap, envelope, self.now.time))
            }
            _ => false,
        })
    }
}

/// Who speaks for somebody else by this command, or lets its entity do so.
fn speaker(envelope: &CommandEnvelope, command: &str, sender: &PrincipalId, is_token: bool) -> Option<PrincipalId> {
    let actor = match &envelope.on_behalf_of {
        Some(actor) if !is_token && actor != sender => return Some(sender.clone()),
        Some(actor) => actor,
        None if is_token => return None,
        None => sender,
    };
    let CommandBody::Given { command: given, .. } = &envelope.body else {
        return None;
    };
    let named = given.0.get(command)?.get("act_as")?.as_str()?;
    (named != actor.as_str()).then(|| actor.clone())
}

fn asked<'a>(cap: quipu_rules::rights::Cap, envelope: &'a CommandEnvelope, now: u64) -> Asked<'a> {
    Asked {
        cap,
        entity: Some((&envelope.stream.kind, &envelope.stream.id)),
        application: None,
        project: None,
        now,
    }
}
