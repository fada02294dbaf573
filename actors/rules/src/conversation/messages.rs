//! What is said.

use super::{
    draft::{Decided, Draft},
    kept::Message,
    rejection::ConversationRejection as Rejection,
    state::{Ending, Room, Stage, Turn},
    turns,
};
use crate::decider::Decision;
use quipu_kinds::conversation::{
    ContentType, ConversationCommand, ConversationEvent as Event, DeleteMessage, EditMessage, ImportMessage, ParticipantKind,
    ParticipantRole, PostMessage, TurnOutcome,
};
use quipu_schemas::{
    context::Context,
    ids::{MessageId, PrincipalId},
    limits::{MESSAGE_MAX_BYTES, MESSAGES_MAX, VALUE_MAX_BYTES},
    personal::{BlobRef, Opened, Personal},
};
use serde::{Serialize, de::DeserializeOwned, de::IgnoredAny};

pub(super) fn post(room: &Room, post: &PostMessage, context: &Context<'_>) -> Decided {
    match &post.turn {
        Some(turn) => answer(room, post, turn, context),
        None => say(room, post, context),
    }
}

/// A participant speaks for themselves.
fn say(room: &Room, post: &PostMessage, context: &Context<'_>) -> Decided {
    let actor = context.actor();
    room.standing(context)?;
    let kind = room
        .participants
        .get(actor)
        .ok_or_else(|| Rejection::NotAParticipant(actor.clone()))?
        .kind;
    if is_repeated(room, post.message_id.as_ref(), Some(actor), context)? {
        return Ok(Decision::Unchanged);
    }
    if kind == ParticipantKind::Agent {
        match &room.floor.stage {
            Stage::AiActive(turn) => return Err(Rejection::TurnHeld(turn.id().to_owned())),
            stage @ (Stage::HandoffPending(_) | Stage::AgentActive { .. }) => return Err(Rejection::AgentsSilent(stage.phase())),
            Stage::Idle | Stage::WaitingForUser | Stage::Resolved | Stage::Archived => {}
        }
    }
    let mut draft = Draft::new(room, context);
    let (_, event) = posted(room, post, actor, kind, context)?;
    draft.push(event)?;
    turns::start_next(&mut draft)?;
    draft.finish()
}

/// The winner of a turn answers: message, end of the turn and next phase are one decision, so that there is
/// never a second answer.
fn answer(room: &Room, post: &PostMessage, turn: &str, context: &Context<'_>) -> Decided {
    match room.floor.turn() {
        Some(Turn::Running(running)) if running.turn == turn => {
            if !(turns::is_sent_by_run(&running.run, context) || context.actor() == &running.winner) {
                return Err(Rejection::NotTheWinner {
                    turn: turn.to_owned(),
                    winner: running.winner.clone(),
                });
            }
            let mut draft = Draft::new(room, context);
            // A run hears of a refusal, and ends the turn with it.
            let (message_id, event) = answered(room, post, &running.winner, context)?;
            draft.push(event)?;
            draft.push(Event::TurnFinished {
                turn: turn.to_owned(),
                outcome: TurnOutcome::Answered { message_id },
            })?;
            turns::start_next(&mut draft)?;
            draft.finish()
        }
        Some(Turn::Open(open)) if open.turn == turn => Err(Rejection::TurnOpen(turn.to_owned())),
        Some(Turn::Open(_) | Turn::Running(_)) | None => match room.floor.ended(turn) {
            Some(ending @ Ending::Answered { .. }) => {
                if is_repeated(room, post.message_id.as_ref(), ending.winner(), context)? {
                    Ok(Decision::Unchanged)
                } else {
                    Err(Rejection::TurnFinished(turn.to_owned()))
                }
            }
            Some(Ending::Failed { .. } | Ending::Closed) => Err(Rejection::TurnFinished(turn.to_owned())),
            Some(Ending::Interrupted { .. }) => Err(Rejection::TurnInterrupted(turn.to_owned())),
            None => Err(Rejection::UnknownTurn(turn.to_owned())),
        },
    }
}

/// The message of an answer; its id must be new, though a message of the very same content had it.
fn answered(room: &Room, post: &PostMessage, winner: &PrincipalId, context: &Context<'_>) -> Result<(MessageId, Event), Rejection> {
    match &post.message_id {
        Some(id) if room.knows(id, context)? => Err(Rejection::MessageIdConflict(id.clone())),
        Some(_) | None => posted(room, post, winner, ParticipantKind::Agent, context),
    }
}

