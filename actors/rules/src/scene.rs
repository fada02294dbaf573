//! A small stage for tests of rules: decides as somebody, folds, collects what follows.

use crate::decider::{Asked, AskedOf, Decider, Decision, NoWord, Refusal, Right};
use quipu_kinds::{
    agent::{AgentCommand, AgentWord},
    alias::{AliasCommand, AliasWord},
    api_key::{ApiKeyCommand, ApiKeyWord},
    application::ApplicationCommand,
    approval::{ApprovalCommand, ApprovalWord},
    callback::{CallbackCommand, CallbackWord},
    conversation::{ConversationCommand, ConversationWord},
    denial::DenialCommand,
    entity::{EntityCommand, EntityWord},
    grant::GrantCommand,
    invite::{InviteCommand, InviteWord},
    org::OrgCommand,
    principal::{PrincipalCommand, PrincipalWord},
    project::ProjectCommand,
    quota::{QuotaCommand, QuotaWord},
    role::RoleCommand,
    run::{RunCommand, RunWord},
    secret::{SecretCommand, SecretWord},
};
use quipu_schemas::{
    context::{Authority, Context, NoKeys},
    digest::Digest,
    ids::{CommandId, CredentialId, PrincipalId, StreamId},
    json::Json,
    limits::NEEDS_MAX_BYTES,
    personal::{BlobRef, Brought, DataKey, Made, NewValue, Opener, Personal, SealError, Sealer},
    problem::Problem,
    reaction::Reaction,
    role::Role,
};
use std::{cell::Cell, collections::BTreeMap};

/// One entity, its clock and everything that it has said.
pub(crate) struct Scene<D: Decider> {
    pub(crate) stream: StreamId,
    pub(crate) state: D::State,
    pub(crate) version: u64,
    pub(crate) now: u64,
    pub(crate) opener: Box<dyn Opener>,
    pub(crate) reactions: Vec<Reaction>,
    /// Who sends commands on behalf of those who act.
    pub(crate) sender: Option<PrincipalId>,
    /// What whoever sends commands shows.
    pub(crate) credential: Option<CredentialId>,
    /// What decisions made and a shell would have kept beside the log.
    pub(crate) kept: BTreeMap<Digest, Vec<u8>>,
    /// What was said of each name.
    named: BTreeMap<String, Vec<serde_json::Value>>,
    /// Whether names are looked up for decisions.
    pub(crate) looks_up: bool,
    commands: u128,
}

/// The keys of a scene, with all that it kept.
pub(crate) struct Everything<'a> {
    keys: &'a dyn Opener,
    kept: &'a BTreeMap<Digest, Vec<u8>>,
}
impl Opener for Everything<'_> {
    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
        self.keys.opening_key(subject)
    }
    fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
        self.kept.get(&blob.digest).cloned().ok_or(SealError::Missing(blob.digest))
    }
}

/// Who sends a command, with which rights.
#[derive(Clone)]
pub(crate) struct As {
    pub(crate) principal: PrincipalId,
    pub(crate) authority: Authority,
}

pub(crate) fn id(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}

/// Somebody with this role in the org.
pub(crate) fn as_role(principal: &str, role: Option<Role>) -> As {
    As {
        principal: id(principal),
        authority: Authority {
            role,
            ..Authority::default()
        },
    }
}

/// The platform itself.
pub(crate) fn platform() -> As {
    As {
        principal: PrincipalId::BOOTSTRAP,
        authority: Authority {
            platform: true,
            ..Authority::default()
        },
    }
}

/// A command that an entity's reaction dispatched, with its cause's principal.
pub(crate) fn sent_by(principal: &str, entity: &str) -> As {
    As {
        principal: id(principal),
        authority: Authority {
            dispatched_by: Some(entity.parse().unwrap()),
            ..Authority::default()
        },
    }
}

/// What the kernel tells of a command's right where nobody has grants: what the role holds.
fn permitted<D: Decider>(authority: &Authority, asked: &AskedOf<D>) -> Authority {
    let needed = match asked {
        Asked::Word(_) => None,
        Asked::Command(command) => match serde_json::to_value(command).unwrap().as_object().and_then(|map| map.keys().next()) {
            Some(name) => match D::right(name) {
                Right::Role(role) => Some(role),
                Right::Rules => Some(Role::Member),
            },
            None => None,
        },
    };
    Authority {
        permitted: authority.permitted || needed.is_some_and(|needed| authority.role >= Some(needed)),
        manages: authority.manages || D::KIND == "quota" && authority.role >= Some(Role::Admin),
        ..authority.clone()
    }
}

