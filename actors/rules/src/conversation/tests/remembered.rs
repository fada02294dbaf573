//! Long conversations: the state stays as small as it is, and what it has forgotten is looked up.

use super::*;
use quipu_kinds::conversation::ConversationEvent as Event;
use quipu_schemas::{
    digest::Digest,
    limits::{MESSAGES_MAX, MESSAGES_REMEMBERED},
};

fn say(message_id: &str, body: &str) -> ConversationCommand {
    ConversationCommand::Post(post_as(message_id, body))
}
fn edit(message_id: &str) -> ConversationCommand {
    ConversationCommand::EditMessage(EditMessage {
        message_id: message(message_id),
        body: sealed(&"new".to_owned()),
    })
}
fn delete(message_id: &str) -> ConversationCommand {
    ConversationCommand::DeleteMessage(DeleteMessage {
        message_id: message(message_id),
    })
}

/// A group in which so much was said since that it has forgotten what `first` says.
fn long_after(first: Vec<(As, ConversationCommand)>) -> Cast {
    let mut scene = group(0);
    for (who, command) in first {
        scene.ok(&who, command);
    }
    for _ in 0..=MESSAGES_REMEMBERED {
        scene.ok(&ada(), post("and so on"));
    }
    scene
}

fn size(scene: &Cast) -> usize {
    bincode::serde::encode_to_vec(&scene.state, bincode::config::standard())
        .unwrap()
        .len()
}

#[test]
fn state_of_100_000_messages_is_as_small_as_of_100() {
    let mut scene = group(1);
    let body = sealed(&"hello".to_owned());
    let said = |n: usize, indexed| Event::MessagePosted {
        message_id: message(&format!("message-{n:06}")),
        sender: id("ada"),
        sender_kind: ParticipantKind::Agent,
        body: body.clone(),
        content_digest: Digest([n as u8; 32]),
        content_type: ContentType::Text,
        reply_to: None,
        priority: Priority::Normal,
        mentions: Vec::new(),
        turn: None,
        indexed,
    };
    let mut sizes = Vec::new();
    for n in 0..MESSAGES_MAX {
        scene.state = Conversation::evolve(std::mem::take(&mut scene.state), &said(n, true)).unwrap();
        if n + 1 == 100 || n + 1 == MESSAGES_MAX {
            sizes.push(size(&scene));
        }
    }
    assert_eq!(MESSAGES_MAX, 100_000);
    // The count takes up to four bytes more, and nothing else grows.
    assert!(sizes[1] <= sizes[0] + 4 && sizes[1] < 2_000, "{sizes:?} bytes");
    // What an older release wrote cannot be looked up, and is kept.
    let mut old = group(1);
    for n in 0..100 {
        old.state = Conversation::evolve(std::mem::take(&mut old.state), &said(n, false)).unwrap();
    }
    old.refused(&ada(), say("message-000000", "again"), 409, "message_id_conflict");
    assert!(size(&old) > 100 * 50, "{} bytes", size(&old));
}

#[test]
fn repeated_id_is_noticed_long_after() {
    let (first, imported) = (say("m1", "first"), import("i1", Some("x")));
    let mut scene = long_after(vec![(ada(), first.clone()), (ada(), imported.clone())]);
    scene.unchanged(&ada(), first.clone());
    scene.refused(&ada(), say("m1", "another"), 409, "message_id_conflict");
    scene.refused(&bob(), first, 409, "message_id_conflict");
    scene.unchanged(&ada(), imported);
    scene.refused(&ada(), import("i1", Some("y")), 409, "message_id_conflict");
    scene.refused(&ada(), import("m1", Some("first")), 409, "message_id_conflict");
    scene.ok(&ada(), say("m2", "first"));
}

#[test]
fn old_message_is_answered_edited_and_deleted() {
    let second = say("m2", "second");
    let mut scene = long_after(vec![(ada(), say("m1", "first")), (bob(), second.clone())]);
    let reply = |to: &str| {
        ConversationCommand::Post(PostMessage {
            reply_to: Some(message(to)),
            ..post_as(&format!("to-{to}"), "yes")
        })
    };
    scene.ok(&ada(), reply("m2"));
    scene.refused(&ada(), reply("m9"), 404, "message_not_found");
    scene.refused(&ada(), edit("m2"), 403, "not_the_sender");
    scene.refused(&ada(), edit("m9"), 404, "message_not_found");
    scene.ok(&ada(), edit("m1"));
    scene.refused(&bob(), delete("m1"), 403, "role_needed");
    scene.ok(&bob(), delete("m2"));
    scene.unchanged(&bob(), delete("m2"));
    scene.refused(&bob(), edit("m2"), 409, "message_deleted");
    scene.refused(&bob(), say("m2", "changed"), 409, "message_id_conflict");
    scene.unchanged(&bob(), second);
}

#[test]
fn message_deleted_while_remembered_stays_deleted() {
    let mut scene = long_after(vec![(ada(), say("m1", "first")), (ada(), delete("m1"))]);
    scene.unchanged(&ada(), delete("m1"));
    scene.refused(&ada(), edit("m1"), 409, "message_deleted");
}

/// A decision that was given nothing to go by must not take what was forgotten for what was never said.
#[test]
fn name_that_was_not_looked_up_is_an_error() {
    let mut scene = long_after(vec![(ada(), say("m1", "first"))]);
    scene.looks_up = false;
    scene.refused(&ada(), say("m1", "first"), 409, "contradiction");
    scene.refused(&ada(), edit("m1"), 409, "contradiction");
    scene.ok(&ada(), post("no id of its own"));
}
