//! State of a conversation. Bodies are not kept: prompts are assembled from the log.

use super::remembered::Messages;
use quipu_kinds::conversation::{ConversationType, ParticipantKind, ParticipantRole, Phase, Priority};
use quipu_schemas::{
    context::Millis,
    ids::{EntityId, MessageId, PrincipalId, StreamId},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// State of a conversation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationState {
    /// Not created.
    #[default]
    Missing,
    /// Created.
    Existing(Box<Room>),
}

/// A conversation that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// Its own stream.
    pub stream: StreamId,
    /// Private or group.
    pub conversation_type: ConversationType,
    /// How long several eligible agents may claim, milliseconds.
    pub claim_window_ms: u64,
    /// Whether messages of people open turns.
    pub auto_turns: bool,
    /// Who takes part.
    pub participants: BTreeMap<PrincipalId, Participant>,
    /// What was said.
    pub messages: Messages,
    /// Who may speak.
    pub floor: Floor,
}

/// A participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Participant {
    /// What they are.
    pub kind: ParticipantKind,
    /// As what.
    pub role: ParticipantRole,
}

/// Who may speak, and what waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Floor {
    /// What is going on.
    pub stage: Stage,
    /// Whether new turns are held back.
    pub paused: bool,
    /// The latest message that waits for its turn.
    pub pending: Option<Question>,
    /// The last message that was not an agent's; `route` is about it.
    pub last_question: Option<MessageId>,
    /// The last turns that ended, oldest first.
    pub ended: VecDeque<EndedTurn>,
}

/// A message that agents are to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// The message.
    pub message_id: MessageId,
    /// The agents addressed; all if empty.
    pub mentions: Vec<PrincipalId>,
}

/// What is going on, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing.
    Idle,
    /// The agents have the floor.
    AiActive(Turn),
    /// An agent answered.
    WaitingForUser,
    /// A person was asked for.
    HandoffPending(Handoff),
    /// A person took over.
    AgentActive {
        /// Who.
        by: PrincipalId,
    },
    /// Done, until somebody speaks.
    Resolved,
    /// Done for good.
    Archived,
}

/// A turn of the agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Agents claim.
    Open(OpenTurn),
    /// One of them answers.
    Running(RunningTurn),
}

/// A turn that is open for claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenTurn {
    /// Its id.
    pub turn: String,
    /// The message to answer.
    pub message_id: MessageId,
    /// Version up to which messages make the prompt.
    pub at_version: u64,
    /// Who may claim, sorted.
    pub eligible: Vec<PrincipalId>,
    /// When claims close.
    pub closes_at: Millis,
    /// Claims, earliest first.
    pub claims: Vec<Claim>,
    /// Deferrals, earliest first.
    pub deferrals: Vec<Deferral>,
}

/// An agent's claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// The agent.
    pub agent: PrincipalId,
    /// Why.
    pub reason: String,
    /// 0 to 1.
    pub confidence: f64,
    /// Urgency.
    pub priority: Priority,
    /// Until when it stands; until the turn closes if absent.
    pub expires_at: Option<Millis>,
}

impl Claim {
    /// Whether another claim says the same, whenever it was made.
    pub(super) fn is_repeated_by(&self, other: &Claim) -> bool {
        let Claim {
            agent,
            reason,
            confidence,
            priority,
            expires_at: _,
        } = self;
        (agent, reason, confidence, priority) == (&other.agent, &other.reason, &other.confidence, &other.priority)
    }
}

/// An agent's word that others may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deferral {
    /// The agent.
    pub agent: PrincipalId,
    /// Why.
    pub reason: String,
}

/// A turn whose winner answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningTurn {
    /// Its id.
    pub turn: String,
    /// The message to answer.
    pub message_id: MessageId,
    /// Who answers.
    pub winner: PrincipalId,
    /// The run that executes it.
    pub run: EntityId,
}

/// A turn that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedTurn {
    /// Its id.
    pub turn: String,
    /// How.
    pub ending: Ending,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Nobody answers.
    Closed,
    /// It was answered.
    Answered {
        /// By whom.
        winner: PrincipalId,
        /// In which run.
        run: EntityId,
    },
    /// It failed, or its run was cancelled by itself.
    Failed {
        /// Who would have answered.
        winner: PrincipalId,
        /// In which run.
        run: EntityId,
    },
    /// It was interrupted.
    Interrupted {
        /// Who was answering.
        winner: PrincipalId,
        /// In which run.
        run: EntityId,
        /// Whether the run has said what was already sent.
        reported: bool,
    },
}