/// One key for everybody.
pub(crate) struct OneKey;
impl Sealer for OneKey {
    fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
        Ok(DataKey([7; 32]))
    }
}
impl Opener for OneKey {
    fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
        Ok(Some(DataKey([7; 32])))
    }
}

/// A sealed value that [`OneKey`] opens.
pub(crate) fn sealed<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> Personal<T> {
    Personal::seal(value, "acme/ada", &OneKey).unwrap()
}

/// Tests send commands and words alike.
macro_rules! asked {
    ($($command:ty, $word:ty;)*) => {$(
        impl From<$command> for Asked<$command, $word> {
            fn from(command: $command) -> Self {
                Asked::Command(command)
            }
        }
    )*};
}
asked! {
    OrgCommand, NoWord;
    ProjectCommand, NoWord;
    DenialCommand, NoWord;
    GrantCommand, NoWord;
    RoleCommand, NoWord;
    ApplicationCommand, NoWord;
    ApiKeyCommand, ApiKeyWord;
    InviteCommand, InviteWord;
    PrincipalCommand, PrincipalWord;
    QuotaCommand, QuotaWord;
    AgentCommand, AgentWord;
    AliasCommand, AliasWord;
    ApprovalCommand, ApprovalWord;
    EntityCommand, EntityWord;
    ConversationCommand, ConversationWord;
    RunCommand, RunWord;
    SecretCommand, SecretWord;
    CallbackCommand, CallbackWord;
}
macro_rules! heard {
    ($($command:ty, $word:ty;)*) => {$(
        impl From<$word> for Asked<$command, $word> {
            fn from(word: $word) -> Self {
                Asked::Word(word)
            }
        }
    )*};
}
heard! {
    AgentCommand, AgentWord;
    AliasCommand, AliasWord;
    ApprovalCommand, ApprovalWord;
    EntityCommand, EntityWord;
    ApiKeyCommand, ApiKeyWord;
    InviteCommand, InviteWord;
    PrincipalCommand, PrincipalWord;
    QuotaCommand, QuotaWord;
    ConversationCommand, ConversationWord;
    RunCommand, RunWord;
    SecretCommand, SecretWord;
    CallbackCommand, CallbackWord;
}

#[expect(clippy::result_large_err, reason = "tests read problems, and are not hot")]
impl<D: Decider> Scene<D> {
    pub(crate) fn new(stream: &str) -> Self {
        Self {
            stream: stream.parse().unwrap(),
            state: D::initial(),
            version: 0,
            now: 1_700_000_000_000,
            opener: Box::new(NoKeys),
            reactions: Vec::new(),
            sender: None,
            credential: None,
            kept: BTreeMap::new(),
            named: BTreeMap::new(),
            looks_up: true,
            commands: 0,
        }
    }

    /// Decides with a digest of the command's own text, as an entry would.
    pub(crate) fn decide(&mut self, who: &As, command: impl Into<AskedOf<D>>) -> Result<Decision<D::Event>, Problem> {
        let command = &command.into();
        self.commands += 1;
        let opener = Brought::new(&*self.opener, self.brought(command));
        let authority = permitted::<D>(&who.authority, command);
        let recalls = D::recalls(&self.state, &serde_json::to_value(command).unwrap());
        let said = |name: String| {
            let events = self.named.get(&name).cloned().unwrap_or_default();
            (name, events)
        };
        let recalled = recalls.into_iter().filter(|_| self.looks_up).map(said).collect();
        let context = Context {
            now: self.now,
            stream: &self.stream,
            command_id: &CommandId::from_static("c-1"),
            command_digest: Digest::of(&[&serde_json::to_vec(command).unwrap()]),
            principal: self.sender.as_ref().unwrap_or(&who.principal),
            on_behalf_of: self.sender.as_ref().map(|_| &who.principal),
            credential: self.credential.as_ref(),
            authority: &authority,
            version: self.version,
            seed: self.commands,
            opener: &opener,
            minted: Cell::new(0),
            made: Made::default(),
            recalled: &recalled,
        };
        let decision = D::decide(&self.state, command, &context).map_err(|rejection| rejection.problem());
        for NewValue { bytes, .. } in context.made.take() {
            self.kept.insert(Digest::of(&[&bytes]), bytes);
        }
        decision
    }

    /// What the rules name for a decision, up to what a shell brings.
    fn brought(&self, command: &AskedOf<D>) -> BTreeMap<Digest, Result<Vec<u8>, SealError>> {
        let (mut values, mut room) = (BTreeMap::new(), NEEDS_MAX_BYTES as u64);
        for blob in D::needs(&self.state, command)
            .into_iter()
            .filter(|_| D::looks_into(&self.state) || self.version == 0)
        {
            if blob.size <= room && !values.contains_key(&blob.digest) {
                room -= blob.size;
                values.insert(blob.digest, self.everything().kept(&blob));
            }
        }
        values
    }

