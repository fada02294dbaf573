//! Words of a conversation: participants, messages, turns, control and handoff.

use quipu_schemas::{
    chat::{ChatRole, ToolCall, ToolSpec},
    context::Millis,
    digest::Digest,
    ids::{EntityId, MessageId, PrincipalId, StreamId},
    personal::Personal,
    reaction::ModelConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Private (exactly two participants) or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationType {
    /// Exactly two.
    Private,
    /// Any number.
    Group,
}

/// What a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantKind {
    /// A human being.
    Person,
    /// A registered agent.
    Agent,
    /// Another system.
    Service,
}

/// A participant's role; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantRole {
    /// Reads and speaks.
    Member,
    /// Manages participants and messages.
    Admin,
    /// Everything; cannot leave.
    Owner,
}

/// The seven states of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is going on.
    Idle,
    /// The agents have the floor: a turn is open for claims, or one of them answers.
    AiActive,
    /// An agent answered; it is the person's move.
    WaitingForUser,
    /// A person was asked for and nobody accepted yet.
    HandoffPending,
    /// A human agent has taken over; agents keep silent.
    AgentActive,
    /// Done; a new message reopens it.
    Resolved,
    /// Read only, for good.
    Archived,
}

/// Priority of a message or claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// It can wait.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before what is normal.
    High,
    /// Before everything else.
    Critical,
}

/// How a message's body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentType {
    /// Plain text.
    #[default]
    Text,
    /// CommonMark.
    Markdown,
    /// JSON text.
    Json,
    /// HTML.
    Html,
    /// A machine-readable event as JSON text.
    Event,
}

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationCommand {
    /// Opens the conversation; the actor becomes its owner.
    Create(CreateConversation),
    /// Changes the title.
    Rename(RenameConversation),
    /// Adds a participant.
    AddParticipant(AddParticipant),
    /// Removes a participant.
    RemoveParticipant(RemoveParticipant),
    /// Changes a participant's role.
    SetParticipantRole(SetParticipantRole),
    /// Joins as oneself (group).
    Join(JoinConversation),
    /// Leaves (an owner cannot).
    Leave(LeaveConversation),
    /// Posts a message. Named `post` in paths; a `message_id` makes it idempotent.
    Post(PostMessage),
    /// Posts a message of an imported transcript: marked historical, no reactions.
    ImportMessage(ImportMessage),
    /// Edits one's own message.
    EditMessage(EditMessage),
    /// Marks a message deleted.
    DeleteMessage(DeleteMessage),
    /// An eligible agent claims the open turn.
    Claim(ClaimTurn),
    /// An eligible agent leaves the open turn to others.
    Defer(DeferTurn),
    /// Pauses: no new turn starts, a running turn's answer is held.
    Pause(Control),
    /// Ends a pause.
    Resume(Control),
    /// Interrupts the running turn so that a person or a more urgent agent can speak.
    Preempt(Control),
    /// Gives the turn to a named agent.
    Route(RouteTurn),
    /// Cancels the running turn.
    Cancel(Control),
    /// Asks for a person.
    Handoff(RequestHandoff),
    /// Assigns a waiting handoff.
    AssignHandoff(AssignHandoff),
    /// A person takes the conversation over.
    AcceptHandoff(AcceptHandoff),
    /// The person gives it back to the agents.
    ReturnHandoff(ReturnHandoff),
    /// Marks it resolved.
    Resolve(ResolveConversation),
    /// Makes it read-only for good.
    Archive(ArchiveConversation),
}

/// What the kernel and a turn's run send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationWord {
    /// The run that executes a turn reports how it ended.
    FinishTurn(FinishTurn),
    /// The claim window is over (sent by the kernel's timer).
    CloseTurn(CloseTurn),
    /// Nobody accepted a handoff in time (sent by the kernel's timer).
    ExpireHandoff(ExpireHandoff),
}

/// Opens a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConversation {
    /// Private or group.
    #[serde(rename = "type")]
    pub conversation_type: ConversationType,
    /// The title (sealed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Personal<String>>,
    /// What the actor is; a person unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ParticipantKind>,
    /// Participants besides the actor.
    #[serde(default)]
    pub participants: Vec<AddParticipant>,
    /// Claim window, milliseconds, 0 to 60,000 (500 unless given).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_window_ms: Option<u64>,
    /// Whether messages of people open turns for agents (true unless given).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_turns: Option<bool>,
}

/// Changes the title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameConversation {
    /// New title (sealed).
    pub title: Personal<String>,
}

