//! The contract between an entity's rules and the kernel that runs them.

use quipu_schemas::{
    context::Context,
    envelope::KernelCommand,
    ids::{EntityId, StreamId},
    personal::{BlobRef, Subject},
    problem::Problem,
    reaction::Reaction,
    record::Acting,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What an entity is asked. Nothing that a client sends is ever read as a word.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Asked<C, W> {
    /// By a client, or by an entity that sends what clients may send as well.
    Command(C),
    /// By the kernel or another entity.
    Word(W),
}

/// What an entity of this kind is asked.
pub type AskedOf<D> = Asked<<D as Decider>::Command, <D as Decider>::Word>;

impl<C> Asked<C, NoWord> {
    /// The command, of a kind without words.
    pub fn command(&self) -> &C {
        match self {
            Asked::Command(command) => command,
            Asked::Word(word) => match *word {},
        }
    }
}

/// The words of a kind that has none: only clients change its entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NoWord {}

/// What a command takes before its rules are asked. Its capability is `cap:{kind}.{command}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// This role of the org and higher ones hold the capability; others by a grant or a role of the org's own. Whoever does
    /// not hold it is refused before the rules are asked.
    Role(Role),
    /// The rules decide who may: people of whom the org knows nothing pass as well. Members and higher roles hold the
    /// capability, which [`Context::may`] tells. A credential whose scope lacks it, and a sender for somebody else who
    /// lacks it, are refused all the same.
    Rules,
}

/// What of the org an entity belongs to: a right that was granted on it holds for the entity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Belongs {
    /// The project.
    pub project: Option<EntityId>,
    /// The application.
    pub application: Option<EntityId>,
    /// The project into which the command brings it. The command takes its right there as well, whatever holds it on the entity.
    pub into: Option<EntityId>,
}

/// The rules of one kind of entity.
///
/// All functions are pure: equal inputs give equal outputs, on every machine, for ever. `decide` runs once
/// a command; its events and the reactions to them are stored together. Replay runs `evolve` and nothing else.
pub trait Decider: Sized + 'static {
    /// Singular name of the kind, `[a-z][a-z0-9-]{0,31}`.
    const KIND: &'static str;
    /// Plural in paths and in the `source` of events, where it is not [`Kind::plural`](quipu_schemas::ids::Kind::plural)
    /// (the name with an `s`); it must never change once there are events.
    const PLURAL: Option<&'static str> = None;
    /// Prefix of minted ids, 1 to 8 of a-z 0-9 -; otherwise the first letters of the name.
    const PREFIX: Option<&'static str> = None;
    /// Raised when `evolve` folds the same events into another state; invalidates snapshots.
    const RULES_VERSION: u32;
    /// Whether its decisions make sealed values ([`Context::seal`]). The shell then sees to it that whoever the entity acts as has
    /// a key before it decides.
    const MAKES_VALUES: bool = false;
    /// The state: an enum whose variants own only what is legal there. Must survive bincode (no
    /// `#[serde(tag)]`, `untagged`, `skip_serializing_if` or bare `serde_json::Value` inside).
    type State: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// What clients may send, externally tagged: `{"<command>": {…}}`. Routes, documents and tools show these and no others.
    type Command: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// What only the kernel ([`Decider::from_kernel`]) and other entities (a dispatch) send, tagged like commands and under
    /// names of their own; [`NoWord`] where there is nothing.
    type Word: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// Whether other entities send it words. A word of a kind that hears none comes from the kernel alone: one that an entity dispatches is
    /// refused before the rules are asked. The rules of a kind that hears some look at who sends which.
    const HEARS_ENTITIES: bool = false;
    /// Events, adjacently tagged with explicit stored names: `{"type": "quipu.<kind>.<event>.v1", "data": {…}}`.
    type Event: Clone + Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// Why a command is refused.
    type Rejection: Refusal;

    /// The state before the first event.
    fn initial() -> Self::State;

    /// Decides a command or a word. Nothing changes unless it is accepted.
    fn decide(state: &Self::State, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<Self::Event>, Self::Rejection>;

    /// Whether a decision on this state may look into values that the state names; otherwise [`Decider::needs`] is asked only
    /// about what names one.
    fn looks_into(_state: &Self::State) -> bool {
        false
    }

    /// The values kept beside the log that this decision looks into, most wanted first. The shell brings them
    /// before `decide`, up to [`quipu_schemas::limits::NEEDS_MAX_BYTES`] together, and `context.opener` finds those and no
    /// others: `decide` does no I/O. Values that stand in their records it opens with the context's keys. What it can decide by a value's size alone it does not name.
    fn needs(_state: &Self::State, _asked: &AskedOf<Self>) -> Vec<BlobRef> {
        Vec::new()
    }

    /// What an event names that the state need not keep in mind for ever: its record can be looked up by that name.
    fn names(_event: &Self::Event) -> Option<&str> {
        None
    }

    /// The names that this decision asks for and that the state has forgotten; `command` is what was sent
    /// (`{"<command>": {…}}`). The kernel looks them up, in the log and among what is on its way there, and `decide` finds what
    /// was said of them in [`Context::recalled`].
    fn recalls(_state: &Self::State, _command: &serde_json::Value) -> Vec<String> {
        Vec::new()
    }

    /// Folds one event. An event that the state does not allow is [`Corrupt`]: the stream parks.
    fn evolve(state: Self::State, event: &Self::Event) -> Result<Self::State, Corrupt>;

    /// What must follow `event`, given the state after it. Runs once, at decide; its result is stored.
    fn react(_state: &Self::State, _event: &Self::Event) -> Vec<Reaction> {
        Vec::new()
    }

    /// In whose name what follows from this entity's events is done, given the state after them; `None`: in the name of
    /// whoever sent the command that they follow from. Stored in the record, like the reactions themselves.
    fn acts_as(_state: &Self::State) -> Option<Acting> {
        None
    }

    /// Turns what the kernel tells of an effect, dispatch or timer of this entity into a word; `None` where the
    /// kind does not care.
    fn from_kernel(_told: KernelCommand) -> Option<Self::Word> {
        None
    }

    /// Whether this command is decided although the org is suspended (`resume` of an org).
    fn ignores_suspension(_command: &Self::Command) -> bool {
        false
    }

    /// What a command of clients takes; the kernel asks before every decision, so that no rules can forget it.
    fn right(_command: &str) -> Right {
        Right::Role(Role::Member)
    }

    /// What the entity belongs to, by its state; before there is one, by the command (`{"<command>": {…}}`) that makes it. A command
    /// that moves it takes a right where it is, and where it goes ([`Belongs::into`]).
    fn belongs_to(_state: &Self::State, _command: &serde_json::Value) -> Belongs {
        Belongs::default()
    }

    /// The field of a command that the node fills with a secret's keyed hash, as it comes in: no client may send it, and the
    /// secret itself is shown once, in the answer.
    fn mints(_command: &str) -> Option<&'static str> {
        None
    }

    /// Where the body of a command names capabilities or targets: JSON pointers to a text or to a list of texts. The kernel refuses what
    /// the node does not know.
    fn names_rights(_command: &str) -> &'static [&'static str] {
        &[]
    }

    /// The field of a command that may name a principal in whose name the entity is to act. Somebody else's name takes
    /// `cap:principal.act_as`, which the kernel asks for.
    fn names_actor(_command: &str) -> Option<&'static str> {
        None
    }

    /// Under whose key this decision seals the secrets that came with the command ([`Context::seal_secret`]). The shell makes that
    /// key before, once it knows that whoever sent the command holds the right to it.
    fn seals_under(_state: &Self::State, _stream: &StreamId, _asked: &AskedOf<Self>) -> Option<Subject> {
        None
    }

    /// Whether this command carries another one in its fields `kind`, `id`, `command` and `body`. The node puts that into the stored
    /// form of its own kind as it comes in, and its digest into `digest`, which no client may send.
    fn carries(_command: &str) -> bool {
        false
    }

    /// Whether this command is about another principal's personal data, rather than the actor's own; sealed
    /// fields then get that subject. `raw` is the command's body as sent.
    fn data_subject(_command: &str, _raw: &serde_json::Value) -> Option<String> {
        None
    }
}