fn posted(
    room: &Room,
    post: &PostMessage,
    sender: &PrincipalId,
    kind: ParticipantKind,
    context: &Context<'_>,
) -> Result<(MessageId, Event), Rejection> {
    if room.messages.len() >= MESSAGES_MAX {
        return Err(Rejection::ConversationFull);
    }
    post.message_id.as_ref().map_or(Ok(()), not_reserved)?;
    // A model may have nothing to say; its turn ends all the same.
    check_body(&post.body, post.content_type, post.turn.is_some(), context)?;
    if let Some(reply_to) = &post.reply_to
        && !room.knows(reply_to, context)?
    {
        return Err(Rejection::UnknownMessage {
            field: "reply_to",
            message_id: reply_to.clone(),
        });
    }
    let mut mentions = post.mentions.clone();
    mentions.sort();
    mentions.dedup();
    for mention in &mentions {
        if room.participants.get(mention).is_none_or(|it| it.kind != ParticipantKind::Agent) {
            return Err(Rejection::UnknownMention(mention.clone()));
        }
    }
    let message_id = match &post.message_id {
        Some(id) => id.clone(),
        None => MessageId::parse(context.mint("msg")).map_err(|e| Rejection::Contradiction(e.to_string()))?,
    };
    let event = Event::MessagePosted {
        message_id: message_id.clone(),
        sender: sender.clone(),
        sender_kind: kind,
        body: post.body.clone(),
        content_digest: context.command_digest,
        content_type: post.content_type,
        reply_to: post.reply_to.clone(),
        priority: post.priority,
        mentions,
        turn: post.turn.clone(),
        indexed: true,
    };
    Ok((message_id, event))
}

pub(super) fn import(room: &Room, import: &ImportMessage, context: &Context<'_>) -> Decided {
    room.require(ParticipantRole::Owner, context)?;
    match room.message(&import.message_id, context)? {
        Some(Message::Imported { digest }) if digest == context.command_digest => return Ok(Decision::Unchanged),
        Some(Message::Imported { .. } | Message::Posted { .. } | Message::Deleted { .. }) => {
            return Err(Rejection::MessageIdConflict(import.message_id.clone()));
        }
        None => not_reserved(&import.message_id)?,
    }
    if room.messages.len() >= MESSAGES_MAX {
        return Err(Rejection::ConversationFull);
    }
    if import.content.blob().is_some() {
        if import.content.plain_len() > MESSAGE_MAX_BYTES {
            let bytes = import.content.plain_len();
            return Err(Rejection::BodyTooLarge { field: "content", bytes });
        }
    } else if let Some(content) = open("content", &import.content, context)? {
        let bytes = serde_json::to_vec(&content)
            .map_err(|e| Rejection::UnreadableBody(e.to_string()))?
            .len();
        if bytes > MESSAGE_MAX_BYTES {
            return Err(Rejection::BodyTooLarge { field: "content", bytes });
        }
    }
    Ok(Decision::one(Event::MessageImported {
        message_id: import.message_id.clone(),
        role: import.role,
        content_digest: context.command_digest,
        content: import.content.clone(),
        indexed: true,
    }))
}

pub(super) fn edit(room: &Room, edit: &EditMessage, context: &Context<'_>) -> Decided {
    room.standing(context)?;
    match find(room, &edit.message_id, context)? {
        Message::Posted { sender, .. } if sender != *context.actor() => Err(Rejection::NotTheSender(edit.message_id.clone())),
        Message::Posted { content_type, .. } => {
            check_body(&edit.body, content_type, false, context)?;
            Ok(Decision::one(Event::MessageEdited {
                message_id: edit.message_id.clone(),
                body: edit.body.clone(),
            }))
        }
        Message::Imported { .. } => Err(Rejection::MessageImported(edit.message_id.clone())),
        Message::Deleted { .. } => Err(Rejection::MessageDeleted(edit.message_id.clone())),
    }
}

pub(super) fn delete(room: &Room, delete: &DeleteMessage, context: &Context<'_>) -> Decided {
    let standing = room.standing(context)?;
    let is_own = match find(room, &delete.message_id, context)? {
        Message::Posted { sender, .. } => sender == *context.actor(),
        Message::Imported { .. } => false,
        Message::Deleted { .. } => return Ok(Decision::Unchanged),
    };
    if !is_own && standing < ParticipantRole::Admin {
        return Err(Rejection::RoleNeeded {
            actor: context.actor().clone(),
            needed: ParticipantRole::Admin,
        });
    }
    Ok(Decision::one(Event::MessageDeleted {
        message_id: delete.message_id.clone(),
        by: context.actor().clone(),
    }))
}