/// Adds a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddParticipant {
    /// The person or agent to add.
    pub principal: PrincipalId,
    /// What they are.
    pub kind: ParticipantKind,
    /// As what; `member` unless given. `owner` cannot be given.
    #[serde(default = "member")]
    pub role: ParticipantRole,
}

fn member() -> ParticipantRole {
    ParticipantRole::Member
}

/// Removes a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveParticipant {
    /// The participant to remove.
    pub principal: PrincipalId,
}

/// Changes a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetParticipantRole {
    /// The participant whose role changes.
    pub principal: PrincipalId,
    /// The role that the participant gets.
    pub role: ParticipantRole,
}

/// Joins a group as oneself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinConversation {
    /// What the actor is; a person unless it says otherwise.
    #[serde(default = "a_person")]
    pub kind: ParticipantKind,
}

fn a_person() -> ParticipantKind {
    ParticipantKind::Person
}

/// Leaves the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveConversation {}

/// Posts a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// The client's own id; the same id with the same content is answered as unchanged, with other content `409`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// Body (sealed), at most 64 KiB.
    pub body: Personal<String>,
    /// How to read the body.
    #[serde(default)]
    pub content_type: ContentType,
    /// The message that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// How urgent the message is.
    #[serde(default)]
    pub priority: Priority,
    /// Agents addressed by name: only they are eligible for the turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<PrincipalId>,
    /// The turn that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
}

/// Imports a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportMessage {
    /// The message's id.
    pub message_id: MessageId,
    /// Role in the transcript.
    pub role: ChatRole,
    /// Everything else of the message (sealed). Content may be null, which is not empty.
    pub content: Personal<ImportedContent>,
}

/// The personal part of an imported message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedContent {
    /// Text; null stays apart from empty.
    pub content: Option<String>,
    /// Tool calls of an assistant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Name of the tool or speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Edits a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMessage {
    /// The message to edit.
    pub message_id: MessageId,
    /// New body (sealed), at most 64 KiB.
    pub body: Personal<String>,
}

/// Deletes a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteMessage {
    /// The message to delete.
    pub message_id: MessageId,
}

/// Claims a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimTurn {
    /// The id of the turn.
    pub turn: String,
    /// Why this agent, for people to read; 1 to 500 characters. Stored unencrypted: no personal data.
    pub reason: String,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// How urgent the claim is.
    #[serde(default)]
    pub priority: Priority,
    /// The rule that speaks for it, for people to read; 1 to 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What of the rule was met, for people to read; at most 20, of 1 to 200 characters each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// How long the claim stands, milliseconds from its decision, 1 to 60,000; until the turn closes unless given. A turn that
    /// closes later takes the agent for silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// Leaves the open turn to others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeferTurn {
    /// The id of the turn.
    pub turn: String,
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// A control event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Routes the turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTurn {
    /// The agent that the turn goes to.
    pub agent: PrincipalId,
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Asks for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestHandoff {
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
    /// A particular person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PrincipalId>,
}

/// Assigns a handoff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignHandoff {
    /// The person who is to take over.
    pub to: PrincipalId,
}

/// Accepts a handoff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptHandoff {}

/// Gives back to the agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReturnHandoff {
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Marks the conversation resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveConversation {
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Makes the conversation read-only for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConversation {}

/// Closes a turn's claim window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseTurn {
    /// The id of the turn.
    pub turn: String,
}

/// Lets a handoff lapse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireHandoff {}

/// Reports a turn's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishTurn {
    /// The id of the turn.
    pub turn: String,
    /// How it ended.
    pub outcome: TurnOutcome,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum TurnOutcome {
    /// The answer was posted as this message.
    Answered {
        /// The message that holds the answer.
        message_id: MessageId,
    },
    /// It was cancelled or preempted; what had been streamed is kept.
    Interrupted {
        /// Text already sent (sealed).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<Personal<String>>,
    },
    /// The run failed, and nothing was answered.
    Failed {
        /// The failure's code; it stays the same from version to version.
        code: String,
        /// What went wrong, for people to read.
        detail: String,
    },
}

/// A candidate's word on a turn, as recorded in the decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bid {
    /// The agent that was asked.
    pub agent: PrincipalId,
    /// `None`: deferred or silent.
    pub claim: Option<BidClaim>,
    /// The agent's reason. Stored unencrypted: no personal data.
    pub reason: String,
}

/// The weight of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BidClaim {
    /// 0 to 1.
    pub confidence: f64,
    /// How urgent the claim is.
    pub priority: Priority,
}

