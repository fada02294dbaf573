//! A small stage for tests of rules: decides as somebody, folds, collects what follows.

use crate::decider::{Decider, Decision, Refusal};
use quipu_schemas::{
    context::{Authority, Context, NoKeys},
    digest::Digest,
    ids::{CommandId, PrincipalId, StreamId},
    org::Role,
    personal::{DataKey, Opener, Personal, SealError, Sealer},
    problem::Problem,
    reaction::Reaction,
};
use std::cell::Cell;

/// One entity, its clock and everything that it has said.
pub(crate) struct Scene<D: Decider> {
    pub(crate) stream: StreamId,
    pub(crate) state: D::State,
    pub(crate) version: u64,
    pub(crate) now: u64,
    pub(crate) opener: Box<dyn Opener>,
    pub(crate) reactions: Vec<Reaction>,
    commands: u128,
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
            commands: 0,
        }
    }

    /// Decides with a digest of the command's own text, as an entry would.
    pub(crate) fn decide(&mut self, who: &As, command: &D::Command) -> Result<Decision<D::Event>, Problem> {
        self.commands += 1;
        let context = Context {
            now: self.now,
            stream: &self.stream,
            command_id: &CommandId::from_static("c-1"),
            command_digest: Digest::of(&[&serde_json::to_vec(command).unwrap()]),
            principal: &who.principal,
            on_behalf_of: None,
            authority: &who.authority,
            version: self.version,
            seed: self.commands,
            opener: &*self.opener,
            minted: Cell::new(0),
        };
        D::decide(&self.state, command, &context).map_err(|rejection| rejection.problem())
    }

    /// Decides and folds; the reactions of this decision replace the earlier ones. Events, empty if unchanged.
    pub(crate) fn send(&mut self, who: &As, command: D::Command) -> Result<Vec<D::Event>, Problem> {
        let events = match self.decide(who, &command)? {
            Decision::Accept(events) => events,
            Decision::Unchanged => Vec::new(),
        };
        self.reactions.clear();
        for event in &events {
            self.state = D::evolve(self.state.clone(), event).unwrap();
            self.version += 1;
            self.reactions.extend(D::react(&self.state, event));
        }
        self.survives_storage();
        Ok(events)
    }

    /// Events in full.
    pub(crate) fn ok(&mut self, who: &As, command: D::Command) -> Vec<D::Event> {
        self.send(who, command).unwrap_or_else(|problem| panic!("refused: {problem}"))
    }

    /// Asserts that nothing changes.
    pub(crate) fn unchanged(&mut self, who: &As, command: D::Command) {
        let events = self.ok(who, command).len();
        assert_eq!(events, 0, "something changed");
    }

    /// Asserts a refusal.
    #[track_caller]
    pub(crate) fn refused(&mut self, who: &As, command: D::Command, status: u16, code: &str) {
        match self.decide(who, &command) {
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
