//! Looks up what the machines ask for before a command is decided: orgs and rights, marks, receipts, settlements.

use crate::{
    authority::Kept,
    core::Core,
    kernel::{
        admission::{Admission, OrgPartition, Question, Step, Terms, actor},
        authorities::{Authorities, Wanted, folded::Folded},
        cause::Cause,
        entity::{Admitted, Entity, Ticket},
        principals::KnownPrincipal,
        refusals::authority_stale,
        rights::{ActorRights, KnownKey, OrgView},
        seen_commands::SeenCommands,
        stops::{Look, Stop, Unknown, stop_of},
    },
    off_worker::off_worker,
    refusals::index_problem,
    shadow,
};
use quipu_events::index::FirstReceipt;
use quipu_rules::{
    application::ApplicationState,
    principal::{Device, Person},
};
use quipu_schemas::{
    client_secret::ClientId,
    context::Millis,
    digest::Digest,
    envelope::CommandEnvelope,
    ids::{CommandId, EntityId, Home, Kind, OrgId, PrincipalId, StreamId, minted_at},
    limits::{AUTHORITY_ROUNDS_MAX, AUTHORITY_STALE_MS, SEEN_LOADED_MAX},
    problem::Problem,
    reaction::{ReactionKey, Settled},
    record::StoredEvent,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

impl Core {
    /// The partition of an org, as this node sees it.
    pub(crate) fn org_partition(&self, org: &OrgId) -> OrgPartition {
        let partition = self.partition_of_org(org);
        OrgPartition {
            is_fresh: self.is_fresh(partition),
            is_elsewhere: self.is_elsewhere(partition),
        }
    }

    /// The one that holds everything by which rights in the org are decided.
    fn partition_of_org(&self, org: &OrgId) -> u16 {
        StreamId::of_org(org).partition(self.meta.partitions)
    }

    /// What a principal may in an org. Reads the log where it has to, away from the tasks of this thread; where
    /// `is_read_first`, the org's partition to the end before.
    pub(crate) fn rights(&self, org: &OrgId, principal: &PrincipalId, is_read_first: bool) -> Result<Arc<ActorRights>, Problem> {
        if is_read_first {
            off_worker(|| shadow::follow(self, self.partition_of_org(org)));
        }
        let known = self.known(org, |known, read| known.actor(org, principal, read))?;
        Ok(known.unwrap_or_else(|| Arc::new(ActorRights::nobody())))
    }

    /// A key of an org; `None` where there is no such key.
    pub(crate) fn api_key(&self, org: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, Problem> {
        self.known(org, |known, read| known.key(org, id, read))
    }

    /// A client of an org; `None` where there is no such client.
    pub(crate) fn application(&self, org: &OrgId, id: &EntityId) -> Result<Option<ApplicationState>, Problem> {
        self.known(org, |known, read| known.application(org, id, read))
    }

    /// Whether a project of an org has ended.
    fn is_archived(&self, org: &OrgId, project: &EntityId) -> Result<bool, Problem> {
        let known = self.known(org, |known, read| known.is_archived(org, project, read))?;
        Ok(known.unwrap_or_default())
    }

    /// A principal; `None` where nobody is there. Where a session is asked for that another node may have begun a moment ago, its
    /// partition is read to the end first. An error where what is known of it is too old to decide by.
    pub(crate) fn principal(&self, home: &Home, session: Option<&EntityId>) -> Result<Option<Arc<KnownPrincipal>>, Problem> {
        let stands = self.org_partition(&home.org);
        if !stands.is_fresh {
            return Err(authority_stale(&home.org));
        }
        let ask = || Ok(self.known(&home.org, |known, read| known.principal(home, read))?.flatten());
        let known = ask()?;
        let now = self.now();
        let is_young = |id: &EntityId| minted_at(id.as_str()).is_some_and(|at| now < at.saturating_add(AUTHORITY_STALE_MS));
        let is_unknown = |id: &&EntityId| known.as_ref().is_none_or(|known| known.session(id, now).is_none());
        if stands.is_elsewhere && session.filter(is_unknown).is_some_and(is_young) {
            off_worker(|| shadow::follow(self, self.partition_of_org(&home.org)));
            return ask();
        }
        Ok(known)
    }

    /// What is known of a person who is there, with what proves who they are.
    pub(crate) fn person(&self, home: &Home) -> Result<Option<Person>, Problem> {
        self.principal(home, None)?;
        Ok(self.known(&home.org, |known, read| known.person(home, read))?.flatten())
    }

    /// A device that waits for a person; `None` where none does under this name. One that is not known here may have asked at another
    /// node a moment ago: then the partition is read to its end first.
    pub(crate) fn device(&self, home: &Home) -> Result<Option<Device>, Problem> {
        let stands = self.org_partition(&home.org);
        if !stands.is_fresh {
            return Err(authority_stale(&home.org));
        }
        let ask = || Ok(self.known(&home.org, |known, read| known.device(home, read))?.flatten());
        let found = ask()?;
        if found.is_none() && stands.is_elsewhere {
            off_worker(|| shadow::follow(self, self.partition_of_org(&home.org)));
            return ask();
        }
        Ok(found)
    }

    /// A principal after its stream has come to a version, as a receipt told it.
    pub(crate) fn principal_at(&self, home: &Home, version: u64) -> Result<Option<Arc<KnownPrincipal>>, Problem> {
        let known = self.principal(home, None)?;
        if known.as_ref().is_some_and(|known| known.version >= version) {
            return Ok(known);
        }
        off_worker(|| shadow::follow(self, self.partition_of_org(&home.org)));
        self.principal(home, None)
    }

    /// How an org stands.
    pub(crate) fn org(&self, org: &OrgId) -> Result<OrgView, Problem> {
        Ok(self.known(org, |known, read| known.org(org, read))?.unwrap_or_default())
    }

    /// Asks what is known, and brings what is missing for it; `None` where it is about something that does not exist.
    fn known<T>(&self, org: &OrgId, ask: impl Fn(&mut Authorities, u64) -> Result<T, Wanted>) -> Result<Option<T>, Problem> {
        let partition = self.partition_of_org(org);
        for _ in 0..AUTHORITY_ROUNDS_MAX {
            match self.authority.ask(partition, &ask) {
                Ok(answer) => return Ok(Some(answer)),
                Err(Wanted(stream)) => {
                    if !off_worker(|| self.bring(partition, &stream))? {
                        return Ok(None);
                    }
                }
            }
        }
        // What is read forgets what was read before: more is asked for at once than is kept.
        let detail = format!("what decides about rights in org {org} is more than this node keeps at once");
        Err(Problem::new(503, "rights_unread", detail)
            .fix("give fewer grants on projects to one principal, or run the log with fewer partitions")
            .retry_after(1))
    }

    /// Brings what is known of a stream to its end; `false` where there is nothing to be known.
    fn bring(&self, partition: u16, stream: &StreamId) -> Result<bool, Problem> {
        let head = || -> Result<Option<Digest>, Problem> {
            let head = self.index.stream_head(stream).map_err(|e| index_problem(&e))?;
            Ok(head.map(|head| head.hash))
        };
        // The head is read before and after: a record that became durable in between would be missed.
        loop {
            let read = self.authority.read(partition);
            let before = head()?;
            let entity = match self.authority.confirm(partition, stream, before.unwrap_or(Digest::ZERO), read) {
                Ok(()) => return Ok(true),
                Err(Some(known)) => self.extended(known, before)?,
                Err(None) => self.folded(stream, before)?,
            };
            let Some(entity) = entity else { return Ok(false) };
            match self
                .authority
                .keep(partition, entity, read, || Ok::<_, Problem>(before == head()?))?
            {
                Kept::Here => return Ok(true),
                Kept::Nowhere => return Ok(false),
                Kept::Grown => {}
            }
        }
    }

    /// Brings a known entity to the end of its stream: by what was added, where that continues it.
    fn extended(&self, mut known: Folded, end: Option<Digest>) -> Result<Option<Folded>, Problem> {
        let stream = known.stream().clone();
        for record in self.records(&stream, known.version() + 1)? {
            if record.previous == known.hash() && known.fold(&record).is_err() {
                break;
            }
        }
        if known.is_lost() || Some(known.hash()) != end {
            return self.folded(&stream, end);
        }
        Ok(Some(known))
    }

    /// An entity as its stream has it; `None` for a kind by which no rights are decided.
    fn folded(&self, stream: &StreamId, end: Option<Digest>) -> Result<Option<Folded>, Problem> {
        if end.is_none() {
            return Ok(Folded::empty(stream.clone()));
        }
        Ok(match &stream.kind {
            kind if *kind == Kind::ORG => Some(Folded::Org(self.recover_as(stream)?)),
            kind if *kind == Kind::GRANT => Some(Folded::Grant(self.recover_as(stream)?)),
            kind if *kind == Kind::ROLE => Some(Folded::Roles(self.recover_as(stream)?)),
            kind if *kind == Kind::API_KEY => Some(Folded::Key(self.recover_as(stream)?)),
            kind if *kind == Kind::APPLICATION => Some(Folded::Application(self.recover_as(stream)?)),
            kind if *kind == Kind::PROJECT => Some(Folded::Project(self.recover_as(stream)?)),
            kind if *kind == Kind::PRINCIPAL => Some(Folded::Principal(Box::new(self.recover_as(stream)?))),
            _ => None,
        })
    }

    pub(crate) fn is_suspended(&self, org: &OrgId) -> bool {
        self.org(org).is_ok_and(|org| org.suspended)
    }

    /// Whether the relay holds back what is not under way yet: of a suspended org, or because the node leaves.
    pub(crate) fn holds_back(&self, org: &OrgId) -> bool {
        self.leaving.load(Ordering::Acquire) || self.is_suspended(org)
    }

    /// Whether what somebody caused may leave now: whoever it is done as may have been stopped.
    pub(crate) fn stops(&self, now: Millis) -> impl FnMut(&Cause, &OrgId) -> Stop {
        move |cause, org| stop_of(cause, org, now, &mut Known(self))
    }

    /// The receipt of a command id, if a record of it is durable.
    pub(crate) fn first_receipt(&self, stream: &StreamId, id: &CommandId) -> Result<Option<FirstReceipt>, Problem> {
        self.index.command(stream, id).map_err(|e| index_problem(&e))
    }

    /// The marks of a stream's durable commands; `None` where they are more than that.
    pub(crate) fn command_marks(&self, stream: &StreamId, most: usize) -> Result<Option<BTreeSet<u64>>, Problem> {
        self.index.command_marks(stream, most).map_err(|e| index_problem(&e))
    }

    /// The events of a stream's durable records that gave a name, with others of those records.
    fn recalled(&self, stream: &StreamId, name: &str) -> Result<Vec<StoredEvent>, Problem> {
        let places = self.index.named(stream, name).map_err(|e| index_problem(&e))?;
        let records = self.read_places(stream, &places)?;
        Ok(records.into_iter().flat_map(|(_, record)| record.events).collect())
    }

    /// What became of a reaction, if it is settled.
    pub(crate) fn settled(&self, key: &ReactionKey) -> Result<Option<Settled>, Problem> {
        let settled = self.index.settled(key).map_err(|e| index_problem(&e))?;
        Ok(settled.map(|settled| settled.outcome))
    }
}

/// What this node knows, where that is young enough to decide by.
struct Known<'a>(&'a Core);

impl Known<'_> {
    fn fresh(&self, org: &OrgId) -> Result<(), Unknown> {
        if self.0.org_partition(org).is_fresh { Ok(()) } else { Err(Unknown) }
    }
}

