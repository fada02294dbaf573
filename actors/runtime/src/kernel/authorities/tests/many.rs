//! Many keys and principals: in few bytes each, and in bounded number.

use super::{Authorities, Desk, charter, created, id, key_of, who};
use quipu_kinds::{
    api_key::ApiKeyEvent,
    principal::{PrincipalEvent, PrincipalType},
};
use quipu_schemas::{
    ids::{Home, type_id},
    limits::AUTHORITY_AT_HAND_MAX,
};

fn service() -> PrincipalEvent {
    PrincipalEvent::Created {
        kind: PrincipalType::Service,
        name: "Bench".into(),
        owner: who("ada"),
    }
}

/// What rows take at most: with some 35 bytes that hold each among the others, that makes 200.
const ROW_BYTES: usize = 160;

#[test]
fn keys_take_few_bytes_and_so_does_what_was_given() {
    let mut desk = Desk::new(8, 10_000);
    desk.add("acme/org/acme", &created());
    let (keys, holder) = (3 * u128::try_from(AUTHORITY_AT_HAND_MAX).unwrap(), "svc_01kb9v5n3v0000000000000001");
    for n in 0..keys {
        let key = type_id("key", n);
        desk.add(&format!("acme/api-key/{key}"), &key_of(holder, &[]));
        assert!(desk.key(&key).is_some_and(|key| key.is_opened_by(&[7; 32], 0)));
    }
    let shelf = &desk.known.shelves[&id("acme")];
    assert_eq!(shelf.rows.len() as u128, keys);
    assert!(shelf.keys.len() <= AUTHORITY_AT_HAND_MAX, "what is at hand is bounded");
    let each = shelf.rows.bytes() / shelf.rows.len();
    assert!((100..=ROW_BYTES).contains(&each), "{each} bytes a key");
    let before = shelf.rows.bytes();
    assert!(!desk.actor("acme", holder).is_known);
    let given = desk.known.shelves[&id("acme")].rows.bytes() - before;
    assert!((20..=60).contains(&given), "{given} bytes where nothing was given");
    desk.add(&format!("acme/principal/{holder}"), &service());
    let home = Home {
        org: id("acme"),
        id: who(holder),
    };
    assert!(desk.ask(|known, read| known.principal(&home, read)).flatten().is_some());
    let principal = desk.known.principals.bytes();
    assert!((80..=ROW_BYTES).contains(&principal), "{principal} bytes a principal");
    // A packed key follows its records, without being read again.
    let (brought, first) = (desk.brought.len(), type_id("key", 0));
    let revoked = ApiKeyEvent::Revoked {
        reason: "lost".into(),
        cascade: true,
    };
    desk.add(&format!("acme/api-key/{first}"), &revoked);
    assert!(desk.key(&first).is_some_and(|key| key.has_ended(0) && key.ends_what_it_caused()));
    assert_eq!(desk.brought.len(), brought);
}

#[test]
fn principals_are_bounded_and_the_used_ones_stay() {
    let mut desk = Desk::new(8, 100);
    desk.known = Authorities::new(charter(), 8, 100).with_principals(20, 10);
    let home = |n: u64| Home {
        org: id("acme"),
        id: who(&format!("svc_{n}")),
    };
    let ask = |desk: &mut Desk, n: u64| desk.ask(|known, read| known.principal(&home(n), read)).flatten();
    for n in 0..100 {
        desk.add(&format!("acme/principal/svc_{n}"), &service());
        assert!(ask(&mut desk, n).is_some() && ask(&mut desk, 0).is_some());
        assert!(desk.known.principals_known() <= 20);
    }
    let times = |desk: &Desk, stream: &str| desk.brought.iter().filter(|of| *of == stream).count();
    assert_eq!(times(&desk, "acme/principal/svc_0"), 1, "whoever is used stays");
    // Names that nobody has push nobody out, and are remembered.
    for n in 200..300 {
        assert!(ask(&mut desk, n).is_none() && ask(&mut desk, n).is_none());
        assert_eq!(times(&desk, &format!("acme/principal/svc_{n}")), 1);
    }
    assert!(ask(&mut desk, 0).is_some() && times(&desk, "acme/principal/svc_0") == 1);
    assert!(
        ask(&mut desk, 1).is_some() && times(&desk, "acme/principal/svc_1") == 2,
        "the others are read again"
    );
    // Somebody comes to be, and is suspended.
    desk.add("acme/principal/svc_299", &service());
    assert!(ask(&mut desk, 299).is_some_and(|known| known.is_active()));
    let suspended = PrincipalEvent::Suspended { reason: "x".into() };
    desk.add("acme/principal/svc_299", &suspended);
    assert!(ask(&mut desk, 299).is_some_and(|known| !known.is_active()));
    assert_eq!(times(&desk, "acme/principal/svc_299"), 1);
}
