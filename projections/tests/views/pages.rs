//! Filters and pages.

use crate::scene::{Scene, caught_up, sealed, world};
use quipu_projections::{error::ViewError, query::Query, reading::View};
use quipu_schemas::ids::OrgId;
use serde_json::json;

const ACME: OrgId = OrgId::from_static("acme");

#[test]
fn pages_hold_every_row_once_in_order() {
    let mut scene = Scene::default();
    for n in 0..57 {
        let id = format!("acme/conversation/cnv_{n:03}");
        scene.events(&id, "ada", json!([["created", {"stream": id, "conversation_type": "group", "title": sealed("t"), "claim_window_ms": 1, "auto_turns": false}]]));
    }
    let store = caught_up(&scene.log(5));
    for limit in [1, 7, 56, 57, 58, 1000] {
        let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store
                .list(View::CONVERSATIONS, &ACME, &Query::default().limit(limit).after(after))
                .unwrap();
            assert!(page.rows.len() <= limit);
            assert_eq!(page.cursor.next.iter().sum::<u64>(), 57);
            seen.extend(page.rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let wanted: Vec<_> = (0..57).rev().map(|n| format!("cnv_{n:03}")).collect();
        assert_eq!(seen, wanted, "last active first, limit {limit}");
        assert_eq!(pages, 57usize.div_ceil(limit));
    }
}

#[test]
fn filters_narrow_and_unknown_ones_name_what_there_is() {
    let store = caught_up(&world().log(3));
    let count = |view, query: Query| store.list(view, &ACME, &query).unwrap().rows.len();
    let q = Query::default;
    assert_eq!(count(View::MESSAGES, q().with("conversation", "cnv_1")), 5);
    assert_eq!(count(View::MESSAGES, q().with("conversation", "cnv_1").with("thread", "m1")), 3);
    assert_eq!(count(View::MESSAGES, q().with("deleted", "true")), 1);
    assert_eq!(
        count(View::MESSAGES, q().with("from_sequence", "6").with("before_sequence", "10")),
        2
    );
    assert_eq!(count(View::DELIVERIES, q().with("status", "pending")), 1);
    assert_eq!(count(View::DELIVERIES, q().with("status", "delivered")), 2);
    assert_eq!(count(View::TIMERS, q().with("status", "fired")), 1);
    assert_eq!(count(View::PARTICIPANTS, q().with("active", "true")), 2);
    let error = store.list(View::MEMBERS, &ACME, &q().with("colour", "red")).unwrap_err();
    assert_eq!(error.to_string(), "view members has no filter `colour`; it has role");
    let error = store.list(View::DELIVERIES, &ACME, &q().with("status", "gone")).unwrap_err();
    assert!(error.to_string().contains("pending, processing, delivered"), "{error}");
    let error = store.list(View::ACTIVITY, &ACME, &q().with("from", "yesterday")).unwrap_err();
    assert!(error.to_string().contains("a whole number"), "{error}");
    for injected in ["' OR 1=1 --", "\"; DROP TABLE orgs"] {
        assert_eq!(count(View::MESSAGES, q().with("sender", injected)), 0);
    }
    // A word that the column can never hold is a mistake, not an empty page.
    let error = store.list(View::MEMBERS, &ACME, &q().with("role", "king")).unwrap_err();
    assert!(error.to_string().contains("viewer, member, admin, owner"), "{error}");
}

#[test]
fn bad_pages_and_keys_are_refused() {
    let store = caught_up(&world().log(3));
    for query in [
        Query::default().limit(0),
        Query::default().limit(1001),
        Query::default().after(Some("!".into())),
        Query::default().after(Some("W10".into())),
    ] {
        assert!(
            matches!(store.list(View::MEMBERS, &ACME, &query), Err(ViewError::BadPage(_))),
            "{query:?}"
        );
    }
    let next = store.list(View::MESSAGES, &ACME, &Query::default().limit(1)).unwrap().next;
    assert!(next.is_some());
    assert!(
        matches!(
            store.list(View::MEMBERS, &ACME, &Query::default().after(next)),
            Err(ViewError::BadPage(_))
        ),
        "another view's cursor"
    );
    assert!(matches!(store.get(View::MESSAGES, &ACME, &["m1"]), Err(ViewError::BadKey { .. })));
    assert_eq!(
        store.get(View::DELIVERIES, &ACME, &["run", "run_2", "five", "0"]).unwrap().row,
        None
    );
    assert!(
        quipu_projections::families::Families::house()
            .view("nothing")
            .unwrap_err()
            .to_string()
            .contains("conversations")
    );
}

/// Conversations that move to the top while pages are read, and new ones, lose nobody and repeat nobody.
#[test]
fn rows_that_move_while_pages_are_read_come_once() {
    let mut scene = Scene::default();
    let create = |scene: &mut Scene, n: usize| {
        let id = format!("acme/conversation/cnv_{n:03}");
        scene.events(&id, "ada", json!([["created", {"stream": id, "conversation_type": "group", "title": sealed("t"), "claim_window_ms": 1, "auto_turns": false}]]));
    };
    (0..20).for_each(|n| create(&mut scene, n));
    let (mut seen, mut after) = (Vec::new(), None);
    for round in 0.. {
        // Everything that was made so far, read anew: the views moved on between two pages.
        let store = caught_up(&scene.log(5));
        let page = store
            .list(View::CONVERSATIONS, &ACME, &Query::default().limit(3).after(after))
            .unwrap();
        seen.extend(page.rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()));
        after = page.next;
        if after.is_none() {
            break;
        }
        scene.events("acme/conversation/cnv_001", "ada", json!([["renamed", {"title": sealed("a")}]]));
        scene.events("acme/conversation/cnv_018", "ada", json!([["renamed", {"title": sealed("b")}]]));
        create(&mut scene, 100 + round);
    }
    let wanted: Vec<_> = (0..20).rev().map(|n| format!("cnv_{n:03}")).collect();
    assert_eq!(seen, wanted);

    let store = caught_up(&scene.log(5));
    let recent = || Query::default().limit(2).order(Some("recent".into()));
    let page = store.list(View::CONVERSATIONS, &ACME, &recent()).unwrap();
    let ids = |rows: &[serde_json::Value]| rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&page.rows)[1], "cnv_018", "last active first, behind the newest one");
    let next = store.list(View::CONVERSATIONS, &ACME, &recent().after(page.next.clone())).unwrap();
    assert_eq!(ids(&next.rows)[0], "cnv_001");
    // A cursor belongs to its order.
    let mixed = store.list(View::CONVERSATIONS, &ACME, &Query::default().after(page.next));
    assert!(matches!(mixed, Err(ViewError::BadPage(_))), "{mixed:?}");
    let unknown = store.list(View::CONVERSATIONS, &ACME, &Query::default().order(Some("size".into())));
    assert!(unknown.unwrap_err().to_string().contains("takes recent"));
}

/// What pages are ordered by is set once: these columns change, so no view's own order may name them.
#[test]
fn no_order_of_pages_names_a_column_that_changes() {
    let changing = [
        "last_activity_at",
        "updated_at",
        "settled_at",
        "status",
        "state",
        "phase",
        "message_count",
        "attempts",
    ];
    for view in quipu_projections::families::Families::house().views() {
        let reading = view.reading();
        for column in reading.order.columns {
            assert!(!changing.contains(column), "{} is paged by {column}", reading.name);
        }
        let steps = reading.name == "steps";
        assert!(
            !steps || !reading.order.columns.contains(&"sequence"),
            "a step moves when it starts"
        );
    }
}