impl Look for Known<'_> {
    fn principal(&mut self, home: &Home, session: Option<&EntityId>) -> Result<Option<Arc<KnownPrincipal>>, Unknown> {
        self.0.principal(home, session).map_err(|_| Unknown)
    }

    fn key(&mut self, org: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, Unknown> {
        self.fresh(org)?;
        self.0.api_key(org, id).map_err(|_| Unknown)
    }

    fn application(&mut self, client: &ClientId) -> Result<Option<ApplicationState>, Unknown> {
        self.fresh(&client.org)?;
        self.0.application(&client.org, &client.id).map_err(|_| Unknown)
    }
}

/// Looks up what admission asks for.
pub(crate) fn admit(
    core: &Core,
    ticket: Ticket,
    envelope: Arc<CommandEnvelope>,
    (seen, entity): (&mut SeenCommands, &dyn Entity),
) -> Result<Admitted, Problem> {
    let (stream, partition) = (envelope.stream.clone(), core.org_partition(&envelope.stream.org));
    let terms = Terms {
        charter: &core.charter,
        durability: core.meta.durability,
        partition,
        belongs: &entity.belongs(&envelope),
        recalls: entity.recalls(&envelope),
        now: core.now(),
    };
    let mut admission = Admission::of(ticket, envelope.clone(), terms);
    loop {
        match admission.step(seen) {
            Step::Ask(Question::Org { is_read_first }) => {
                let rights = core.rights(&stream.org, actor(&envelope), is_read_first)?;
                admission.org(rights, is_read_first);
            }
            Step::Ask(Question::Sender(who)) => admission.sender(who.clone(), core.rights(&stream.org, &who, false)?),
            Step::Ask(Question::Principal(home)) => {
                admission.principal(home.clone(), core.principal(&home, Admission::session(&envelope))?);
            }
            Step::Ask(Question::Key(id)) => admission.key(core.api_key(&stream.org, &id)?),
            Step::Ask(Question::Application(client)) => {
                if !core.org_partition(&client.org).is_fresh {
                    return Err(authority_stale(&client.org));
                }
                let known = core.application(&client.org, &client.id)?;
                admission.application(client, known);
            }
            Step::Ask(Question::Project(id)) => admission.project(core.is_archived(&stream.org, &id)?),
            Step::Ask(Question::Marks) => seen.load(off_worker(|| core.command_marks(&stream, SEEN_LOADED_MAX))?),
            Step::Ask(Question::Receipt) => admission.receipt(core.first_receipt(&stream, &envelope.command_id)?),
            Step::Ask(Question::Settlement(key)) => admission.settlement(core.settled(&key)?),
            Step::Ask(Question::Named(name)) => {
                let events = off_worker(|| core.recalled(&stream, &name))?;
                admission.recalled(name, events);
            }
            Step::Admit(admitted) => return Ok(admitted),
            Step::Refuse(problem) => return Err(problem),
        }
    }
}
