//! Why a conversation refuses.

use crate::decider::{Corrupt, Refusal};
use quipu_kinds::conversation::{ParticipantRole, Phase};
use quipu_schemas::{
    ids::{EntityId, MessageId, PrincipalId},
    limits::{CLAIM_WINDOW_MAX_MS, MESSAGE_MAX_BYTES, MESSAGES_MAX, NAME_MAX_CHARS, PARTICIPANTS_MAX, REASON_MAX_CHARS},
    problem::Problem,
};

/// Why a conversation refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationRejection {
    /// Already created.
    Exists(EntityId),
    /// Not created.
    NotFound(EntityId),
    /// Read only for good.
    Archived(EntityId),
    /// The table has no such phase change.
    IllegalPhase {
        /// From.
        from: Phase,
        /// To.
        to: Phase,
    },
    /// Viewers of the org read.
    ViewerCannotWrite(PrincipalId),
    /// People need membership in the org.
    NotAnOrgMember(PrincipalId),
    /// The actor takes no part.
    NotAParticipant(PrincipalId),
    /// The actor's role here is too low.
    RoleNeeded {
        /// Who.
        actor: PrincipalId,
        /// What it takes.
        needed: ParticipantRole,
    },
    /// No such participant.
    UnknownParticipant(PrincipalId),
    /// Takes part already, in another way.
    AlreadyParticipant(PrincipalId),
    /// Named twice.
    DuplicateParticipant(PrincipalId),
    /// An id that belongs to the platform, in this field.
    ReservedId(&'static str, String),
    /// Ownership cannot be given.
    OwnerNotGiven,
    /// The owner stays.
    OwnerStays(PrincipalId),
    /// The owner cannot leave.
    OwnerCannotLeave,
    /// A private conversation has exactly two participants.
    PrivateIsTwo,
    /// Too many participants.
    TooManyParticipants,
    /// The title is out of bounds.
    BadTitle,
    /// The reason is out of bounds.
    BadReason,
    /// The claim window is out of bounds.
    BadClaimWindow(u64),
    /// The body is empty.
    EmptyBody,
    /// The body is too large.
    BodyTooLarge {
        /// The field.
        field: &'static str,
        /// Its bytes.
        bytes: usize,
    },
    /// The body does not open.
    UnreadableBody(String),
    /// The body is not the JSON that its content type promises.
    BodyNotJson,
    /// No such message.
    UnknownMessage {
        /// The field.
        field: &'static str,
        /// The message.
        message_id: MessageId,
    },
    /// The id is taken by another message.
    MessageIdConflict(MessageId),
    /// Only its sender edits a message.
    NotTheSender(MessageId),
    /// The message is deleted.
    MessageDeleted(MessageId),
    /// Imported messages stay as they are.
    MessageImported(MessageId),
    /// The conversation is full.
    ConversationFull,
    /// Somebody addressed is not an agent of this conversation.
    UnknownMention(PrincipalId),
    /// Agents keep silent while a person is asked for or has taken over.
    AgentsSilent(Phase),
    /// While a turn goes on, agents speak by it alone.
    TurnHeld(String),
    /// No such turn.
    UnknownTurn(String),
    /// The turn takes no claims any more.
    TurnClosed {
        /// The turn.
        turn: String,
        /// Who won it.
        winner: Option<PrincipalId>,
    },
    /// The turn is not decided yet.
    TurnOpen(String),
    /// The turn has ended.
    TurnFinished(String),
    /// The turn was interrupted.
    TurnInterrupted(String),
    /// The kernel alone says this.
    NotTheKernel,
    /// Somebody else speaks for the turn.
    NotTheWinner {
        /// The turn.
        turn: String,
        /// Who may.
        winner: PrincipalId,
    },
    /// The agent is not asked in this turn.
    NotEligible(PrincipalId),
    /// The agent has claimed or deferred already.
    AlreadySpoke(PrincipalId),
    /// Confidence is 0 to 1.
    BadConfidence,
    /// A claim's rule or conditions are empty, too long or too many.
    BadGrounds {
        /// `rule` or `conditions`.
        field: &'static str,
    },
    /// A claim's `expires_ms` is out of range.
    BadExpiry,
    /// The agents do not have the floor.
    NoTurn,
    /// Paused: no turn starts.
    Paused,
    /// Nobody but agents has said anything.
    NothingToAnswer,
    /// Not an agent of this conversation.
    NotAnAgent(PrincipalId),
    /// Nobody was asked for, or nobody took over.
    NoHandoff(Phase),
    /// A person was asked for already.
    HandoffWaits,
    /// Somebody else is to come.
    NotAssignee(PrincipalId),
    /// A handoff is for somebody who takes part.
    HandoffToOutsider(PrincipalId),
    /// Only people take over.
    NotAPerson {
        /// The field.
        field: &'static str,
        /// Who.
        principal: PrincipalId,
    },
    /// The decision contradicts the state.
    Contradiction(String),
}

