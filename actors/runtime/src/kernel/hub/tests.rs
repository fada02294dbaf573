//! Followers against a plain list of records: each sees what it asked for, once, in order, whatever the hub keeps or misses.

use super::*;
use proptest::prelude::*;

const PARTITIONS: usize = 3;
const ORGS: usize = 3;

fn org(n: usize) -> OrgId {
    OrgId::parse(format!("o{n}")).unwrap()
}

/// Partition, offset, org.
type Item = (usize, u64, usize);

struct Follower {
    subscription: Subscription,
    from: Vec<u64>,
    wanted: Vec<bool>,
    org: Option<usize>,
    /// Takes only records of even offsets.
    even: bool,
    seen: Vec<Item>,
    said: u64,
}

impl Follower {
    fn takes(org: Option<usize>, even: bool, item: &Item) -> bool {
        org.is_none_or(|org| org == item.2) && (!even || item.1.is_multiple_of(2))
    }
}

#[derive(Default)]
struct World {
    log: Vec<Vec<usize>>,
    hub: Option<Hub<Item>>,
    followers: Vec<Follower>,
    /// Records that followers read from the log by themselves.
    read: usize,
}

impl World {
    fn new(bytes_max: usize) -> Self {
        Self {
            log: vec![Vec::new(); PARTITIONS],
            hub: Some(Hub::new(PARTITIONS as u16, bytes_max)),
            ..Self::default()
        }
    }

    fn hub(&mut self) -> &mut Hub<Item> {
        self.hub.as_mut().unwrap()
    }

    fn ends(&self) -> Vec<u64> {
        self.log.iter().map(|log| log.len() as u64).collect()
    }

    fn offers(&self, partition: usize, first: u64) -> Vec<Offer<Item>> {
        let offer = |(offset, org_number): (u64, &usize)| Offer {
            org: org(*org_number),
            offset,
            bytes: 10,
            item: (partition, offset, *org_number),
        };
        (0..).zip(&self.log[partition]).skip(first as usize).map(offer).collect()
    }

    /// Offers a partition's records from `first` on.
    fn publish(&mut self, partition: usize, first: u64) -> Vec<Topic> {
        let (offers, end) = (self.offers(partition, first), self.log[partition].len() as u64);
        self.hub().publish(partition as u16, first, end, offers)
    }

    fn follow(&mut self, org_number: Option<usize>, even: bool, from: Vec<u64>, wanted: Vec<bool>) {
        let (topic, ends) = (org_number.map(org), self.ends());
        self.hub().subscribe(&topic, &ends);
        self.followers.push(Follower {
            subscription: Subscription::new(topic, from.clone(), wanted.clone()),
            from,
            wanted,
            org: org_number,
            even,
            seen: Vec::new(),
            said: 0,
        });
    }

    fn leave(&mut self, which: usize) {
        let gone = self.followers.remove(which);
        self.check(&gone, false);
        self.hub().unsubscribe(gone.subscription.topic());
    }

    /// One step of a follower; whether it waits now.
    fn step(&mut self, which: usize, page: u64) -> bool {
        let ends = self.ends();
        let (hub, follower) = (self.hub.as_ref().unwrap(), &mut self.followers[which]);
        let (of, even) = (follower.org, follower.even);
        match follower.subscription.step(hub, &ends, 25, |item| Follower::takes(of, even, item)) {
            Step::Read { partition, from, until } => {
                assert!(from < until);
                let (at, until) = (usize::from(partition), until.min(from + page));
                let found: Vec<Item> = (from..until)
                    .map(|offset| (at, offset, self.log[at][offset as usize]))
                    .filter(|item| Follower::takes(of, even, item))
                    .collect();
                self.read += (until - from) as usize;
                follower.subscription.has_read(partition, until, !found.is_empty());
                follower.seen.extend(found);
                false
            }
            Step::Deliver(items) => {
                follower.seen.extend(items);
                false
            }
            Step::CaughtUp => {
                follower.said += 1;
                false
            }
            Step::Wait => true,
        }
    }

    fn settle(&mut self) {
        for partition in 0..PARTITIONS {
            let next = self.hub().next(partition as u16);
            self.publish(partition, next);
        }
        for which in 0..self.followers.len() {
            while !self.step(which, 4) {}
        }
    }

