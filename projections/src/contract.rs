//! The contract of a view store, sentence by sentence: the suite that every store must pass. It panics where a promise does
//! not hold.

use crate::{
    error::ViewError,
    families::Families,
    family::Family,
    messages::MESSAGES,
    orgs::{MEMBERS, ORGS},
    query::Query,
    reading::View,
    statement::{Statement, Statements, Value},
    store::{Checkpoint, DigestOf, Digests, Of, Origin, ViewBatch, ViewStore},
    table::{Table, text},
};
use quipu_schemas::{ids::OrgId, position::LogId};
use std::sync::Arc;

const ACME: OrgId = OrgId::from_static("acme");

/// A table that the house does not have.
static EXTRAS: Table = Table {
    name: "extras",
    key: &[text("id")],
    columns: &[],
    indexes: &[],
};

/// A family that the house does not have.
static EXTRA: Family = Family {
    name: "extra",
    kind: Some("extra"),
    version: 1,
    tables: &[&EXTRAS],
    views: &[],
    parts: &[],
    counts: &[],
    reduce: |_, _, _| Ok(()),
};

/// The families of the house, one that all hang on made otherwise.
fn rebased() -> Families {
    let rebased = |family: &'static Family| -> &'static Family {
        let version = family.version + u32::from(family.name == "activity");
        Box::leak(Box::new(Family { version, ..*family }))
    };
    let all: Vec<_> = Families::house().iter().map(rebased).collect();
    Families::of(Box::leak(all.into_boxed_slice()))
}

/// The families of the house and one more.
pub fn extended() -> Families {
    Families::house().with(&EXTRA).unwrap()
}

fn origin() -> Origin {
    Origin {
        log_id: LogId([3; 16]),
        generation: 1,
        partitions: 2,
        families: Families::house(),
    }
}

fn batch(partition: u16, from: u64, to: u64, statements: Vec<Statement>) -> ViewBatch {
    let at = |next_offset| Checkpoint {
        epoch: u64::from(next_offset > 0),
        next_offset,
        behind: 0,
    };
    ViewBatch {
        partition,
        of: Of::Views,
        expected: at(from),
        next: at(to),
        statements,
    }
}

fn put(name: &str) -> Vec<Statement> {
    let mut out = Statements::default();
    out.put_add(&ORGS, &ACME, [], [("name", name.into())], [("member_count", 2)]);
    out.into_inner()
}

fn org(store: &dyn ViewStore) -> serde_json::Value {
    store.get(View::ORGS, &ACME, &["acme"]).unwrap().row.unwrap_or_default()
}

/// Texts that a store must neither lose nor sort by anything but their bytes.
const TEXTS: [&str; 12] = [
    "",
    "\0",
    "\0\u{1}",
    "\u{1}",
    "\u{1}\0",
    "\u{1}\u{2}",
    "B",
    "_",
    "a",
    "a\0b",
    "z",
    "ä",
];

fn text_is_bytes(store: &dyn ViewStore) {
    let lab = OrgId::from_static("lab");
    let mut out = Statements::default();
    for text in TEXTS.iter().rev() {
        out.put(&MEMBERS, &lab, [(*text).into()], [("role", (*text).into())]);
    }
    store.apply(&[batch(1, 3, 4, out.into_inner())]).unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(View::MEMBERS, &lab, &Query::default().limit(5).after(after)).unwrap();
        seen.extend(page.rows.iter().map(|row| row["principal"].as_str().unwrap().to_owned()));
        assert!(page.rows.iter().all(|row| row["role"] == row["principal"]));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, TEXTS);
    for text in TEXTS {
        assert_eq!(store.get(View::MEMBERS, &lab, &[text]).unwrap().row.unwrap()["role"], text);
    }
    assert!(
        store
            .list(View::MEMBERS, &OrgId::from_static("none"), &Query::default())
            .unwrap()
            .rows
            .is_empty()
    );
}

