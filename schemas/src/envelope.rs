//! A command on its way to its entity, and the receipt that comes back.

use crate::{
    digest::Digest,
    ids::{CommandId, CredentialId, Home, OrgId, PrincipalId, StreamId},
    json::Json,
    position::Position,
    reaction::{Outcome, ReactionKey, Settled},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A command in stored form: personal data sealed, everything it may depend on inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandEnvelope {
    /// The entity that receives it.
    pub stream: StreamId,
    /// Identity within the stream.
    pub command_id: CommandId,
    /// Keyed digest of the body as the client sent it.
    pub digest: Digest,
    /// `{"<command>": {…}}`, or what the kernel says.
    pub body: CommandBody,
    /// Who sends it.
    pub principal: PrincipalId,
    /// The principal on whose behalf it is sent.
    pub on_behalf_of: Option<PrincipalId>,
    /// The org that the two and the credential belong to, as the record says that caused this. Where it says nothing that is
    /// the org of that record's stream: [`CommandEnvelope::home`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<OrgId>,
    /// The credential that the sender showed, an entity of the same org; none where that was the node's own token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// Version that the sender expects (`Some(0)`: the entity must not exist).
    pub expected_version: Option<u64>,
    /// The environment that the command is labelled with.
    pub environment: Option<String>,
    /// Label: data class.
    pub data_class: DataClass,
    /// Correlates everything that one request caused.
    pub correlation: Option<String>,
    /// What caused this: a reaction key or a client's own.
    pub causation: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Entropy for minted ids.
    pub seed: u128,
}

impl CommandEnvelope {
    /// The org that whoever acts belongs to, where they are neither a person nor the platform's: that of the client that sent
    /// it, or of whoever caused the record that did.
    pub fn home(&self) -> &OrgId {
        let of_cause = || self.body.settles().map(|key| &key.stream.org);
        self.home.as_ref().or_else(of_cause).unwrap_or(&self.stream.org)
    }

    /// Who is meant by the one that it names as its sender, or as the one for whom it is sent.
    pub fn home_of(&self, who: &PrincipalId) -> Home {
        Home::of(self.home(), who)
    }

    /// The org that whoever acts, or the key that was shown, belongs to, where that is another one than the stream's.
    pub fn foreign_home(&self) -> Option<&OrgId> {
        let is_of_an_org = |who: &PrincipalId| !who.is_person() && !who.is_platform();
        let is_key = self.credential.as_ref().is_some_and(|shown| shown.api_key().is_some());
        let is_one = is_key || is_of_an_org(&self.principal) || self.on_behalf_of.as_ref().is_some_and(is_of_an_org);
        Some(self.home()).filter(|home| is_one && **home != self.stream.org)
    }
}

/// From outside or from the kernel.
#[expect(
    clippy::large_enum_variant,
    reason = "few are alive at a time; a box would be one more allocation for each command"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CommandBody {
    /// A client's (or a dispatching entity's) command, `{"<command>": {…}}`.
    Given {
        /// The command.
        command: Json,
        /// The reaction that dispatched it, if an entity did.
        settles: Option<ReactionKey>,
    },
    /// The kernel's own.
    Kernel(KernelCommand),
    /// What a node itself tells a principal, `{"<word>": {…}}`: no face takes it, and no entity dispatches it.
    Told {
        /// The word, or a command that it sends for the principal.
        word: Json,
    },
}

/// What the kernel tells an entity about a reaction of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum KernelCommand {
    /// An effect came to its end.
    EffectSettled {
        /// The effect's reaction.
        key: ReactionKey,
        /// `Perform::name`.
        name: String,
        /// What it came to.
        outcome: Outcome,
        /// How many attempts were made.
        attempts: u32,
        /// Whether all attempts failed and the effect is now a dead letter.
        dead: bool,
    },
    /// The receiver of a dispatch answered, or a person gave the dispatch up.
    DispatchSettled {
        /// The dispatch's reaction.
        key: ReactionKey,
        /// `Awaited::name`.
        name: String,
        /// What the receiver answered.
        outcome: Settled,
    },
    /// A timer is due.
    TimerFired {
        /// The `WakeAt`.
        key: ReactionKey,
        /// Its name.
        name: String,
        /// When it was due: record time is never before it, even if the owner's clock has gone back since it was read.
        due: crate::context::Millis,
    },
    /// A note about an effect: recorded in the stream's chain, never shown to `decide`.
    EffectNote {
        /// The effect's reaction.
        key: ReactionKey,
        /// What to note.
        note: Settled,
    },
}

impl CommandBody {
    /// The reaction that it settles, if it does.
    pub fn settles(&self) -> Option<&ReactionKey> {
        match self {
            Self::Given { settles, .. } => settles.as_ref(),
            Self::Kernel(word) => Some(word.key()),
            Self::Told { .. } => None,
        }
    }
}

impl KernelCommand {
    /// The reaction that this is about.
    pub fn key(&self) -> &ReactionKey {
        match self {
            KernelCommand::EffectSettled { key, .. }
            | KernelCommand::DispatchSettled { key, .. }
            | KernelCommand::TimerFired { key, .. }
            | KernelCommand::EffectNote { key, .. } => key,
        }
    }
}

/// How sensitive an entity's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataClass {
    /// It holds nothing personal.
    #[default]
    None,
    /// It holds personal data.
    Pii,
    /// It holds health data.
    Phi,
    /// It holds secrets.
    Secret,
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Synced to the disk of one machine.
    Fsync,
    /// Synced to the disks of a majority.
    QuorumFsync,
    /// Synced to the disk of one machine, as declared by whoever configured it: the server would not say.
    #[serde(rename = "declared:fsync")]
    DeclaredFsync,
    /// Synced to the disks of a majority, as declared by whoever configured it: the servers would not say.
    #[serde(rename = "declared:quorum-fsync")]
    DeclaredQuorumFsync,
    /// In the memory of a majority.
    QuorumMemory,
    /// In memory only.
    Memory,
}

/// The answer to an accepted command: decided and durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The id of the command.
    pub command_id: CommandId,
    /// The stream that the command changed: `org/kind/id`.
    pub stream: StreamId,
    /// Version after the command's last event.
    pub version: u64,
    /// Where its record is.
    pub position: Position,
    /// What the acknowledgement promises.
    pub durability: Durability,
    /// Whether the command changed nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
    /// Whether this answers a repetition with the first receipt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// What the record says about the reaction that dispatched the command; between nodes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub settled: Option<Settled>,
    /// What the command made that is shown this once: the text of an API key. It is kept nowhere, and a repetition is answered
    /// without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// Where `wait=nodes` was asked: the nodes that did not say in time that they know of it. None: all that serve the log do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Vec<String>>,
}

/// A secret on its way to whoever asked for it. It is written where an answer is written, and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shown(String);

impl Shown {
    /// A secret that was just made.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for the answer.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown(…)")
    }
}