impl From<Corrupt> for ConversationRejection {
    fn from(Corrupt(what): Corrupt) -> Self {
        ConversationRejection::Contradiction(what)
    }
}

impl Refusal for ConversationRejection {
    fn problem(&self) -> Problem {
        let say = |status, code: &str, detail: String, fix: &str| Problem::new(status, code, detail).fix(fix);
        match self {
            Self::Exists(id) => say(409, "conversation_exists", format!("conversation {id} exists"), "choose another id"),
            Self::NotFound(id) => say(
                404,
                "conversation_not_found",
                format!("conversation {id} does not exist"),
                "create it first",
            ),
            Self::Archived(id) => say(
                409,
                "archived",
                format!("conversation {id} is archived for good"),
                "open another conversation",
            ),
            Self::IllegalPhase { from, to } => say(
                409,
                "illegal_phase",
                format!("a conversation does not go from {} to {}", name(from), name(to)),
                "see its phase first",
            ),
            Self::ViewerCannotWrite(who) => say(
                403,
                "viewer_cannot_write",
                format!("{who} is a viewer of the org"),
                "ask an admin of the org for the role member",
            ),
            Self::NotAnOrgMember(who) => say(
                403,
                "not_an_org_member",
                format!("{who} is not a member of the org"),
                "ask an admin of the org to add them",
            ),
            Self::NotAParticipant(who) => say(
                403,
                "not_a_participant",
                format!("{who} takes no part in the conversation"),
                "join, or be added",
            ),
            Self::RoleNeeded { actor, needed } => say(
                403,
                "role_needed",
                format!("{actor} needs the role {} here", name(needed)),
                "ask the conversation's owner or an admin of the org",
            ),
            Self::UnknownParticipant(who) => say(
                404,
                "participant_not_found",
                format!("{who} takes no part in the conversation"),
                "see its participants",
            )
            .field("principal"),
            Self::AlreadyParticipant(who) => say(
                409,
                "already_participant",
                format!("{who} takes part already, in another way"),
                "use set_participant_role",
            )
            .field("principal"),
            Self::DuplicateParticipant(who) => {
                say(422, "duplicate_participant", format!("{who} is named twice"), "name everybody once").field("participants")
            }
            Self::ReservedId(field, id) => say(
                422,
                "reserved_id",
                format!("{id} belongs to the platform"),
                "use an id without a leading _, and not `bootstrap` for a principal",
            )
            .field(*field),
            Self::OwnerNotGiven => say(
                422,
                "owner_not_given",
                "a conversation has the one owner that opened it".into(),
                "use member or admin",
            )
            .field("role"),
            Self::OwnerStays(who) => {
                say(409, "owner_stays", format!("{who} owns the conversation"), "archive it instead").field("principal")
            }
            Self::OwnerCannotLeave => say(
                409,
                "owner_cannot_leave",
                "the owner cannot leave".into(),
                "archive the conversation instead",
            ),
            Self::PrivateIsTwo => say(
                409,
                "private_is_two",
                "a private conversation has exactly two participants".into(),
                "open a group conversation",
            ),
            Self::TooManyParticipants => say(
                409,
                "too_many_participants",
                format!("a conversation has at most {PARTICIPANTS_MAX} participants"),
                "remove one, or open another",
            ),
            Self::BadTitle => say(
                422,
                "bad_title",
                format!("a title has 1 to {NAME_MAX_CHARS} printable characters"),
                "use at most so many characters, some of them visible, and no line breaks or direction overrides",
            )
            .field("title"),
            Self::BadReason => say(
                422,
                "bad_reason",
                format!("a reason has at most {REASON_MAX_CHARS} characters; a claim's at least one"),
                "shorten it, or give one",
            )
            .field("reason"),
            Self::BadClaimWindow(ms) => say(
                422,
                "bad_claim_window",
                format!("a claim window of {ms} ms"),
                &format!("use 0 to {CLAIM_WINDOW_MAX_MS}"),
            )
            .field("claim_window_ms"),
            Self::EmptyBody => say(422, "empty_body", "the body is empty".into(), "say something").field("body"),
            Self::BodyTooLarge { field, bytes } => say(
                422,
                "body_too_large",
                format!("{bytes} bytes; at most {MESSAGE_MAX_BYTES} are allowed"),
                "split the message",
            )
            .field(*field),
            Self::UnreadableBody(why) => {
                say(422, "unreadable_body", format!("the body does not open: {why}"), "send it again").field("body")
            }
            Self::BodyNotJson => say(
                422,
                "body_not_json",
                "the content type promises JSON text".into(),
                "send JSON text, or another content_type",
            )
            .field("body"),
            Self::UnknownMessage { field, message_id } => say(
                404,
                "message_not_found",
                format!("no message {message_id}"),
                "see the conversation's messages",
            )
            .field(*field),
            Self::MessageIdConflict(id) => say(
                409,
                "message_id_conflict",
                format!("the id {id} is taken by another message"),
                "choose another id",
            )
            .field("message_id"),
            Self::NotTheSender(id) => say(
                403,
                "not_the_sender",
                format!("message {id} was sent by another principal"),
                "only its sender edits a message",
            ),
            Self::MessageDeleted(id) => say(409, "message_deleted", format!("message {id} is deleted"), "post another"),
            Self::MessageImported(id) => say(
                409,
                "message_imported",
                format!("message {id} was imported and stays as it is"),
                "delete it, or post another",
            ),
            Self::ConversationFull => say(
                409,
                "conversation_full",
                format!("a conversation has at most {MESSAGES_MAX} messages"),
                "open another conversation",
            ),
            Self::UnknownMention(who) => say(
                422,
                "unknown_mention",
                format!("{who} is not an agent of the conversation"),
                "mention agents that take part",
            )
            .field("mentions"),
            Self::AgentsSilent(phase) => say(
                409,
                "agents_silent",
                format!("agents keep silent in {}", name(phase)),
                "wait until the person gives the conversation back",
            ),
            Self::TurnHeld(turn) => say(
                409,
                "turn_held",
                format!("turn {turn} is still running"),
                "claim it, or wait until it ends",
            ),
            Self::UnknownTurn(turn) => say(
                404,
                "turn_not_found",
                format!("no turn {}", cut(turn)),
                "see the conversation's turns",
            )
            .field("turn"),
            Self::TurnClosed { turn, winner } => {
                let winner = winner
                    .as_ref()
                    .map_or_else(|| "nobody answers".to_owned(), |winner| format!("{winner} won it"));
                say(
                    409,
                    "turn_closed",
                    format!("turn {turn} takes no claims any more: {winner}"),
                    "claim the next one",
                )
            }
            Self::TurnOpen(turn) => say(409, "turn_open", format!("turn {turn} is not decided yet"), "wait for turn_decided"),
            Self::TurnFinished(turn) => say(409, "turn_finished", format!("turn {turn} has ended"), "wait for the next turn"),
            Self::TurnInterrupted(turn) => say(
                409,
                "turn_interrupted",
                format!("turn {turn} was interrupted"),
                "wait for the next turn",
            ),
            Self::NotTheKernel => say(403, "not_the_kernel", "the kernel alone says this".into(), "let its timer come"),
            Self::NotTheWinner { turn, winner } => say(403, "not_the_winner", format!("turn {turn} is {winner}'s"), "post without `turn`"),
            Self::NotEligible(who) => say(
                403,
                "not_eligible",
                format!("{who} is not asked in this turn"),
                "wait for a turn that asks this agent",
            ),
            Self::AlreadySpoke(who) => say(
                409,
                "already_spoke",
                format!("{who} has claimed or deferred already"),
                "wait for turn_decided",
            ),
            Self::BadGrounds { field } => say(
                422,
                "bad_grounds",
                format!("{field} is empty, too long or too many"),
                "use a rule and at most 20 conditions of 1 to 200 characters each",
            )
            .field(*field),
            Self::BadExpiry => say(422, "bad_expiry", "expires_ms is out of range".into(), "use 1 to 60000").field("expires_ms"),
            Self::BadConfidence => say(422, "bad_confidence", "confidence is out of range".into(), "use 0 to 1").field("confidence"),
            Self::NoTurn => say(409, "no_turn", "no turn is running".into(), "wait for one"),
            Self::Paused => say(409, "paused", "the conversation is paused".into(), "resume it first"),
            Self::NothingToAnswer => say(
                409,
                "nothing_to_answer",
                "only agents have said anything".into(),
                "post a message first",
            ),
            Self::NotAnAgent(who) => say(
                422,
                "not_an_agent",
                format!("{who} is not an agent of the conversation"),
                "name an agent that takes part",
            )
            .field("agent"),
            Self::NoHandoff(phase) => say(
                409,
                "no_handoff",
                format!("no handoff in {}", name(phase)),
                "ask for a handoff first",
            ),
            Self::HandoffWaits => say(
                409,
                "handoff_waits",
                "a person was asked for already".into(),
                "assign or accept the handoff",
            ),
            Self::NotAssignee(to) => say(403, "not_assignee", format!("the handoff is {to}'s"), "have it assigned first"),
            Self::HandoffToOutsider(to) => say(
                422,
                "handoff_to_outsider",
                format!("{to} takes no part in the conversation"),
                "add them first, or leave `to` out so that any member may accept",
            )
            .field("to"),
            Self::NotAPerson { field, principal } => {
                say(422, "not_a_person", format!("{principal} is not a person"), "only people take over").field(*field)
            }
            Self::Contradiction(what) => say(
                409,
                "contradiction",
                format!("the decision contradicts the state: {what}"),
                "report this",
            ),
        }
    }
}

fn name(it: &impl serde::Serialize) -> String {
    serde_json::to_value(it)
        .ok()
        .and_then(|it| it.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