/// Everything that a store promises. `open` opens the store that it opened before, if it opened one. The digests of what
/// is left are the same for every store.
///
/// # Panics
/// Where the store breaks its contract.
pub fn contract(open: &dyn Fn(Origin) -> Result<Arc<dyn ViewStore>, ViewError>, durable: bool) -> Digests {
    let store = open(origin()).unwrap();
    assert_eq!(store.checkpoints().unwrap(), vec![Checkpoint::default(); 2]);

    // 2. Statements and checkpoints of all batches at once.
    store.apply(&[batch(0, 0, 5, put("one")), batch(1, 0, 3, vec![])]).unwrap();
    assert_eq!(store.cursor().unwrap().next, vec![5, 3]);
    assert_eq!(org(&*store)["name"], "one");
    assert_eq!(org(&*store)["member_count"], 2);

    // 3. Another checkpoint is a conflict, and then nothing of any batch was done.
    let conflict = store.apply(&[batch(1, 3, 4, put("two")), batch(0, 4, 6, put("two"))]);
    assert_eq!(conflict, Err(ViewError::Conflict { partition: 0, expected: 4 }));
    assert_eq!(store.cursor().unwrap().next, vec![5, 3]);
    assert_eq!(org(&*store)["name"], "one");
    let wrong = Statement::Put {
        table: &ORGS,
        key: vec!["acme".into()],
        set: vec![("no_such_column", 1u64.into())],
        add: vec![],
    };
    assert!(matches!(
        store.apply(&[batch(0, 5, 6, [put("two"), vec![wrong]].concat())]),
        Err(ViewError::Storage(_))
    ));
    assert_eq!(store.cursor().unwrap().next, vec![5, 3]);
    assert_eq!(org(&*store)["name"], "one");

    // Put keeps what it does not name and adds to what is there; change and delete hit what matches.
    let mut out = Statements::default();
    out.put_add(&ORGS, &ACME, [], [("parent", Value::Null)], [("member_count", -1)]);
    for who in ["ada", "bob", "cyd"] {
        out.put(&MEMBERS, &ACME, [who.into()], [("role", "member".into())]);
    }
    out.change(
        &MEMBERS,
        &ACME,
        [("role", "member".into()), ("principal", "bob".into())],
        [("role", "owner".into())],
        &[],
    );
    out.change(&MEMBERS, &ACME, [("principal", "nobody".into())], [("role", "owner".into())], &[]);
    out.delete(&MEMBERS, &ACME, [("role", "member".into()), ("principal", "cyd".into())]);
    out.change(
        &ORGS,
        &ACME,
        [("member_count", 1u64.into())],
        [("status", "suspended".into())],
        &[("member_count", 10)],
    );
    // A read sees the statements before it.
    let missing = Statements::read(&MESSAGES, &ACME, ["c".into(), "m0".into()], "thread", "m0".into());
    out.put(
        &MESSAGES,
        &ACME,
        ["c".into(), "m1".into()],
        [("thread", missing), ("sequence", 1u64.into())],
    );
    let found = Statements::read(&MESSAGES, &ACME, ["c".into(), "m1".into()], "thread", "m1".into());
    out.put(
        &MESSAGES,
        &ACME,
        ["c".into(), "m2".into()],
        [("thread", found), ("sequence", 2u64.into())],
    );
    store.apply(&[batch(0, 5, 9, out.into_inner())]).unwrap();
    let row = org(&*store);
    assert_eq!(
        (&row["name"], &row["member_count"], &row["status"]),
        (&"one".into(), &11.into(), &"suspended".into())
    );
    let members = store.list(View::MEMBERS, &ACME, &Query::default()).unwrap();
    let counted = store.count(View::MEMBERS, &ACME, &["role"]).unwrap();
    assert_eq!(
        (counted.total(), counted.by(0)),
        (2, [("member".into(), 1), ("owner".into(), 1)].into())
    );
    assert_eq!(store.count(View::MESSAGES, &ACME, &[]).unwrap().total(), 2);
    assert_eq!(
        store
            .count(View::MEMBERS, &OrgId::parse("nobody").unwrap(), &["role"])
            .unwrap()
            .total(),
        0
    );
    let roles: Vec<_> = members.rows.iter().map(|r| format!("{}={}", r["principal"], r["role"])).collect();
    assert_eq!(roles, [r#""ada"="member""#, r#""bob"="owner""#]);
    assert_eq!(store.get(View::MESSAGES, &ACME, &["c", "m2"]).unwrap().row.unwrap()["thread"], "m0");

    // 4. The cursor is of the same moment as the rows, also beside a writer.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 9..200 {
                let mut out = Statements::default();
                out.put(&ORGS, &ACME, [], [("version", (n + 1).into())]);
                store.apply(&[batch(0, n, n + 1, out.into_inner())]).unwrap();
            }
        });
        for _ in 0..200 {
            let found = store.get(View::ORGS, &ACME, &["acme"]).unwrap();
            let version = found.row.unwrap()["version"].as_u64().unwrap();
            assert!(
                version == found.cursor.next[0] || (version == 0 && found.cursor.next[0] == 9),
                "{version} {:?}",
                found.cursor
            );
        }
    });

    text_is_bytes(&*store);

    // 7. A new store is not whole; one that was said to be stays so.
    assert_eq!(store.is_whole(), Ok(false));
    store.set_whole().unwrap();
    store.set_whole().unwrap();
    assert_eq!(store.is_whole(), Ok(true));

    // 6. Digests depend on the rows alone; those of everything see what those of the content do not.
    let digests = store.digests(DigestOf::Everything).unwrap();
    assert_eq!(digests.len(), Families::house().tables().count());
    let mut away = Statements::default();
    away.put(&MEMBERS, &ACME, ["dan".into()], [("role", "viewer".into())]);
    store.apply(&[batch(0, 200, 201, away.into_inner())]).unwrap();
    assert_ne!(store.digests(DigestOf::Everything).unwrap()["members"], digests["members"]);
    let mut back = Statements::default();
    back.delete(&MEMBERS, &ACME, [("principal", "dan".into())]);
    store.apply(&[batch(0, 201, 202, back.into_inner())]).unwrap();
    assert_eq!(store.digests(DigestOf::Everything).unwrap(), digests);

    if !durable {
        return digests;
    }
    // 5. What is committed is there after reopening. 1. And another origin is refused.
    drop(store);
    let store = open(origin()).unwrap();
    assert_eq!(store.cursor().unwrap().next, vec![202, 4]);
    assert_eq!(store.is_whole(), Ok(true));
    assert_eq!(store.digests(DigestOf::Everything).unwrap(), digests);
    drop(store);
    for (what, other) in [
        (
            "log",
            Origin {
                log_id: LogId([4; 16]),
                ..origin()
            },
        ),
        ("generation", Origin { generation: 2, ..origin() }),
        ("partition count", Origin { partitions: 4, ..origin() }),
        (
            "projector",
            Origin {
                families: rebased(),
                ..origin()
            },
        ),
    ] {
        let Err(ViewError::OtherOrigin { what: named, .. }) = open(other).map(|_| ()) else {
            panic!("{what} was not refused")
        };
        assert_eq!(named, what);
    }
    digests
}
