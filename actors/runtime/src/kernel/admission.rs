//! Admission: what must be known before a command is decided, and what is refused before it is.
//!
//! The machine asks one question at a time; its driver looks the answer up, however long that takes, and decides nothing.
//! What comes out is the command with everything that its decision may depend on: the rights of its sender, the first
//! receipt of its id, the settlement of the reaction that it settles. Whether the entity exists is for its kind's rules.

use super::{
    entity::{Admitted, Recalled, Ticket, is_owed, settles},
    principals::KnownPrincipal,
    refusals::{
        APPLICATION_SUSPENDED, CREDENTIAL_ENDED, NOT_OPEN, PRINCIPAL_RETIRED, PRINCIPAL_SUSPENDED, authority_stale, entity_busy,
        idempotency_key_required, lease_ended, no_access, unknown_org,
    },
    rights::{ActorRights, KnownKey, OrgView},
    seen_commands::SeenCommands,
};
use gates::Guards;
use quipu_events::index::{FirstReceipt, command_mark};
use quipu_rules::{
    application::ApplicationState,
    decider::Belongs,
    rights::{CREDENTIAL_REVOKED, Cap, Charter},
};
use quipu_schemas::{
    client_secret::ClientId,
    context::{Authority, Millis},
    envelope::{CommandBody, CommandEnvelope, Durability, Receipt},
    ids::{CredentialId, EntityId, Home, Kind, PrincipalId},
    limits::ENTITY_QUEUE_MAX,
    problem::Problem,
    reaction::{ReactionKey, Settled},
    record::StoredEvent,
    rights::Capability,
};
use right::{Held, Takes};
use std::sync::Arc;

mod behind;
mod gates;
mod right;

/// The partition of a command's org, as the node that is to decide sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrgPartition {
    /// What is known of it is young enough to decide by.
    pub is_fresh: bool,
    /// Another node may have written to it since it was read.
    pub is_elsewhere: bool,
}

/// What has to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What the command's org says of its actor: [`Admission::org`].
    Org {
        /// Its partition is to be read to the end before.
        is_read_first: bool,
    },
    /// What the org says of somebody who sends a command on behalf of its actor, or acts by its actor's session:
    /// [`Admission::sender`].
    Sender(PrincipalId),
    /// Whoever acts, sends, or has the session that was shown: [`Admission::principal`].
    Principal(Home),
    /// The org's key of this id: [`Admission::key`].
    Key(EntityId),
    /// The client of the session that was shown, or of one that it was made from: [`Admission::application`].
    Application(ClientId),
    /// Whether the org's project of this id has ended: [`Admission::project`].
    Project(EntityId),
    /// The marks of the stream's durable records, where they are few: [`SeenCommands::load`].
    Marks,
    /// The receipt of the command's id: [`Admission::receipt`].
    Receipt,
    /// What became of this reaction: [`Admission::settlement`].
    Settlement(ReactionKey),
    /// The records of the stream whose events gave this name: [`Admission::recalled`].
    Named(String),
}

/// How it goes on.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub enum Step {
    /// This is looked up, and the machine is asked again. Where it cannot be looked up the command is not decided.
    Ask(Question),
    /// The command is decided.
    Admit(Admitted),
    /// The command is refused; nothing of it was taken down.
    Refuse(Problem),
}

/// What admission goes by besides the command.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// What commands take.
    pub charter: &'a Charter,
    /// What the log promises.
    pub durability: Durability,
    /// The partition of the command's org.
    pub partition: OrgPartition,
    /// What the entity belongs to.
    pub belongs: &'a Belongs,
    /// What its state has forgotten and the decision asks for.
    pub recalls: Vec<String>,
    /// Now, by the clock of the node that decides: what has ended by then counts no longer.
    pub now: Millis,
}

/// One command on its way to its decision.
pub struct Admission {
    ticket: Ticket,
    command: Arc<CommandEnvelope>,
    durability: Durability,
    partition: OrgPartition,
    now: Millis,
    belongs: Belongs,
    takes: Takes,
    guards: Guards,
    /// What it names of rights and the node does not know.
    unknown: Option<Problem>,
    leads_to: Option<(Cap, Capability)>,
    actor: Option<Arc<ActorRights>>,
    /// What was asked of others than the actor. They are few.
    senders: Vec<(PrincipalId, Arc<ActorRights>)>,
    principals: Vec<(Home, Option<Arc<KnownPrincipal>>)>,
    /// `Some(None)`: there is no such key.
    key: Option<Option<Arc<KnownKey>>>,
    /// Clients that were asked for; `None`: there is none.
    applications: Vec<(ClientId, Option<ApplicationState>)>,
    /// Whether the project into which the command brings the entity has ended.
    is_archived: Option<bool>,
    is_read: bool,
    /// Whether the id is certainly new; `None`: not asked yet.
    is_new: Option<bool>,
    receipt: Option<Option<FirstReceipt>>,
    settled: Option<Option<Settled>>,
    /// What is still to be looked up, by name.
    recalls: Vec<String>,
    recalled: Recalled,
}

