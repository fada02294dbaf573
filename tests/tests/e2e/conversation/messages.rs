//! Messages, each once, and their changes.

use quipu_tests::office::{Office, path};
use serde_json::{Value, json};

#[tokio::test]
async fn a_message_id_is_one_message() {
    let office = Office::open().await;
    office.room("desk", &[], 0).await;
    let first = office.say("desk", "m1", "hello").await;
    let again = office.say("desk", "m1", "hello").await;
    assert_eq!(
        (again.body["unchanged"].as_bool(), &again.body["version"]),
        (Some(true), &first.body["version"])
    );
    let other = office
        .send("conversation", "desk", "post", json!({ "message_id": "m1", "body": "goodbye" }))
        .await;
    assert_eq!(other.status, 409, "{}", other.text);
    let desk = path("conversation", "desk");
    assert_eq!(office.ada.count(&desk, "conversation.message_posted", |_| true).await, 1);
    // A command id likewise: the same body again is the first receipt, another body or sender is refused.
    let post = |caller: quipu_tests::caller::Caller, body: Value| async move {
        caller
            .try_command(&format!("{}/post", path("conversation", "desk")), "key-1", &body)
            .await
            .expect("an answer")
    };
    let first = post(office.ada.clone(), json!({ "body": "one" })).await.taken();
    let again = post(office.ada.clone(), json!({ "body": "one" })).await.taken();
    assert_eq!(
        (again.body["duplicate"].as_bool(), &again.body["position"]),
        (Some(true), &first.body["position"])
    );
    assert_eq!(post(office.ada.clone(), json!({ "body": "two" })).await.status, 409);
    assert_eq!(post(office.by("bob"), json!({ "body": "one" })).await.status, 409);
}

#[tokio::test]
async fn messages_are_edited_deleted_and_threaded_by_those_who_may() {
    let office = Office::open().await;
    office.member("bob", "member").await;
    office.room("desk", &[], 0).await;
    office
        .send(
            "conversation",
            "desk",
            "add_participant",
            json!({ "principal": "bob", "kind": "person" }),
        )
        .await
        .taken();
    office.say("desk", "m1", "hello").await;
    let bob = office.by("bob");
    let desk = path("conversation", "desk");
    bob.post(
        &format!("{desk}/post"),
        json!({ "message_id": "m2", "body": "hi", "reply_to": "m1" }),
    )
    .await
    .taken();
    let edit = json!({ "message_id": "m1", "body": "changed" });
    assert_eq!(bob.post(&format!("{desk}/edit_message"), edit.clone()).await.status, 403);
    office.send("conversation", "desk", "edit_message", edit).await.taken();
    office
        .send("conversation", "desk", "delete_message", json!({ "message_id": "m2" }))
        .await
        .taken();
    let rows = office.ada.fresh(&format!("{desk}/messages")).await.taken().body;
    let rows = rows["items"].as_array().expect("rows").clone();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().any(|row| row["body"] == "changed"), "{rows:?}");
    assert!(!rows.iter().any(|row| row["body"] == "hi"), "a deleted body is not shown: {rows:?}");
    bob.post(&format!("{desk}/post"), json!({ "body": "hm", "reply_to": "nothing" }))
        .await
        .refused(404, "message_not_found");
}
