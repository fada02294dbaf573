//! Commands of a conversation.

use super::{Draw, Made, OfKind, Rng, one_of, request, text_at};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::ids::Kind;
use serde_json::{Value, json};

pub(super) static CONVERSATION: OfKind = OfKind {
    kind: Kind::CONVERSATION,
    commands: &[
        ("post", 60),
        ("claim", 12),
        ("defer", 5),
        ("cancel", 5),
        ("preempt", 4),
        ("route", 4),
        ("pause", 4),
        ("resume", 8),
        ("rename", 3),
        ("edit_message", 5),
        ("delete_message", 4),
        ("import_message", 4),
        ("add_participant", 4),
        ("remove_participant", 3),
        ("set_participant_role", 3),
        ("join", 3),
        ("leave", 3),
        ("handoff", 5),
        ("assign_handoff", 4),
        ("accept_handoff", 5),
        ("return_handoff", 5),
        ("resolve", 3),
        ("archive", 1),
    ],
    body,
};

impl Draw<'_> {
    fn turn(&self) -> String {
        text_at(self.state, "turn").unwrap_or_else(|| "t1".into())
    }
}

/// One of the messages that the platform posted, or a new one.
fn said(draw: &Draw<'_>, rng: &mut Rng) -> String {
    let recent = draw.state.pointer("/existing/messages/recent").and_then(Value::as_array);
    let posted = |it: &&Value| it["message"]["posted"]["sender"] == "bootstrap";
    let posted: Vec<&Value> = recent.into_iter().flatten().filter(posted).collect();
    if posted.is_empty() {
        return draw.message.clone();
    }
    let one = posted[rng.below(posted.len() as u64) as usize];
    one["message_id"].as_str().unwrap_or_default().to_owned()
}

fn body(draw: &Draw<'_>, command: &str, rng: &mut Rng) -> Made {
    let n = draw.n;
    match command {
        // Some say more than a record should hold; of JSON the rules look into it.
        "post" if n.is_multiple_of(9) => (json!({ "body": "hello again ".repeat(400), "message_id": draw.message }), None),
        "post" if n % 9 == 1 => {
            let (body, content_type) = (json!(vec![n; 1_000]).to_string(), "json");
            (
                json!({ "body": body, "content_type": content_type, "message_id": draw.message }),
                None,
            )
        }
        "post" => (json!({ "body": format!("hello {n}"), "message_id": draw.message }), None),
        "claim" => {
            let mut claim = json!({ "turn": draw.turn(), "reason": "mine", "confidence": 0.5 });
            if rng.chance(30) {
                claim["rule"] = json!("anything");
                claim["expires_ms"] = json!(1 + rng.below(600));
            }
            (claim, Some(draw.bot))
        }
        "defer" => (json!({ "turn": draw.turn() }), Some(draw.bot)),
        "route" => (json!({ "agent": draw.bot }), None),
        "rename" => (json!({ "title": format!("Talk {n}") }), None),
        "edit_message" => (json!({ "message_id": said(draw, rng), "body": "edited" }), None),
        "delete_message" => (json!({ "message_id": said(draw, rng) }), None),
        "import_message" => (
            json!({ "message_id": format!("i{n}"), "role": "user", "content": { "content": "from before" } }),
            None,
        ),
        "add_participant" => (json!({ "principal": draw.person, "kind": "person" }), None),
        "remove_participant" => {
            let who = one_of(draw.state, "participants", rng, &|who, it| {
                (who.starts_with('p') || who == "grace") && it["role"] != "owner"
            });
            (json!({ "principal": who.unwrap_or_else(|| draw.person.clone()) }), None)
        }
        "set_participant_role" => (
            json!({ "principal": "grace", "role": if rng.chance(50) { "admin" } else { "member" } }),
            None,
        ),
        "join" => (json!({ "kind": "person" }), Some(["grace", "ada"][rng.below(2) as usize])),
        "leave" => (json!({}), Some("grace")),
        "assign_handoff" => (json!({ "to": "ada" }), None),
        "accept_handoff" | "return_handoff" => (json!({}), Some("ada")),
        _ => (json!({}), None),
    }
}

pub(super) fn create(n: u64, rng: &mut Rng) -> CommandRequest {
    let participants = json!([
        { "principal": "bot0", "kind": "agent" }, { "principal": "bot1", "kind": "agent" },
        { "principal": "ada", "kind": "person" }, { "principal": "grace", "kind": "person" }
    ]);
    request(
        n,
        Kind::CONVERSATION,
        &format!("c{}", rng.below(4)),
        "create",
        json!({ "type": "group", "participants": participants }),
        None,
    )
}
