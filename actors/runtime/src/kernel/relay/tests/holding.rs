//! What a stopped principal caused.

use super::*;
use crate::kernel::stops::{Ending, Stop};

const EVE: PrincipalId = PrincipalId::from_static("eve");

fn gone() -> Stop {
    Stop::Ends(Ending {
        code: "credential_ended",
        detail: "it was revoked".into(),
    })
}

impl Stage {
    /// A record of eve's in the log.
    fn of_eve(&mut self, stream: &str, reaction: Reaction) -> ReactionKey {
        let key = self.append(stream, reaction);
        let last = self.log.last_mut().expect("a record");
        last.header.principal = EVE;
        key
    }

    /// The relay looks again at what waits.
    fn look(&mut self) {
        self.now = self.relay.next_due().expect("it looks again").max(self.now + 1);
        self.settle();
    }
}

#[test]
fn what_a_stopped_principal_caused_waits_and_goes_on_in_order() {
    let mut stage = Stage::new(100);
    stage.stops.insert(EVE, Stop::Waits);
    let sent: Vec<_> = (0..5).map(|_| stage.of_eve("acme/run/a", dispatch("acme/run/to"))).collect();
    let call = stage.of_eve("acme/run/a", effect("GET", "http://x.test/"));
    let once = stage.of_eve("acme/run/a", effect("POST", "http://x.test/"));
    let other = stage.append("acme/run/b", dispatch("acme/run/to"));
    stage.settle();
    stage.look();
    assert_eq!((&stage.sent[..], &stage.performing[..]), (&[other.clone()][..], &[][..]));
    stage.stops.clear();
    stage.look();
    assert_eq!(stage.sent[1..], sent);
    assert_eq!(stage.performing, [call, once]);
}

#[test]
fn a_stopped_principal_takes_no_room_from_their_org() {
    let mut stage = Stage::new(4);
    stage.stops.insert(EVE, Stop::Waits);
    for n in 0..20 {
        stage.of_eve(&format!("acme/run/e{n}"), dispatch("acme/run/to"));
    }
    let others: Vec<_> = (0..20).map(|_| stage.append("acme/run/b", dispatch("acme/run/to"))).collect();
    stage.settle();
    assert_eq!(stage.sent, others);
    stage.stops.clear();
    stage.look();
    stage.settle();
    assert_eq!(stage.sent.len(), 40);
    assert!(stage.relay.is_idle());
}

#[test]
fn an_effect_that_never_goes_says_why_and_was_not_sent() {
    let mut stage = Stage::new(8);
    stage.stops.insert(EVE, gone());
    stage.of_eve("acme/run/a", effect("GET", "http://x.test/"));
    stage.of_eve("acme/run/a", effect("POST", "http://x.test/"));
    let refused = stage.of_eve("acme/run/a", dispatch("acme/run/to"));
    stage.settle();
    assert!(stage.performing.is_empty(), "{:?}", stage.performing);
    let codes = stage.outcomes.iter().map(|outcome| match outcome {
        Outcome::Failed { code, .. } => code.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(codes.collect::<Vec<_>>(), ["credential_ended"; 2]);
    assert_eq!(stage.sent, [refused], "its receiver refuses it, and tells its sender");
    assert!(stage.relay.is_idle());
}

#[test]
fn suspended_org_takes_back_what_waits_for_a_principal() {
    let mut stage = Stage::new(8);
    stage.stops.insert(EVE, Stop::Waits);
    for n in 0..6 {
        stage.of_eve(&format!("acme/run/e{n}"), dispatch("acme/run/to"));
    }
    stage.settle();
    assert_eq!(stage.relay.depth(), 6);
    stage.suspended.insert(OrgId::from_static("acme"));
    stage.look();
    assert_eq!(stage.relay.depth(), 0);
    stage.suspended.clear();
    stage.stops.clear();
    stage.look();
    assert_eq!(stage.sent.len(), 6);
}
