//! The golden world's rows, view by view.

use crate::scene::{Random, caught_up, sealed, world};
use quipu_projections::{
    query::Query,
    reading::{Filter, View},
    store::ViewStore,
};
use quipu_schemas::ids::OrgId;
use serde_json::{Value, json};

const ACME: OrgId = OrgId::from_static("acme");

fn get(store: &dyn ViewStore, view: View, key: &[&str]) -> Value {
    store
        .get(view, &ACME, key)
        .unwrap()
        .row
        .unwrap_or_else(|| panic!("{view:?} {key:?} is missing"))
}

fn expect(store: &dyn ViewStore, view: View, key: &[&str], wanted: Value) {
    let row = get(store, view, key);
    for (column, value) in wanted.as_object().unwrap() {
        assert_eq!(&row[column], value, "{view:?} {key:?} {column} in {row:#}");
    }
}

#[test]
fn the_golden_log_gives_these_rows() {
    let store = caught_up(&world().log(4));
    let s = &*store;
    expect(
        s,
        View::ORGS,
        &["acme"],
        json!({"name": "Acme Ltd", "status": "suspended", "suspend_reason": "late", "member_count": 2, "version": 10}),
    );
    assert_eq!(s.get(View::ORG_SETTINGS, &ACME, &["a"]).unwrap().row, None);
    expect(s, View::ORG_SETTINGS, &["b"], json!({"value": {"c": 2}}));
    expect(s, View::WORKSPACES, &["lab"], json!({"workspace": "lab"}));
    expect(
        s,
        View::MEMBERS,
        &["ada"],
        json!({"role": "owner", "email": sealed("m"), "name": null}),
    );
    expect(s, View::MEMBERS, &["bob"], json!({"role": "admin"}));
    assert_eq!(s.get(View::MEMBERS, &ACME, &["eve"]).unwrap().row, None);
    expect(
        s,
        View::AGENTS,
        &["bot"],
        json!({"status": "suspended", "directive": "2".repeat(64), "max_iterations": 4, "model": {"provider": "scripted", "model": "m1"}}),
    );
    expect(
        s,
        View::DIRECTIVES,
        &["bot", &"1".repeat(64)],
        json!({"active": false, "text": "Be kind."}),
    );
    expect(s, View::DIRECTIVES, &["bot", &"2".repeat(64)], json!({"active": true}));
    expect(s, View::AGENT_TOOLS, &["bot", "look"], json!({"agent": "bot"}));
    expect(
        s,
        View::CONVERSATIONS,
        &["cnv_1"],
        json!({"type": "group", "title": sealed("title"), "phase": "waiting_for_user", "paused": true, "participant_count": 2, "message_count": 5,
            "last_message": "m5", "turn": null, "handoff_to": "bob", "handoff_expires_at": 7}),
    );
    expect(
        s,
        View::PARTICIPANTS,
        &["cnv_1", "bob"],
        json!({"active": false, "left": true, "kind": "person"}),
    );
    expect(
        s,
        View::MESSAGES,
        &["cnv_1", "m1"],
        json!({"sequence": 5, "thread": "m1", "body": sealed("m1"), "deleted": false, "historical": false}),
    );
    expect(
        s,
        View::MESSAGES,
        &["cnv_1", "m2"],
        json!({"thread": "m1", "reply_to": "m1", "body": sealed("better"), "edits": 1, "sender": "bob"}),
    );
    expect(
        s,
        View::MESSAGES,
        &["cnv_1", "m3"],
        json!({"thread": "m1", "reply_to": "m2", "body": null, "deleted": true, "deleted_by": "ada"}),
    );
    expect(
        s,
        View::MESSAGES,
        &["cnv_1", "m5"],
        json!({"historical": true, "role": "tool", "content": sealed("old"), "body": null}),
    );
    expect(
        s,
        View::TURNS,
        &["cnv_1", "t1"],
        json!({"state": "finished", "winner": "bot", "method": "best_claim", "why": "only one", "run": "run_1", "claims": 1,
            "eligible": ["bot"], "outcome": {"is": "answered", "message_id": "m4"}}),
    );
    assert_eq!(get(s, View::TURNS, &["cnv_1", "t1"])["bids"][0]["agent"], "bot");
    expect(
        s,
        View::RUNS,
        &["run_1"],
        json!({"state": "completed", "name": "agent-turn", "parent": "acme/conversation/cnv_1", "turn": "t1", "agent": "bot"}),
    );
    expect(
        s,
        View::RUNS,
        &["run_2"],
        json!({"state": "failed", "failed_node": "call", "code": "node_failed", "input": {"x": 1}, "output": null}),
    );
    expect(
        s,
        View::RUN_STEPS,
        &["run_2", "pick"],
        json!({"component": "map", "status": "completed", "output": {"out": 3}, "sequence": 4}),
    );
    expect(
        s,
        View::RUN_STEPS,
        &["run_2", "call"],
        json!({"status": "failed", "attempts": 3, "code": "status_503", "component": "webhook.call", "sequence": 5}),
    );
    expect(
        s,
        View::RUN_STEPS,
        &["run_1", "reply"],
        json!({"status": "completed", "message": "m4"}),
    );
}

