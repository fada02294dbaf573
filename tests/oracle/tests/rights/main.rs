//! The evaluator of rights beside Cedar: random orgs, roles, grants, credentials and chains, a hundred thousand requests, one answer.
//! And the translation with one defect at a time, of which each must be seen.

mod cedar;
mod ours;
#[path = "../../../src/seeded.rs"]
mod seeded;
mod world;

use cedar::{Cedar, Defect, Said};
use ours::Ours;
use quipu_rules::rights::Lacking;
use seeded::Seeded;
use std::collections::BTreeMap;
use world::{Request, World};

const WORLDS: u64 = 250;
const REQUESTS: u64 = 400;

/// Two answers to one request.
struct Both {
    ours: Result<(), Lacking>,
    cedar: Said,
}

impl Both {
    /// Cedar names each policy that forbids. It tells nothing of a principal who lacks a right where somebody else lacks it too, so
    /// only what it tells is compared.
    fn agree(&self, request: &Request) -> bool {
        let scope_lacks = self.cedar.forbidden_by("scope");
        let lacks = |at: usize| self.cedar.forbidden_by(&format!("actor/{}", request.actors[at]));
        match self.ours {
            Ok(()) => self.cedar.allowed,
            Err(Lacking::Principal) => !self.cedar.allowed,
            Err(Lacking::Scope) => !self.cedar.allowed && scope_lacks,
            Err(Lacking::Actor(4)) => !self.cedar.allowed && !scope_lacks && self.cedar.forbidden_by("too-long"),
            Err(Lacking::Actor(at)) => !self.cedar.allowed && !scope_lacks && lacks(at) && !(0..at).any(lacks),
        }
    }
}

/// Asks both; what is found in a request, by name.
fn ask(seed: u64, defect: Option<Defect>, mut each: impl FnMut(&World, &Request, Both) -> bool) {
    let mut random = Seeded(seed);
    let world = World::draw(&mut random);
    let (ours, cedar) = (Ours::of(&world), Cedar::of(&world, defect));
    for _ in 0..REQUESTS {
        let request = Request::draw(&world, &mut random);
        let both = Both {
            ours: ours.decides(&request),
            cedar: cedar.decides(&request),
        };
        if !each(&world, &request, both) {
            return;
        }
    }
}

/// How often each situation came up in some of the worlds, of which all must agree.
fn agreed(seeds: impl Iterator<Item = u64>) -> BTreeMap<&'static str, u64> {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut count = |what, is: bool| *seen.entry(what).or_default() += u64::from(is);
    for seed in seeds {
        ask(seed, None, |world, request, both| {
            let said = (&both.ours, both.cedar.allowed, &both.cedar.forbidden);
            assert!(both.agree(request), "seed {seed}: {said:?}\n{request:#?}\n{world:#?}");
            count("all", true);
            count("allowed", both.ours.is_ok());
            count("the principal lacks it", both.ours == Err(Lacking::Principal));
            count("the credential lacks it", both.ours == Err(Lacking::Scope));
            count("an actor lacks it", matches!(both.ours, Err(Lacking::Actor(0..4))));
            count("the chain is too long", both.ours == Err(Lacking::Actor(4)));
            count("allowed over four actors", both.ours.is_ok() && request.actors.len() == 4);
            count(
                "allowed by a credential with a scope",
                both.ours.is_ok() && request.credential.is_some(),
            );
            count("unknown", !world.knows(&request.capability));
            count(
                "allowed with a sub-capability",
                both.ours.is_ok() && request.capability.contains(':'),
            );
            count("a grant ends at this moment", world.ends_at(request));
            count("roles eight deep", world.deepest() == 8);
            true
        });
    }
    seen
}

#[test]
fn a_hundred_thousand_random_cases_agree_with_cedar() {
    let mut seen = agreed_in_halves();
    println!("{seen:#?}");
    assert_eq!(seen.remove("all"), Some(100_000));
    for (what, times) in seen {
        assert!(times >= 1_000, "{what}: {times} times are too few to show anything");
    }
}

/// A half of the worlds on each of two threads.
fn agreed_in_halves() -> BTreeMap<&'static str, u64> {
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| scope.spawn(move || agreed((first..WORLDS).step_by(2))));
        let mut all = BTreeMap::new();
        for half in halves {
            for (what, times) in half.join().expect("both sides agree") {
                *all.entry(what).or_default() += times;
            }
        }
        all
    })
}

#[test]
fn each_planted_defect_is_seen() {
    for defect in Defect::ALL {
        let is_seen = (0..WORLDS).any(|seed| {
            let mut differs = false;
            ask(seed, Some(defect), |_, request, both| {
                differs = !both.agree(request);
                !differs
            });
            differs
        });
        assert!(is_seen, "{defect:?} was not seen");
    }
}