/// How a turn was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TurnMethod {
    /// Only one agent was eligible.
    OnlyEligible,
    /// The best claim: priority, then confidence, then earliest, then id.
    BestClaim,
    /// Nobody claimed in time: the first eligible agent by id.
    Fallback,
    /// A control event named the agent.
    Routed,
}

/// What happened to a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ConversationEvent {
    /// The conversation exists.
    #[serde(rename = "quipu.conversation.created.v1")]
    Created {
        /// Its own stream (reactions address the org's runs by it).
        stream: StreamId,
        /// Private or group.
        conversation_type: ConversationType,
        /// The title that it was given (sealed).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<Personal<String>>,
        /// How long a turn stays open for claims, in milliseconds.
        claim_window_ms: u64,
        /// Whether messages open turns.
        auto_turns: bool,
    },
    /// It has another title.
    #[serde(rename = "quipu.conversation.renamed.v1")]
    Renamed {
        /// The title from here on (sealed).
        title: Personal<String>,
    },
    /// Somebody takes part.
    #[serde(rename = "quipu.conversation.participant_added.v1")]
    ParticipantAdded {
        /// Who joined or was added.
        principal: PrincipalId,
        /// What they are.
        kind: ParticipantKind,
        /// The role that they got.
        role: ParticipantRole,
    },
    /// Somebody no longer takes part.
    #[serde(rename = "quipu.conversation.participant_removed.v1")]
    ParticipantRemoved {
        /// Who left or was removed.
        principal: PrincipalId,
        /// Whether of their own will.
        left: bool,
    },
    /// A role changed.
    #[serde(rename = "quipu.conversation.participant_role_set.v1")]
    ParticipantRoleSet {
        /// The participant whose role changed.
        principal: PrincipalId,
        /// The role from here on.
        role: ParticipantRole,
    },
    /// A message was posted.
    #[serde(rename = "quipu.conversation.message_posted.v1")]
    MessagePosted {
        /// The message's id.
        message_id: MessageId,
        /// Who said it.
        sender: PrincipalId,
        /// What the sender is.
        sender_kind: ParticipantKind,
        /// The text (sealed).
        body: Personal<String>,
        /// Keyed digest of the posting command, by which a repeated id is compared.
        content_digest: Digest,
        /// How to read the body.
        content_type: ContentType,
        /// The message that this answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<MessageId>,
        /// How urgent the message is.
        priority: Priority,
        /// The agents that the message names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<PrincipalId>,
        /// The turn that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<String>,
        /// Whether the record can be looked up by the message's id; conversations keep in mind those messages whose records cannot.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        indexed: bool,
    },
    /// A message of an imported transcript.
    #[serde(rename = "quipu.conversation.message_imported.v1")]
    MessageImported {
        /// The message's id.
        message_id: MessageId,
        /// Role in the transcript.
        role: ChatRole,
        /// Keyed digest of the importing command.
        content_digest: Digest,
        /// The imported message (sealed).
        content: Personal<ImportedContent>,
        /// Whether the record can be looked up by the message's id.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        indexed: bool,
    },
    /// A message has another body.
    #[serde(rename = "quipu.conversation.message_edited.v1")]
    MessageEdited {
        /// The message that was edited.
        message_id: MessageId,
        /// The text from here on (sealed).
        body: Personal<String>,
    },
    /// A message is marked deleted.
    #[serde(rename = "quipu.conversation.message_deleted.v1")]
    MessageDeleted {
        /// The message that was deleted.
        message_id: MessageId,
        /// Who deleted the message.
        by: PrincipalId,
    },
    /// The phase changed.
    #[serde(rename = "quipu.conversation.phase_changed.v1")]
    PhaseChanged {
        /// The phase before.
        from: Phase,
        /// The phase after.
        to: Phase,
        /// Why, where a person said so. Stored unencrypted: no personal data.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A turn is open for claims.
    #[serde(rename = "quipu.conversation.turn_opened.v1")]
    TurnOpened {
        /// The id of the turn.
        turn: String,
        /// The message to answer.
        message_id: MessageId,
        /// Version of the conversation up to which messages make the prompt.
        at_version: u64,
        /// Who may claim, sorted.
        eligible: Vec<PrincipalId>,
        /// When claims close.
        closes_at: Millis,
    },
    /// An agent claims.
    #[serde(rename = "quipu.conversation.turn_claimed.v1")]
    TurnClaimed {
        /// The id of the turn.
        turn: String,
        /// The agent that claims.
        agent: PrincipalId,
        /// Its reason. Stored unencrypted: no personal data.
        reason: String,
        /// How sure the agent is, 0 to 1.
        confidence: f64,
        /// How urgent the claim is.
        priority: Priority,
        /// The rule that speaks for it. In the clear.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        /// What of the rule was met. In the clear.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        conditions: Vec<String>,
        /// Until when it stands; milliseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Millis>,
    },
    /// An agent defers.
    #[serde(rename = "quipu.conversation.turn_deferred.v1")]
    TurnDeferred {
        /// The id of the turn.
        turn: String,
        /// The agent that defers.
        agent: PrincipalId,
        /// Its reason. Stored unencrypted: no personal data.
        reason: String,
    },
    /// The turn is decided: exactly one agent answers.
    #[serde(rename = "quipu.conversation.turn_decided.v1")]
    TurnDecided {
        /// The id of the turn.
        turn: String,
        /// The message to answer.
        message_id: MessageId,
        /// Version of the conversation up to which messages make the prompt.
        at_version: u64,
        /// The agent that answers.
        winner: PrincipalId,
        /// How it was decided.
        method: TurnMethod,
        /// Why that agent, in words.
        why: String,
        /// What each candidate said, or that it said nothing.
        bids: Vec<Bid>,
        /// The run that executes it.
        run: EntityId,
    },
    /// The turn closed, and nobody answers.
    #[serde(rename = "quipu.conversation.turn_closed.v1")]
    TurnClosed {
        /// The id of the turn.
        turn: String,
        /// Why the turn closed as it did, in words.
        why: String,
    },
    /// The turn's run has ended.
    #[serde(rename = "quipu.conversation.turn_finished.v1")]
    TurnFinished {
        /// The id of the turn.
        turn: String,
        /// How the turn ended.
        outcome: TurnOutcome,
    },
    /// Somebody paused the conversation.
    #[serde(rename = "quipu.conversation.paused.v1")]
    Paused {
        /// Who paused it.
        by: PrincipalId,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// Somebody ended the pause.
    #[serde(rename = "quipu.conversation.resumed.v1")]
    Resumed {
        /// Who ended the pause.
        by: PrincipalId,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// The running turn was interrupted.
    #[serde(rename = "quipu.conversation.turn_interrupted.v1")]
    TurnInterrupted {
        /// The id of the turn.
        turn: String,
        /// The run to stop.
        run: EntityId,
        /// Cancelled or preempted.
        how: Interruption,
        /// Who interrupted it.
        by: PrincipalId,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// A person was asked for.
    #[serde(rename = "quipu.conversation.handoff_requested.v1")]
    HandoffRequested {
        /// Who asked for a person.
        by: PrincipalId,
        /// Whom it is meant for, if anybody in particular.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<PrincipalId>,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
        /// When it lapses.
        expires_at: Millis,
    },
    /// The handoff has an assignee.
    #[serde(rename = "quipu.conversation.handoff_assigned.v1")]
    HandoffAssigned {
        /// The person to whom it was assigned.
        to: PrincipalId,
    },
    /// A person took over.
    #[serde(rename = "quipu.conversation.handoff_accepted.v1")]
    HandoffAccepted {
        /// The person who accepted.
        by: PrincipalId,
    },
    /// The person gave it back.
    #[serde(rename = "quipu.conversation.handoff_returned.v1")]
    HandoffReturned {
        /// The person who gave it back.
        by: PrincipalId,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// Nobody accepted in time.
    #[serde(rename = "quipu.conversation.handoff_expired.v1")]
    HandoffExpired {},
}

/// How a turn was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interruption {
    /// By `cancel`.
    Cancelled,
    /// By `preempt`.
    Preempted,
    /// By `route` to another agent.
    Rerouted,
    /// By a handoff to a person.
    HandedOff,
}

/// What a won turn carries to its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TurnTask {
    /// The conversation that the turn is of.
    pub conversation: EntityId,
    /// Its version when the turn was decided; messages up to it make the prompt.
    pub at_version: u64,
    /// The id of the turn.
    pub turn: String,
    /// The message to answer.
    pub message_id: MessageId,
    /// The agent that answers.
    pub agent: PrincipalId,
}

/// An agent's configuration as pinned into a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentPin {
    /// Version of the agent's stream that was read.
    pub version: u64,
    /// The model that answers.
    pub model: ModelConfig,
    /// Directive in force.
    pub directive: Option<Digest>,
    /// The tools that the agent may call.
    pub tools: Vec<ToolSpec>,
    /// Most model calls of one turn.
    pub max_iterations: u32,
}
