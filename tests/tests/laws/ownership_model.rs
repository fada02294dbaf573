//! The ownership protocol, checked over every state of bounded worlds: see `ops/docs/adr/0009-ownership-protocol.md`.
//!
//! `QUIPU_MODEL_DEEP=1` widens the bounds (minutes, gigabytes; meant for `--release`).

mod broker;
mod canonical;
mod mistakes;
mod motion;
mod shell;
mod world;

use motion::Motion;
use stateright::{Checker, Model, Property};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use world::{Broker, Leases, Plant, Seen, State, Step, World};

const WHOLE: &str = "no two records at one offset, no hole, no record without its claim";
const NOT_LOST: &str = "no acknowledged command is lost";
const ONCE: &str = "a command is decided once";
const DENIED: &str = "what was called not stored is not stored";
const NOT_STALE: &str = "nothing of a stale owner is stored after the next claim";
const IN_LEASE: &str = "no refusal outside the lease";
const REFUSAL: &str = "no refusal is stale";
const ONE_REFUSES: &str = "one node at a time may refuse";
const SERVES: &str = "without further faults some node serves, and every command gets its receipt";
const TAKEN_OVER: &str = "records of two owners stand in one log";

/// A world under check.
#[derive(Clone)]
struct Checked {
    world: World,
    seen: Arc<Seen>,
    /// Whether each state is also followed to its recovery.
    recovery: bool,
}

impl Checked {
    fn motion(&self) -> Motion<'_> {
        Motion {
            world: &self.world,
            seen: &self.seen,
        }
    }
}

impl Model for Checked {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.motion().start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        self.motion().choices(state, actions);
    }

    fn next_state(&self, last: &State, action: Step) -> Option<State> {
        self.motion().after(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(WHOLE, |_: &Self, s: &State| s.readable().is_ok()),
            Property::always(NOT_LOST, |_, s: &State| {
                let Ok((_, taken)) = s.readable() else { return true };
                s.receipts.iter().enumerate().all(|(command, receipt)| {
                    receipt.is_none_or(|offset| taken.iter().any(|r| r.command == Some(command as u8) && r.offset == offset))
                })
            }),
            Property::always(ONCE, |_, s: &State| {
                let Ok((_, taken)) = s.readable() else { return true };
                let mut commands: Vec<_> = taken.iter().filter_map(|r| r.command).collect();
                commands.sort_unstable();
                !s.two_receipts && commands.windows(2).all(|two| two[0] != two[1])
            }),
            Property::always(DENIED, |_, s: &State| {
                !s.log.iter().any(|f| f.command.is_some_and(|c| s.denied.contains(&(f.epoch, c))))
            }),
            Property::always(NOT_STALE, |_, s: &State| {
                s.readable().is_ok_and(|(reader, _)| reader.passed_over() == 0)
            }),
        ];
        if self.world.leases == Leases::Kept {
            all.extend([
                Property::always(IN_LEASE, |_: &Self, s: &State| !s.refused_outside_lease),
                Property::always(REFUSAL, |_, s: &State| !s.refused_stale),
                Property::always(ONE_REFUSES, |_, s: &State| {
                    (0..s.nodes.len()).filter(|&n| s.nodes[n].machine.may_refuse(s.clock(n))).count() <= 1
                }),
            ]);
        }
        if self.recovery {
            all.push(Property::always(SERVES, |m: &Self, s: &State| {
                Motion {
                    world: &m.world,
                    seen: &Seen::default(),
                }
                .recovers(s)
            }));
        }
        if self.world.sends > 1 && self.world.plant == Plant::Nothing {
            all.push(Property::sometimes(TAKEN_OVER, |_, s: &State| {
                s.receipts.iter().all(Option::is_some) && s.log.iter().filter(|f| f.command.is_some()).map(|f| f.epoch).max() > Some(1)
            }));
        }
        all
    }
}

fn deep() -> bool {
    std::env::var_os("QUIPU_MODEL_DEEP").is_some()
}

/// The smallest world of interest.
fn world(broker: Broker, leases: Leases) -> World {
    World {
        broker,
        leases,
        plant: Plant::Nothing,
        nodes: 2,
        commands: 1,
        lags: 0,
        claims: 2,
        sends: 2,
        faults: 0,
        handoffs: 0,
    }
}