/// The result of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<E> {
    /// These events happened; never empty.
    Accept(Vec<E>),
    /// The command is legal, and nothing changes.
    Unchanged,
}

impl<E> Decision<E> {
    /// One event.
    pub fn one(event: E) -> Self {
        Self::Accept(vec![event])
    }

    /// These events, or [`Decision::Unchanged`] where there are none.
    pub fn all(events: Vec<E>) -> Self {
        if events.is_empty() { Self::Unchanged } else { Self::Accept(events) }
    }
}

/// An event that contradicts the state: the log breaks its own law, or the rules changed incompatibly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event does not fit the state: {0}")]
pub struct Corrupt(pub String);

/// A refusal as people and programs meet it.
pub trait Refusal: std::fmt::Debug + Send + 'static {
    /// The refusal as a problem: `403` (not allowed), `404` (unknown part), `409` (illegal in this state),
    /// `422` (bad value, field named) or `429` (full, depth named), with a stable code and a fix.
    fn problem(&self) -> Problem;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    /// A kind that says only what it must.
    struct Plain;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Anything {}

    impl Refusal for Anything {
        fn problem(&self) -> Problem {
            Problem::new(409, "refused", "no")
        }
    }

    impl Decider for Plain {
        const KIND: &'static str = "plain";
        const RULES_VERSION: u32 = 1;
        type State = Anything;
        type Command = Anything;
        type Word = NoWord;
        type Event = Anything;
        type Rejection = Anything;

        fn initial() -> Anything {
            Anything {}
        }

        fn decide(_: &Anything, _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<Anything>, Anything> {
            Err(Anything {})
        }

        fn evolve(state: Anything, _: &Anything) -> Result<Anything, Corrupt> {
            Ok(state)
        }
    }

    #[test]
    fn defaults_obey_suspension_and_react_to_nothing() {
        assert!(!Plain::ignores_suspension(&Anything {}));
        assert_eq!(Plain::data_subject("anything", &json!({"principal": "ada"})), None);
        assert_eq!(Plain::react(&Anything {}, &Anything {}), []);
    }

    #[test]
    fn no_events_are_no_change() {
        assert_eq!(Decision::<u8>::all(vec![]), Decision::Unchanged);
        assert_eq!(Decision::all(vec![1]), Decision::one(1));
    }
}
