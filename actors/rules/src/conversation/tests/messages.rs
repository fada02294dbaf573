use super::*;
use quipu_schemas::{
    limits::{MESSAGE_MAX_BYTES, MESSAGES_MAX},
    personal::{DataKey, Opener, Personal, SealError},
};

fn edit(message_id: &str, body: &str) -> ConversationCommand {
    ConversationCommand::EditMessage(EditMessage {
        message_id: message(message_id),
        body: sealed(&body.to_owned()),
    })
}
fn delete(message_id: &str) -> ConversationCommand {
    ConversationCommand::DeleteMessage(DeleteMessage {
        message_id: message(message_id),
    })
}

#[test]
fn same_id_and_content_is_unchanged_other_content_conflicts() {
    let mut scene = group(0);
    let first = post_as("m1", "hello");
    scene.ok(&ada(), ConversationCommand::Post(first.clone()));
    scene.unchanged(&ada(), ConversationCommand::Post(first.clone()));
    scene.refused(&bob(), ConversationCommand::Post(first.clone()), 409, "message_id_conflict");
    scene.refused(
        &ada(),
        ConversationCommand::Post(post_as("m1", "other")),
        409,
        "message_id_conflict",
    );
    let louder = PostMessage {
        priority: Priority::High,
        ..first.clone()
    };
    scene.refused(&ada(), ConversationCommand::Post(louder), 409, "message_id_conflict");
    scene.ok(&ada(), delete("m1"));
    scene.unchanged(&ada(), ConversationCommand::Post(first));
    scene.refused(
        &ada(),
        ConversationCommand::Post(post_as("m1", "other")),
        409,
        "message_id_conflict",
    );
    scene.refused(&ada(), import("m1", Some("x")), 409, "message_id_conflict");
}

#[test]
fn an_id_is_minted_where_none_is_given() {
    let mut scene = group(0);
    let events = scene.ok(&ada(), post("hi"));
    assert!(
        matches!(&events[..], [ConversationEvent::MessagePosted { message_id, sender, .. }] if message_id.as_str().starts_with("msg_") && *sender == id("ada"))
    );
}

#[test]
fn only_participants_with_a_voice_post() {
    let mut scene = group(1);
    scene.refused(&as_role("ada", Some(Role::Viewer)), post("hi"), 403, "viewer_cannot_write");
    scene.refused(&as_role("ada", None), post("hi"), 403, "not_an_org_member");
    scene.refused(&as_role("eve", Some(Role::Member)), post("hi"), 403, "not_a_participant");
    scene.refused(&boss(), post("hi"), 403, "not_a_participant");
    scene.refused(&platform(), post("hi"), 403, "not_a_participant");
    scene.ok(&agent("a1"), post("I am here if needed"));
    assert_eq!(phase(&scene), Phase::Idle);
}

#[test]
fn bodies_and_references_are_checked() {
    let mut scene = group(1);
    let with = |change: fn(&mut PostMessage)| {
        let mut it = text("hello");
        change(&mut it);
        ConversationCommand::Post(it)
    };
    scene.refused(&ada(), post(""), 422, "empty_body");
    scene.refused(&ada(), post(&"x".repeat(MESSAGE_MAX_BYTES + 1)), 422, "body_too_large");
    scene.ok(
        &bob(),
        ConversationCommand::Post(PostMessage {
            mentions: vec![],
            ..text(&"x".repeat(MESSAGE_MAX_BYTES))
        }),
    );
    for content_type in [ContentType::Json, ContentType::Event] {
        let mut it = text("not json");
        it.content_type = content_type;
        scene.refused(&ada(), ConversationCommand::Post(it), 422, "body_not_json");
        let mut it = text("{\"a\":1}");
        it.content_type = content_type;
        scene.ok(&ada(), ConversationCommand::Post(it));
    }
    for content_type in [ContentType::Markdown, ContentType::Html] {
        let mut it = text("*hi*");
        it.content_type = content_type;
        scene.ok(&ada(), ConversationCommand::Post(it));
    }
    scene.refused(
        &ada(),
        with(|m| m.reply_to = Some(MessageId::from_static("none"))),
        404,
        "message_not_found",
    );
    scene.refused(&ada(), with(|m| m.mentions = vec![id("bob")]), 422, "unknown_mention");
    scene.refused(&ada(), with(|m| m.mentions = vec![id("nobody")]), 422, "unknown_mention");
    scene.ok(&ada(), ConversationCommand::Post(post_as("m1", "question")));
    scene.ok(&bob(), with(|m| m.reply_to = Some(MessageId::from_static("m1"))));
}

#[test]
fn unopenable_bodies_are_refused_and_erased_ones_bounded() {
    struct Wrong;
    impl Opener for Wrong {
        fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
            Ok(Some(DataKey([8; 32])))
        }
    }
    let mut scene = group(0);
    scene.opener = Box::new(Wrong);
    scene.refused(&ada(), post("hi"), 422, "unreadable_body");
    scene.opener = Box::new(quipu_schemas::context::NoKeys);
    scene.refused(&ada(), post(&"x".repeat(MESSAGE_MAX_BYTES * 2)), 422, "body_too_large");
    scene.ok(&ada(), post("hi"));
}

/// A text whose sealed form has this length: base64 of the text in quotes, or behind a mark, a nonce and a tag.
fn plain_for(sealed_len: usize) -> String {
    let around = if sealed_len > MESSAGE_MAX_BYTES { 1 } else { "\"\"".len() };
    let overhead = around + 24 + 16;
    let text = "x".repeat(sealed_len / 4 * 3 - overhead);
    assert_eq!(sealed(&text).sealed_len(), sealed_len);
    text
}

