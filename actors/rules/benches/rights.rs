//! Time of one check of rights, by what somebody was given. `cargo bench -p quipu-rules --bench rights`.
//!
//! A check compares numbers. Grants on part of the org or for a time are sorted by their targets, so that only those on a place of what
//! is asked are looked at, one by one until one holds.

use quipu_rules::rights::{Asked, Cap, Catalogue, Chain, Held, Limited, Rights};
use quipu_schemas::{
    ids::{EntityId, Kind},
    rights::{Capability, Target},
};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

const GRANTS: usize = 100;
const CHECKS: u32 = 10_000;
const ROUNDS: usize = 101;

fn id(text: String) -> EntityId {
    EntityId::parse(text).expect("an id")
}

/// As minted ids are: alike in all but their end.
fn run(n: usize) -> EntityId {
    id(format!("run_01k{n:023}"))
}

struct Known {
    catalogue: Catalogue,
    names: Vec<Capability>,
}

impl Known {
    fn new() -> Self {
        let names: Vec<Capability> = (0..GRANTS)
            .map(|n| Capability::of_command(&Kind::RUN, &format!("verb{n}")))
            .collect();
        Self {
            catalogue: Catalogue::new(names.iter().cloned()),
            names,
        }
    }

    fn cap(&self, n: usize) -> Cap {
        self.catalogue.cap(&self.names[n]).expect("known")
    }

    fn held(&self, caps: impl IntoIterator<Item = usize>) -> Arc<Held> {
        Arc::new(caps.into_iter().map(|n| self.cap(n)).collect())
    }

    /// A hundred grants, each on its own.
    fn limited(&self, on: impl Fn(usize) -> (usize, Target, Option<u64>)) -> Rights {
        let limited = (0..GRANTS).map(|n| {
            let (cap, on, until) = on(n);
            Limited {
                held: self.held([cap]),
                on,
                until,
            }
        });
        Rights::new(Arc::default(), limited.collect())
    }
}

/// The median time of one check; what other processes take between two rounds does not count.
fn check(is_permitted: bool, chain: Chain<'_>, asked: &Asked<'_>) -> Duration {
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..CHECKS {
                let said = black_box(&chain).permits(black_box(asked));
                assert_eq!(said.is_ok(), is_permitted);
            }
            begun.elapsed() / CHECKS
        })
        .collect();
    took.sort();
    took[ROUNDS / 2]
}

fn main() {
    let known = Known::new();
    let (kind, last, other) = (Kind::RUN, run(GRANTS - 1), run(GRANTS));
    let on = |entity| Asked {
        cap: known.cap(0),
        entity: Some((&kind, entity)),
        application: None,
        project: None,
        now: 1_000,
    };
    let lasting = Rights::new(known.held(0..GRANTS), Vec::new());
    let timed = known.limited(|n| (GRANTS - 1 - n, Target::Org, Some(2_000)));
    let entities = known.limited(|n| (0, Target::Entity(Kind::RUN, run(n)), Some(2_000)));
    let alone = |principal| Chain {
        principal,
        scope: None,
        actors: &[],
    };
    let whole = Chain {
        principal: &entities,
        scope: Some(&lasting),
        actors: &[&entities; 4],
    };
    for (what, is_permitted, chain, entity) in [
        ("100 grants for good on the org", true, alone(&lasting), &last),
        ("100 grants on the org for a time, the last holds", true, alone(&timed), &last),
        ("100 grants on entities, the last holds", true, alone(&entities), &last),
        ("100 grants on entities, none holds", false, alone(&entities), &other),
        ("six in a chain with 100 grants each, the last holds", true, whole, &last),
    ] {
        println!("{what}: {:?}", check(is_permitted, chain, &on(entity)));
    }
}