impl Admission {
    /// A command that its entity has taken from its queue.
    pub fn of(ticket: Ticket, command: Arc<CommandEnvelope>, terms: Terms<'_>) -> Self {
        Self {
            ticket,
            takes: Takes::of(&command, terms.charter),
            guards: Guards::of(&command, terms.charter),
            unknown: right::unknown(&command, terms.charter),
            leads_to: gates::leads_to(&command, terms.charter),
            command,
            durability: terms.durability,
            partition: terms.partition,
            now: terms.now,
            belongs: terms.belongs.clone(),
            actor: None,
            senders: Vec::new(),
            principals: Vec::new(),
            key: None,
            applications: Vec::new(),
            is_archived: None,
            is_read: false,
            is_new: None,
            receipt: None,
            settled: None,
            recalls: terms.recalls,
            recalled: Recalled::new(),
        }
    }

    /// An answer to [`Question::Org`].
    pub fn org(&mut self, rights: Arc<ActorRights>, is_read_first: bool) {
        self.actor = Some(rights);
        self.is_read |= is_read_first;
    }

    /// The answer to [`Question::Sender`].
    pub fn sender(&mut self, principal: PrincipalId, rights: Arc<ActorRights>) {
        self.senders.push((principal, rights));
    }

    /// The answer to [`Question::Principal`]; `None` where nobody is there.
    pub fn principal(&mut self, home: Home, known: Option<Arc<KnownPrincipal>>) {
        self.principals.push((home, known));
    }

    /// The session that was shown, where one was: whoever looks its principal up may have to wait for it.
    pub fn session(command: &CommandEnvelope) -> Option<&EntityId> {
        command.credential.as_ref().and_then(CredentialId::session)
    }

    /// The answer to [`Question::Key`].
    pub fn key(&mut self, key: Option<Arc<KnownKey>>) {
        self.key = Some(key);
    }

    /// The answer to [`Question::Application`]; `None` where there is no such client.
    pub fn application(&mut self, client: ClientId, known: Option<ApplicationState>) {
        self.applications.push((client, known));
    }

    /// The answer to [`Question::Project`]; one that was never begun has not ended.
    pub fn project(&mut self, is_archived: bool) {
        self.is_archived = Some(is_archived);
    }

    /// The answer to [`Question::Receipt`].
    pub fn receipt(&mut self, receipt: Option<FirstReceipt>) {
        self.receipt = Some(receipt);
    }

    /// The answer to [`Question::Settlement`].
    pub fn settlement(&mut self, settled: Option<Settled>) {
        self.settled = Some(settled);
    }

    /// The answer to [`Question::Named`]: all events of those records, oldest first.
    pub fn recalled(&mut self, name: String, events: Vec<StoredEvent>) {
        self.recalls.retain(|asked| *asked != name);
        self.recalled.insert(name, events);
    }

    /// What comes next. `seen` are the marks of the entity's commands; this one's is added where it is not refused first.
    pub fn step(&mut self, seen: &mut SeenCommands) -> Step {
        if !self.partition.is_fresh {
            return Step::Refuse(authority_stale(&self.command.stream.org));
        }
        let Some(actor) = self.actor.clone() else {
            return Step::Ask(Question::Org { is_read_first: false });
        };
        // It may have been made a moment ago, at another node.
        if actor.org.version == 0 && self.partition.is_elsewhere && !self.is_read {
            return Step::Ask(Question::Org { is_read_first: true });
        }
        if let Some(problem) = self.nowhere(&actor) {
            return Step::Refuse(problem);
        }
        let refused = match self.lacking(&actor).and_then(|()| self.fits()) {
            Ok(()) => None,
            Err(Held::Unknown(question)) => return Step::Ask(question),
            Err(Held::Not(problem)) => Some(*problem),
        };
        // What an entity dispatched is settled by its refusal; a client's command leaves nothing behind.
        if let Some(problem) = refused.clone().filter(|_| !is_owed(&self.command.body)) {
            return self.repeated(problem);
        }
        // What somebody who was suspended had sent before is not noted as refused: it is sent again when they are resumed.
        if let Some(problem) = refused.clone().filter(passes) {
            return Step::Refuse(problem);
        }
        if self.is_new.is_none() && seen.wants_marks() {
            return Step::Ask(Question::Marks);
        }
        let is_new = *self.is_new.get_or_insert_with(|| seen.note(command_mark(&self.command.command_id)));
        if !is_new && self.receipt.is_none() {
            return Step::Ask(Question::Receipt);
        }
        if self.settled.is_none()
            && let Some(key) = settles(&self.command.body)
        {
            return Step::Ask(Question::Settlement(key.clone()));
        }
        // Nothing is decided of what is refused or repeated.
        let is_decided = refused.is_none() && !matches!(self.receipt, Some(Some(_)));
        if let Some(name) = self.recalls.first().filter(|_| is_decided) {
            return Step::Ask(Question::Named(name.clone()));
        }
        self.admit(&actor, refused)
    }