#[test]
fn what_is_erased_is_bounded_by_its_ciphertext() {
    let mut scene = group(0);
    scene.opener = Box::new(quipu_schemas::context::NoKeys);
    let most = MESSAGE_MAX_BYTES * 2;
    let body = |scene: &mut Cast, sealed_len: usize| scene.decide(&ada(), post(&plain_for(sealed_len))).map_err(|p| p.code);
    assert!(body(&mut scene, most).is_ok());
    assert_eq!(body(&mut scene, most + 4), Err("body_too_large".to_owned()));
    let most = quipu_schemas::limits::NAME_MAX_CHARS * 16;
    let title = |sealed_len: usize| {
        ConversationCommand::Rename(RenameConversation {
            title: sealed(&plain_for(sealed_len)),
        })
    };
    assert_eq!(scene.ok(&ada(), title(most)).len(), 1);
    scene.refused(&ada(), title(most + 4), 422, "bad_title");
}

#[test]
fn imported_content_is_bounded_as_it_is_stored() {
    let mut scene = group(0);
    let stored = |content: &str| {
        let content = ImportedContent {
            content: Some(content.to_owned()),
            tool_calls: None,
            tool_call_id: None,
            name: None,
        };
        serde_json::to_vec(&content).unwrap().len()
    };
    let most = "x".repeat(MESSAGE_MAX_BYTES - stored(""));
    assert_eq!(stored(&most), MESSAGE_MAX_BYTES);
    scene.ok(&ada(), import("i1", Some(&most)));
    scene.refused(&ada(), import("i2", Some(&format!("{most}x"))), 422, "body_too_large");
}

#[test]
fn a_conversation_is_full_at_its_limit() {
    let mut scene = group(0);
    if let ConversationState::Existing(room) = &mut scene.state {
        for n in 0..MESSAGES_MAX {
            let digest = quipu_schemas::digest::Digest::ZERO;
            room.messages.add(message(&format!("x{n}")), Message::Imported { digest }, true);
        }
    }
    scene.refused(&ada(), post("hi"), 409, "conversation_full");
    scene.refused(&ada(), import("i1", Some("x")), 409, "conversation_full");
}

#[test]
fn a_sender_edits_and_senders_and_admins_delete() {
    let mut scene = group(0);
    scene.ok(
        &bob(),
        ConversationCommand::Post(PostMessage {
            content_type: ContentType::Json,
            ..post_as("m1", "[1]")
        }),
    );
    scene.refused(&ada(), edit("m1", "[2]"), 403, "not_the_sender");
    scene.refused(&bob(), edit("m1", "nope"), 422, "body_not_json");
    scene.refused(&bob(), edit("m1", ""), 422, "empty_body");
    scene.refused(&bob(), edit("m2", "[2]"), 404, "message_not_found");
    scene.ok(&bob(), edit("m1", "[2]"));
    scene.ok(&ada(), ConversationCommand::Post(post_as("m2", "mine")));
    scene.refused(&bob(), delete("m2"), 403, "role_needed");
    scene.refused(&bob(), delete("m3"), 404, "message_not_found");
    scene.ok(&boss(), delete("m2"));
    scene.unchanged(&boss(), delete("m2"));
    scene.refused(&ada(), edit("m2", "again"), 409, "message_deleted");
    scene.ok(&bob(), delete("m1"));
}

#[test]
fn transcripts_are_imported_by_the_owner_without_turns() {
    let mut scene = group(1);
    scene.refused(&bob(), import("i1", Some("x")), 403, "role_needed");
    scene.refused(&boss(), import("i1", Some("x")), 403, "role_needed");
    let (empty, null) = (import("i1", Some("")), import("i2", None));
    scene.ok(&ada(), empty.clone());
    scene.ok(&platform(), null.clone());
    scene.unchanged(&ada(), empty);
    scene.unchanged(&ada(), null);
    assert!(scene.reactions.is_empty());
    scene.refused(&ada(), import("i1", Some("else")), 409, "message_id_conflict");
    scene.refused(&ada(), ConversationCommand::Post(post_as("i1", "x")), 409, "message_id_conflict");
    scene.refused(&ada(), import("i3", Some(&"x".repeat(MESSAGE_MAX_BYTES))), 422, "body_too_large");
    scene.refused(&ada(), edit("i1", "x"), 409, "message_imported");
    scene.refused(&bob(), delete("i1"), 403, "role_needed");
    scene.ok(&ada(), delete("i1"));
    for at in PHASES.into_iter().filter(|at| *at != Phase::Archived) {
        let mut scene = in_phase(at);
        assert_eq!(scene.ok(&ada(), import("i1", None)).len(), 1);
        assert_eq!(phase(&scene), at);
    }
}

#[test]
fn imported_null_stays_apart_from_empty() {
    let mut scene = group(0);
    for content in [None, Some("")] {
        let events = scene.ok(&ada(), import(if content.is_some() { "i1" } else { "i2" }, content));
        let ConversationEvent::MessageImported { content: stored, .. } = &events[0] else {
            panic!("{events:?}")
        };
        let stored: &Personal<ImportedContent> = stored;
        assert_eq!(stored.open(&OneKey).unwrap().value().unwrap().content.as_deref(), content);
    }
}