#[test]
fn effects_dispatches_timers_and_commands_show_outcomes() {
    let store = caught_up(&world().log(4));
    let s = &*store;
    let effect = |n: &'static str, wanted| expect(s, View::DELIVERIES, &["run", "run_2", "5", n], wanted);
    effect(
        "0",
        json!({"status": "delivered", "attempts": 2, "name": "call-1", "effect": "webhook", "destination": "hooks.example:8443",
        "key": "acme/run/run_2@5.0", "order_key": "https://hooks.example:8443/in acme/run/run_2", "attempts_max": 3, "next_attempt_at": null}),
    );
    effect("1", json!({"status": "delivered", "attempts": 1}));
    effect(
        "2",
        json!({"status": "dead", "attempts": 3, "last_code": "status_503", "last_error": "gone", "late_notes": 1}),
    );
    effect("3", json!({"status": "pending", "attempts": 0, "settled_at": null}));
    let dead = s.list(View::DEAD_LETTERS, &ACME, &Query::default()).unwrap();
    assert_eq!(dead.rows.len(), 1);
    assert_eq!(dead.rows[0]["name"], "call-3");
    expect(
        s,
        View::DISPATCHES,
        &["conversation", "cnv_1", "11", "0"],
        json!({"status": "accepted", "command": "create_turn", "receiver": "acme/run/run_1"}),
    );
    expect(
        s,
        View::DISPATCHES,
        &["run", "run_2", "5", "4"],
        json!({"status": "refused", "code": "not_allowed"}),
    );
    expect(
        s,
        View::TIMERS,
        &["conversation", "cnv_1", "turn"],
        json!({"status": "fired", "due": 2000, "version": 7, "ordinal": 0}),
    );
    expect(s, View::TIMERS, &["conversation", "cnv_1", "idle"], json!({"status": "cancelled"}));
    expect(
        s,
        View::RECEIPTS,
        &["org", "acme", "c-0"],
        json!({"stream": "acme/org/acme", "version": 2, "unchanged": false, "events": ["quipu.org.created.v1", "quipu.org.member_added.v1"],
            "principal": "bootstrap", "on_behalf_of": "ada"}),
    );
    assert!(
        get(s, View::RECEIPTS, &["org", "acme", "c-0"])["position"]
            .as_str()
            .unwrap()
            .starts_with('p')
    );
    let dead_note = s
        .list(View::RECEIPTS, &ACME, &Query::default().with("kind", "run").with("id", "run_2"))
        .unwrap();
    assert_eq!(dead_note.rows[5]["unchanged"], true);
    assert_eq!(dead_note.rows[5]["settles"], "acme/run/run_2@5.2");
    let by_bob = s.list(View::ACTIVITY, &ACME, &Query::default().with("principal", "bob")).unwrap();
    assert_eq!(by_bob.rows.len(), 3);
    assert_eq!(
        by_bob.rows[0]["kind"], "thing",
        "newest first, kinds without a view of their own included"
    );
    let for_ada = s
        .list(View::ACTIVITY, &ACME, &Query::default().with("on_behalf_of", "ada"))
        .unwrap();
    assert!(for_ada.rows.iter().all(|r| r["principal"] == "bootstrap"));
    // Another org sees nothing of this one.
    let lab = OrgId::from_static("lab");
    assert_eq!(s.list(View::ACTIVITY, &lab, &Query::default()).unwrap().rows.len(), 1);
    assert_eq!(s.get(View::CONVERSATIONS, &lab, &["cnv_1"]).unwrap().row, None);
}

#[test]
fn views_list_within_their_org_and_take_every_filter() {
    let store = caught_up(&world().log(1));
    let mut random = Random(1);
    for view in quipu_projections::families::Families::house().views() {
        let all = store.list(view, &ACME, &Query::default().limit(1000)).unwrap();
        assert!(view == View::PARKED_STREAMS || !all.rows.is_empty(), "{view:?} is empty");
        assert!(all.rows.iter().all(|row| row["org"] == "acme"), "{view:?}");
        for (name, filter) in view.reading().filters {
            let values = match filter {
                Filter::OneOf(choices) => choices.iter().map(|(value, _)| *value).collect(),
                Filter::Is(_) | Filter::From(_) | Filter::Before(_) => vec!["0"],
            };
            for value in values {
                let found = store.list(view, &ACME, &Query::default().with(name, value));
                assert!(found.is_ok(), "{view:?} {name}={value}: {found:?}");
            }
        }
        let row = &all.rows.get(random.below(all.rows.len().max(1)));
        if let Some(row) = row {
            let key: Vec<String> = view
                .named_by()
                .iter()
                .map(|c| row[*c].as_str().map_or_else(|| row[*c].to_string(), str::to_owned))
                .collect();
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            assert_eq!(store.get(view, &ACME, &key).unwrap().row.as_ref(), Some(*row), "{view:?}");
        }
    }
}
