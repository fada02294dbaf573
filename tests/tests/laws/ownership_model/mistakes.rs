//! Planted mistakes, by which the model proves that it sees.

use super::{
    Checked, DENIED, IN_LEASE, NOT_LOST, ONCE, SERVES, WHOLE, world,
    world::{Broker, Leases, Plant, Seen, World},
};
use stateright::{Checker, HasDiscoveries, Model};
use std::sync::Arc;

#[test]
fn every_planted_mistake_is_found() {
    use {Broker::*, Leases::*, Plant::*};
    let with_fault = |broker| World {
        faults: 1,
        ..world(broker, Broken)
    };
    let quiet = World {
        sends: 0,
        ..world(Producers, Kept)
    };
    for (plant, world, found) in [
        (AdmitBeforeClaim, world(CompareAndSet, Broken), WHOLE),
        (AdmitBeforeClaim, world(Producers, Broken), WHOLE),
        (SkipRestore, world(CompareAndSet, Broken), ONCE),
        (SkipRestore, world(Producers, Broken), ONCE),
        (StoreAnyEpoch, world(CompareAndSet, Broken), NOT_LOST),
        (StoreAnyEpoch, world(Producers, Broken), NOT_LOST),
        (NotIdempotent, with_fault(Producers), WHOLE),
        (AcknowledgeBeforeOutcome, world(CompareAndSet, Broken), NOT_LOST),
        (AcknowledgeBeforeOutcome, world(Producers, Broken), NOT_LOST),
        (RetryUnknown, with_fault(CompareAndSet), ONCE),
        (RetryUnknown, with_fault(Producers), ONCE),
        (ReadBackWithoutClaim, with_fault(CompareAndSet), DENIED),
        (ReadBackWithoutClaim, with_fault(Producers), DENIED),
        (RefuseWithoutLease, quiet.clone(), IN_LEASE),
        (NoMargin, World { lags: 1, ..quiet.clone() }, IN_LEASE),
        (
            AwaitClaimForEver,
            World {
                faults: 1,
                claims: 1,
                ..quiet
            },
            SERVES,
        ),
    ] {
        let (seen, recovery, broker) = (Arc::new(Seen::default()), found == SERVES, world.broker);
        let checked = Checked {
            world: World { plant, ..world },
            seen,
            recovery,
        };
        let wanted = HasDiscoveries::AnyOf([found].into());
        let checker = checked
            .checker()
            .finish_when(wanted)
            .target_state_count(2_000_000)
            .spawn_bfs()
            .join();
        let discoveries = checker.discoveries();
        let steps: Vec<_> = discoveries
            .iter()
            .map(|(name, path)| format!("{name}, in {} steps", path.clone().into_actions().len()))
            .collect();
        println!("{plant:?} on {broker:?}: {} states; {steps:?}", checker.unique_state_count());
        assert!(
            discoveries.contains_key(found),
            "{plant:?} on {broker:?}: {found:?} still holds; found {steps:?}"
        );
    }
}