    /// Opens whatever was sealed.
    pub(crate) fn everything(&self) -> Everything<'_> {
        Everything {
            keys: &*self.opener,
            kept: &self.kept,
        }
    }

    /// A value in the clear.
    pub(crate) fn opened(&self, value: &serde_json::Value) -> serde_json::Value {
        let mut value = value.clone();
        quipu_schemas::personal::open_all(&mut value, &self.everything()).unwrap();
        value
    }

    /// A value that a client sent, kept beside the log where it is large.
    pub(crate) fn sealed(&mut self, value: &serde_json::Value, subject: &str) -> Json {
        struct Keeping<'a>(&'a dyn Opener, parking_lot::Mutex<BTreeMap<Digest, Vec<u8>>>);
        impl Sealer for Keeping<'_> {
            fn sealing_key(&self, subject: &str) -> Result<DataKey, SealError> {
                Ok(self.0.opening_key(subject)?.unwrap())
            }
            fn inline_max(&self) -> usize {
                self.0.inline_max()
            }
            fn keep(&self, _: &str, blob: Vec<u8>) -> Result<Digest, SealError> {
                let digest = Digest::of(&[&blob]);
                self.1.lock().insert(digest, blob);
                Ok(digest)
            }
        }
        let keeping = Keeping(&*self.opener, parking_lot::Mutex::default());
        let sealed = Personal::seal(value, subject, &keeping).unwrap();
        let kept = keeping.1.into_inner();
        self.kept.extend(kept);
        Json(quipu_schemas::personal::value::stored(
            &sealed,
            quipu_schemas::personal::value::type_name(value),
        ))
    }

    /// Decides and folds; the reactions of this decision replace the earlier ones. Events, empty if unchanged.
    pub(crate) fn send(&mut self, who: &As, command: impl Into<AskedOf<D>>) -> Result<Vec<D::Event>, Problem> {
        let events = match self.decide(who, command)? {
            Decision::Accept(events) => events,
            Decision::Unchanged => Vec::new(),
        };
        self.reactions.clear();
        for event in &events {
            self.state = D::evolve(self.state.clone(), event).unwrap();
            self.version += 1;
            self.reactions.extend(D::react(&self.state, event));
            if let Some(name) = D::names(event) {
                let said = self.named.entry(name.to_owned()).or_default();
                said.push(serde_json::to_value(event).unwrap());
            }
        }
        self.survives_storage();
        Ok(events)
    }

    /// Events in full.
    pub(crate) fn ok(&mut self, who: &As, command: impl Into<AskedOf<D>>) -> Vec<D::Event> {
        self.send(who, command).unwrap_or_else(|problem| panic!("refused: {problem}"))
    }

    /// Asserts that nothing changes.
    pub(crate) fn unchanged(&mut self, who: &As, command: impl Into<AskedOf<D>>) {
        let events = self.ok(who, command).len();
        assert_eq!(events, 0, "something changed");
    }

    /// Asserts a refusal.
    #[track_caller]
    pub(crate) fn refused(&mut self, who: &As, command: impl Into<AskedOf<D>>, status: u16, code: &str) {
        match self.decide(who, command) {
            Ok(_) => panic!("accepted, not refused with {code}"),
            Err(problem) => {
                assert_eq!((problem.status, problem.code.as_str()), (status, code), "{problem}");
                assert!(problem.fix.is_some() && !problem.detail.is_empty(), "{problem}");
                assert!(status != 422 || problem.field.is_some(), "{problem} names no field");
            }
        }
    }

    /// The commands that the last decision dispatched: receiver and command as JSON.
    pub(crate) fn dispatched(&self) -> Vec<(String, serde_json::Value)> {
        self.reactions
            .iter()
            .filter_map(|reaction| match reaction {
                Reaction::Dispatch(dispatch) => Some((dispatch.to.to_string(), dispatch.command.0.clone())),
                Reaction::Perform(_) | Reaction::CancelEffect { .. } | Reaction::WakeAt { .. } | Reaction::CancelWake { .. } => None,
            })
            .collect()
    }

    /// States are stored in snapshots and shown as JSON: both must give the same state back.
    fn survives_storage(&self) {
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(&self.state, config).unwrap();
        let (back, _): (D::State, usize) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
        let json = serde_json::to_value(&self.state).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), json);
    }
}