    fn check(&self, follower: &Follower, whole: bool) {
        for partition in 0..PARTITIONS {
            let seen: Vec<Item> = follower.seen.iter().filter(|item| item.0 == partition).copied().collect();
            let from = follower.from[partition];
            let due: Vec<Item> = (0..)
                .zip(&self.log[partition])
                .map(|(offset, org)| (partition, offset, *org))
                .filter(|item| follower.wanted[partition] && item.1 >= from && Follower::takes(follower.org, follower.even, item))
                .collect();
            assert!(seen.len() <= due.len() && seen == due[..seen.len()], "{seen:?} {due:?}");
            assert!(!whole || seen == due, "{seen:?} {due:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Append {
        partition: usize,
        org: usize,
        offered: bool,
    },
    /// The reader of this node catches up with a partition.
    Offer {
        partition: usize,
    },
    /// Another hand offers the last record alone.
    Jump {
        partition: usize,
    },
    Blind {
        partition: usize,
    },
    Follow {
        org: Option<usize>,
        even: bool,
        from: u64,
        wanted: usize,
    },
    Leave(usize),
    Step {
        which: usize,
        page: u64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        8 => (partition.clone(), 0..ORGS, prop::bool::weighted(0.8)).prop_map(|(partition, org, offered)| Act::Append { partition, org, offered }),
        2 => partition.clone().prop_map(|partition| Act::Offer { partition }),
        1 => partition.clone().prop_map(|partition| Act::Jump { partition }),
        1 => partition.prop_map(|partition| Act::Blind { partition }),
        2 => (prop::option::weighted(0.8, 0..ORGS), any::<bool>(), 0u64..9, 1usize..8)
            .prop_map(|(org, even, from, wanted)| Act::Follow { org, even, from, wanted }),
        1 => any::<usize>().prop_map(Act::Leave),
        12 => (any::<usize>(), 1u64..5).prop_map(|(which, page)| Act::Step { which, page }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn followers_see_each_record_once_and_in_order(bytes_max in 0usize..80, acts in prop::collection::vec(act(), 1..120)) {
        let mut world = World::new(bytes_max);
        for act in acts {
            match act {
                Act::Append { partition, org, offered } => {
                    world.log[partition].push(org);
                    let first = world.log[partition].len() as u64 - 1;
                    if offered && (world.hub().next(partition as u16) == first || world.hub().is_idle()) {
                        world.publish(partition, first);
                    }
                }
                Act::Offer { partition } => {
                    let next = world.hub().next(partition as u16);
                    world.publish(partition, next);
                }
                Act::Jump { partition } => {
                    let last = (world.log[partition].len() as u64).saturating_sub(1);
                    world.publish(partition, last);
                }
                Act::Blind { partition } => {
                    world.hub().lose_sight(partition as u16);
                }
                Act::Follow { org, even, from, wanted } => {
                    let from = world.ends().iter().map(|end| from.min(*end)).collect();
                    world.follow(org, even, from, (0..PARTITIONS).map(|p| wanted & (1 << p) != 0).collect());
                }
                Act::Leave(which) if !world.followers.is_empty() => world.leave(which % world.followers.len()),
                Act::Step { which, page } if !world.followers.is_empty() => {
                    let which = which % world.followers.len();
                    world.step(which, page);
                }
                Act::Leave(_) | Act::Step { .. } => {}
            }
            let max = bytes_max;
            prop_assert!(world.hub().bytes() <= max);
        }
        world.settle();
        for follower in &world.followers {
            world.check(follower, true);
            prop_assert!(follower.said > 0, "it is told when it has caught up");
            prop_assert_eq!(follower.subscription.next(), &world.ends()[..]);
        }
        while !world.followers.is_empty() {
            world.leave(0);
        }
        prop_assert_eq!((world.hub().bytes(), world.hub().subscribers()), (0, 0));
    }
}

fn all() -> Vec<bool> {
    vec![true; PARTITIONS]
}

#[test]
fn live_followers_read_nothing_and_strangers_are_not_woken() {
    let mut world = World::new(1_000);
    world.follow(Some(0), false, vec![0; PARTITIONS], all());
    world.follow(Some(1), false, vec![0; PARTITIONS], all());
    world.settle();
    for n in 0..20u64 {
        world.log[1].push(0);
        assert_eq!(world.publish(1, n), [Some(org(0))], "the other org's followers sleep on");
        assert!(!world.step(0, 1));
    }
    world.settle();
    assert_eq!((world.read, world.followers[0].seen.len()), (0, 20));
    assert_eq!(world.followers[1].said, 1);
    assert_eq!(
        world.followers[1].subscription.next(),
        &world.ends()[..],
        "its cursor goes on all the same"
    );
}

#[test]
fn a_slow_follower_reads_the_log_and_is_live_again() {
    let mut world = World::new(50);
    world.follow(Some(0), false, vec![0; PARTITIONS], all());
    world.settle();
    for n in 0..20u64 {
        world.log[0].push(0);
        world.publish(0, n);
    }
    assert!(world.hub().bytes() <= 50);
    assert!(world.followers[0].subscription.is_live());
    world.step(0, 4);
    assert!(!world.followers[0].subscription.is_live());
    world.settle();
    assert_eq!((world.followers[0].seen.len(), world.followers[0].said), (20, 2));
    assert_eq!(
        world.read, 16,
        "it reads as far as nothing is kept, and takes the rest from the hub"
    );
    world.log[0].push(0);
    world.publish(0, 20);
    world.settle();
    assert_eq!((world.read, world.followers[0].seen.len()), (16, 21), "and then from the hub again");
}

#[test]
fn a_stopped_partition_gives_nothing_and_holds_nobody_up() {
    let mut world = World::new(1_000);
    world.follow(None, false, vec![0; PARTITIONS], all());
    world.followers[0].subscription.stop(1);
    world.log[1].push(0);
    world.log[2].push(0);
    world.publish(1, 0);
    world.publish(2, 0);
    while !world.step(0, 4) {}
    assert_eq!(world.followers[0].seen, [(2, 0, 0)]);
    assert_eq!(world.followers[0].subscription.next(), [0, 0, 1]);
    assert_eq!(world.followers[0].subscription.open().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn many_followers_of_a_topic_look_less_often() {
    assert_eq!((pause_ms(1, 20_000), pause_ms(1_000, 20_000)), (0, 50));
}