/// A wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handoff {
    /// Who asked.
    pub by: PrincipalId,
    /// Who is to come, if somebody in particular.
    pub to: Option<PrincipalId>,
    /// When it lapses.
    pub expires_at: Millis,
}

/// The one table of phase changes; to stay in a phase is not a change.
pub fn allowed(from: Phase, to: Phase) -> bool {
    use Phase::{AgentActive, AiActive, Archived, HandoffPending, Idle, Resolved, WaitingForUser};
    match from {
        Idle => matches!(to, AiActive | HandoffPending | Resolved | Archived),
        AiActive => matches!(to, Idle | WaitingForUser | HandoffPending | Resolved | Archived),
        WaitingForUser => matches!(to, Idle | AiActive | HandoffPending | Resolved | Archived),
        // Straight to the agents when a handoff lapses over a question asked meanwhile.
        HandoffPending => matches!(to, Idle | AiActive | AgentActive | Resolved | Archived),
        AgentActive => matches!(to, Idle | HandoffPending | Resolved | Archived),
        Resolved => matches!(to, Idle | AiActive | Archived),
        Archived => false,
    }
}

impl Stage {
    /// The public name of the stage.
    pub fn phase(&self) -> Phase {
        match self {
            Stage::Idle => Phase::Idle,
            Stage::AiActive(_) => Phase::AiActive,
            Stage::WaitingForUser => Phase::WaitingForUser,
            Stage::HandoffPending(_) => Phase::HandoffPending,
            Stage::AgentActive { .. } => Phase::AgentActive,
            Stage::Resolved => Phase::Resolved,
            Stage::Archived => Phase::Archived,
        }
    }
}

impl Floor {
    /// The turn that the agents have, if any.
    pub fn turn(&self) -> Option<&Turn> {
        match &self.stage {
            Stage::AiActive(turn) => Some(turn),
            Stage::Idle
            | Stage::WaitingForUser
            | Stage::HandoffPending(_)
            | Stage::AgentActive { .. }
            | Stage::Resolved
            | Stage::Archived => None,
        }
    }

    /// A turn that ended and is remembered.
    pub fn ended(&self, turn: &str) -> Option<&Ending> {
        self.ended.iter().find(|ended| ended.turn == turn).map(|ended| &ended.ending)
    }
}

impl Ending {
    /// Who won the turn, if anybody.
    pub fn winner(&self) -> Option<&PrincipalId> {
        match self {
            Ending::Closed => None,
            Ending::Answered { winner, .. } | Ending::Failed { winner, .. } | Ending::Interrupted { winner, .. } => Some(winner),
        }
    }
}

impl Turn {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Turn::Open(open) => &open.turn,
            Turn::Running(running) => &running.turn,
        }
    }
}

impl OpenTurn {
    /// Whether an agent has claimed or deferred.
    pub fn has_spoken(&self, agent: &PrincipalId) -> bool {
        self.claims.iter().any(|claim| claim.agent == *agent) || self.has_deferred(agent)
    }

    /// Whether an agent has deferred.
    pub fn has_deferred(&self, agent: &PrincipalId) -> bool {
        self.deferrals.iter().any(|deferral| deferral.agent == *agent)
    }

    /// Whether nobody is left to wait for.
    pub fn all_have_spoken(&self) -> bool {
        self.eligible.iter().all(|agent| self.has_spoken(agent))
    }

    /// The best claim: highest priority, then highest confidence, then earliest, then lowest id.
    pub fn best(&self) -> Option<&Claim> {
        let ranked = self.claims.iter().enumerate().max_by(|(i, a), (j, b)| {
            a.priority
                .cmp(&b.priority)
                .then(a.confidence.total_cmp(&b.confidence))
                .then(j.cmp(i))
                .then_with(|| b.agent.cmp(&a.agent))
        });
        ranked.map(|(_, claim)| claim)
    }
}

/// The agents that may answer, sorted: those addressed, or all.
pub(crate) fn eligible(participants: &BTreeMap<PrincipalId, Participant>, mentions: &[PrincipalId]) -> Vec<PrincipalId> {
    participants
        .iter()
        .filter(|(who, it)| it.kind == ParticipantKind::Agent && (mentions.is_empty() || mentions.contains(who)))
        .map(|(who, _)| who.clone())
        .collect()
}