/// The message that an event is about, where it begins or ends it.
pub(super) fn named_by(event: &Event) -> Option<&str> {
    if let Event::MessagePosted { message_id, .. } | Event::MessageImported { message_id, .. } | Event::MessageDeleted { message_id, .. } =
        event
    {
        Some(message_id.as_str())
    } else {
        None
    }
}

fn not_reserved(id: &MessageId) -> Result<(), Rejection> {
    if id.is_reserved() {
        Err(Rejection::ReservedId("message_id", id.to_string()))
    } else {
        Ok(())
    }
}

fn find(room: &Room, id: &MessageId, context: &Context<'_>) -> Result<Message, Rejection> {
    room.message(id, context)?.ok_or_else(|| Rejection::UnknownMessage {
        field: "message_id",
        message_id: id.clone(),
    })
}

/// Whether the very same message is there; another one of that id is refused.
fn is_repeated(room: &Room, id: Option<&MessageId>, sender: Option<&PrincipalId>, context: &Context<'_>) -> Result<bool, Rejection> {
    let Some(id) = id else { return Ok(false) };
    let Some(message) = room.message(id, context)? else {
        return Ok(false);
    };
    let same_sender = match &message {
        Message::Posted { sender: held, .. } => Some(held) == sender,
        Message::Deleted { .. } => true,
        Message::Imported { .. } => false,
    };
    if same_sender && message.digest() == context.command_digest {
        Ok(true)
    } else {
        Err(Rejection::MessageIdConflict(id.clone()))
    }
}

/// The body that a decision on a message looks into: JSON is checked, other text is known well enough by its size.
pub(super) fn needs(room: &Room, command: &ConversationCommand) -> Vec<BlobRef> {
    let (body, content_type) = match command {
        ConversationCommand::Post(post) => (&post.body, Some(post.content_type)),
        ConversationCommand::EditMessage(edit) => {
            let content_type = match room.messages.get(&edit.message_id) {
                Some(Message::Posted { content_type, .. }) => Some(content_type),
                // It may be JSON.
                None if room.messages.forgets() => Some(ContentType::Json),
                Some(Message::Imported { .. } | Message::Deleted { .. }) | None => None,
            };
            (&edit.body, content_type)
        }
        _ => return Vec::new(),
    };
    match content_type {
        Some(ContentType::Json | ContentType::Event) => body.blob().into_iter().collect(),
        Some(ContentType::Text | ContentType::Markdown | ContentType::Html) | None => Vec::new(),
    }
}

/// Bytes of a text that is kept beside the log: a mark is sealed with it.
fn text_len(kept: &BlobRef) -> usize {
    usize::try_from(kept.size).unwrap_or(usize::MAX).saturating_sub(1)
}

fn check_body(body: &Personal<String>, content_type: ContentType, is_answer: bool, context: &Context<'_>) -> Result<(), Rejection> {
    if let Some(kept) = body.blob() {
        // What a model answered may be as large as any value; people write less.
        let most = if is_answer { VALUE_MAX_BYTES } else { MESSAGE_MAX_BYTES };
        let bytes = text_len(&kept);
        if bytes > most {
            return Err(Rejection::BodyTooLarge { field: "body", bytes });
        }
        if matches!(content_type, ContentType::Text | ContentType::Markdown | ContentType::Html) {
            return Ok(());
        }
    }
    let may_be_empty = is_answer;
    let Some(text) = open("body", body, context)? else { return Ok(()) };
    if text.len() > MESSAGE_MAX_BYTES {
        return Err(Rejection::BodyTooLarge {
            field: "body",
            bytes: text.len(),
        });
    }
    if text.is_empty() {
        return if may_be_empty { Ok(()) } else { Err(Rejection::EmptyBody) };
    }
    match content_type {
        ContentType::Json | ContentType::Event => serde_json::from_str::<IgnoredAny>(&text)
            .map(|_| ())
            .map_err(|_| Rejection::BodyNotJson),
        ContentType::Text | ContentType::Markdown | ContentType::Html => Ok(()),
    }
}

/// The opened value; `None` where its subject was erased meanwhile, bounded by its ciphertext.
fn open<T: Serialize + DeserializeOwned>(field: &'static str, sealed: &Personal<T>, context: &Context<'_>) -> Result<Option<T>, Rejection> {
    match sealed.open(context.opener) {
        Ok(Opened::Value(value)) => Ok(Some(value)),
        Ok(Opened::Erased) if sealed.sealed_len() > MESSAGE_MAX_BYTES * 2 => Err(Rejection::BodyTooLarge {
            field,
            bytes: sealed.sealed_len(),
        }),
        Ok(Opened::Erased) => Ok(None),
        Err(error) => Err(Rejection::UnreadableBody(error.to_string())),
    }
}