    fn admit(&mut self, actor: &ActorRights, refused: Option<Problem>) -> Step {
        Step::Admit(Admitted {
            ticket: self.ticket,
            command: self.command.clone(),
            seen: self.receipt.take().flatten(),
            settled: self.settled.take().flatten(),
            authority: self.authority(actor),
            refused,
            durability: self.durability,
            recalled: std::mem::take(&mut self.recalled),
        })
    }

    /// A client's command to which nobody in its chain holds the right any more, or never did: whoever sent it when they did
    /// gets its first receipt, as for every repetition. By a credential that has ended nothing is answered, nor
    /// to whoever was stopped.
    fn repeated(&mut self, problem: Problem) -> Step {
        let is_same = |first: &FirstReceipt| {
            first.principal == self.command.principal
                && first.on_behalf_of == self.command.on_behalf_of
                && first.digest == self.command.digest
        };
        match (&self.receipt, &self.actor) {
            _ if is_stopped(&problem) => Step::Refuse(problem),
            (None, _) => Step::Ask(Question::Receipt),
            (Some(Some(first)), Some(actor)) if is_same(first) => self.admit(&actor.clone(), Some(problem)),
            (Some(_), _) => Step::Refuse(problem),
        }
    }

    /// Refuses what is sent to an org that does not exist: by its name only to whoever may know that.
    fn nowhere(&self, actor: &ActorRights) -> Option<Problem> {
        match &self.command.body {
            CommandBody::Kernel(_) => return None,
            // People have no org, and nothing else is told anything in this way.
            CommandBody::Told { .. } if self.command.stream.kind == Kind::PRINCIPAL => return None,
            CommandBody::Told { .. } => return Some(no_access()),
            CommandBody::Given { .. } if actor.org.version > 0 => return None,
            CommandBody::Given { .. } => {}
        }
        if self.command.credential.is_some() {
            return Some(no_access());
        }
        (self.command.stream.kind != Kind::ORG).then(|| unknown_org(&self.command.stream.org))
    }

    fn authority(&self, actor: &ActorRights) -> Authority {
        let dispatched_by = match &self.command.body {
            CommandBody::Given { settles, .. } => settles.as_ref().map(|key| key.stream.clone()),
            CommandBody::Kernel(_) | CommandBody::Told { .. } => None,
        };
        let known = self.known_of(self::actor(&self.command));
        Authority {
            platform: right::is_platform(&self.command),
            role: actor.org.role.filter(|_| self.command.foreign_home().is_none()),
            permitted: self.is_permitted(actor),
            narrowed: self.is_narrowed(),
            through: self.is_through_another(),
            manages: self.manages(actor),
            acting: self.acting(),
            org_version: actor.org.version,
            org_suspended: actor.org.suspended,
            dispatched_by,
            automaton: known.is_some_and(KnownPrincipal::is_automaton),
            owner: known.and_then(|known| known.owner.clone()),
        }
    }
}

/// Whether nothing is answered, not even what was answered before.
fn is_stopped(problem: &Problem) -> bool {
    let ended = [CREDENTIAL_ENDED, CREDENTIAL_REVOKED, PRINCIPAL_RETIRED];
    passes(problem) || ended.contains(&problem.code.as_str())
}

/// Whether a refusal is over when somebody is resumed.
fn passes(problem: &Problem) -> bool {
    [PRINCIPAL_SUSPENDED, APPLICATION_SUSPENDED].contains(&problem.code.as_str())
}

/// Who acts by a command: its principal, or the one for whom it speaks.
pub fn actor(command: &CommandEnvelope) -> &PrincipalId {
    command.on_behalf_of.as_ref().unwrap_or(&command.principal)
}

/// Refuses a client's command that came without an id of its sender's, where its org requires one.
pub fn key_not_needed(org: &OrgView) -> Result<(), Problem> {
    if org.requires_key {
        Err(idempotency_key_required())
    } else {
        Ok(())
    }
}

/// Refuses a client's command where too many wait for its entity; what follows from records must go on.
pub fn queued(command: &CommandEnvelope, waiting: usize) -> Result<(), Problem> {
    if !is_owed(&command.body) && waiting >= ENTITY_QUEUE_MAX {
        return Err(entity_busy(&command.stream, waiting));
    }
    Ok(())
}

/// Whether a refused command is sent again, to whoever owns its partition next. Where others share the log its owner may
/// have gone; damage stays.
pub fn is_for_next_owner(problem: &Problem, is_shared: bool, is_damaged: bool) -> bool {
    match problem.code.as_str() {
        NOT_OPEN => true,
        "partition_stopped" => is_shared && !is_damaged,
        _ => is_shared && problem.passes_with_its_owner(),
    }
}

/// A refusal is only as fresh as the owner's lease: past it another node may have decided since.
pub fn within_lease(answer: Result<Receipt, Problem>, may_refuse: bool) -> Result<Receipt, Problem> {
    match answer {
        Err(problem) if problem.status < 500 && !may_refuse => Err(lease_ended()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests;