/// Visits every state; counts what happened on the way there.
fn check(name: &str, world: World, recovery: bool, counts: &mut BTreeMap<&'static str, u64>) {
    let (seen, began, threads) = (Arc::new(Seen::default()), Instant::now(), if deep() { 2 } else { 1 });
    let bounds = format!("{world:?}");
    let checker = Checked {
        world,
        seen: seen.clone(),
        recovery,
    }
    .checker()
    .threads(threads)
    .spawn_bfs()
    .join();
    println!(
        "{name}: {} states, {} transitions, depth {}, {:.1} s; {bounds}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f32()
    );
    for (what, count) in seen.take() {
        *counts.entry(what).or_default() += count;
    }
    checker.assert_properties();
}

fn assert_struck(counts: &BTreeMap<&'static str, u64>, expected: &[&str]) {
    println!("{counts:?}");
    for what in expected {
        assert!(counts.contains_key(what), "never happened: {what}");
    }
}

#[test]
fn epochs_alone_keep_the_log() {
    let mut counts = BTreeMap::new();
    for broker in [Broker::CompareAndSet, Broker::Producers] {
        let small = world(broker, Leases::Broken);
        check(
            "fault and handoff",
            World {
                faults: 1,
                handoffs: 1,
                ..small.clone()
            },
            false,
            &mut counts,
        );
        check(
            "two commands",
            World {
                commands: 2,
                ..small.clone()
            },
            false,
            &mut counts,
        );
        check(
            "three claims",
            World {
                claims: 3,
                ..small.clone()
            },
            false,
            &mut counts,
        );
        if deep() {
            let faulty = World {
                faults: 2,
                claims: 3,
                ..small.clone()
            };
            check(
                "two faults, three claims, handoff",
                World { handoffs: 1, ..faulty },
                false,
                &mut counts,
            );
            check(
                "three nodes",
                World {
                    nodes: 3,
                    claims: 3,
                    ..small
                },
                false,
                &mut counts,
            );
        }
    }
    let faults = [
        "append of unknown outcome",
        "claim of unknown outcome",
        "crash",
        "request repeated",
        "handoff",
        "shutdown",
    ];
    let refused = [
        "claim refused",
        "stale append refused",
        "late frame refused",
        "wrong last sequence",
        "in flight abandoned",
    ];
    let kept = ["late frame stored", "repeat got its receipt", "takeover"];
    let settled = ["unknown append settled: absent", "unknown append settled: stored"];
    assert_struck(&counts, &[&faults[..], &refused, &kept, &settled].concat());
}

#[test]
fn refusals_keep_to_the_lease() {
    let mut counts = BTreeMap::new();
    let takeover = World {
        sends: 1,
        ..world(Broker::Producers, Leases::Kept)
    };
    check("takeover", takeover.clone(), false, &mut counts);
    // Which log it is matters to no refusal when nothing is appended.
    let quiet = World {
        sends: 0,
        ..takeover.clone()
    };
    check(
        "a clock falls behind, no command",
        World { lags: 1, ..quiet.clone() },
        false,
        &mut counts,
    );
    check(
        "handoff, no command",
        World {
            handoffs: 1,
            ..quiet.clone()
        },
        false,
        &mut counts,
    );
    if deep() {
        check(
            "takeover",
            World {
                broker: Broker::CompareAndSet,
                ..takeover.clone()
            },
            false,
            &mut counts,
        );
        check(
            "a clock falls behind",
            World {
                lags: 1,
                ..takeover.clone()
            },
            false,
            &mut counts,
        );
        check("handoff", World { handoffs: 1, ..takeover }, false, &mut counts);
        check("fault, no command", World { faults: 1, ..quiet }, false, &mut counts);
    }
    assert_struck(
        &counts,
        &[
            "handoff",
            "shutdown",
            "in flight abandoned",
            "refusal",
            "stale append refused",
            "takeover",
        ],
    );
}

#[test]
fn some_node_serves_in_the_end() {
    let mut counts = BTreeMap::new();
    let quiet = World {
        sends: 0,
        claims: 1,
        ..world(Broker::Producers, Leases::Kept)
    };
    check(
        "no fault before",
        World {
            claims: 2,
            broker: Broker::CompareAndSet,
            ..quiet.clone()
        },
        true,
        &mut counts,
    );
    check(
        "after a fault",
        World {
            faults: 1,
            ..quiet.clone()
        },
        true,
        &mut counts,
    );
    if deep() {
        check(
            "after a fault",
            World {
                faults: 1,
                broker: Broker::CompareAndSet,
                ..quiet.clone()
            },
            true,
            &mut counts,
        );
        check(
            "after a command",
            World {
                sends: 1,
                claims: 2,
                ..quiet
            },
            true,
            &mut counts,
        );
    }
    assert_struck(
        &counts,
        &[
            "claim of unknown outcome",
            "crash",
            "lease answer lost or late",
            "request repeated",
            "takeover",
        ],
    );
}
