use super::*;
use quipu_schemas::{
    envelope::{DataClass, Durability},
    ids::{CommandId, PrincipalId},
    position::Position,
};

/// Set timers, as an index holds them, and a node that fires them.
struct Scene {
    timers: Timers,
    set: Vec<Wake>,
    now: Now,
}

fn wake(id: u64, due: Millis) -> Wake {
    Wake {
        key: ReactionKey {
            stream: format!("acme/run/r-{id}").parse().unwrap(),
            version: 1,
            ordinal: 0,
        },
        name: "t".into(),
        due,
        position: Position {
            partition: 0,
            offset: id,
            index: 0,
        },
    }
}

fn cause() -> Cause {
    Cause {
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        home: None,
        credential: None,
        correlation: None,
        traceparent: None,
        environment: None,
        data_class: DataClass::default(),
        time: 0,
    }
}

fn problem(code: &str) -> Result<Receipt, Problem> {
    Err(Problem::new(503, code, "refused"))
}

impl Scene {
    fn new(set: Vec<Wake>) -> Self {
        Self {
            timers: Timers::default(),
            set,
            now: Now { time: 1_000, elapsed: 1 },
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.time += ms;
        self.now.elapsed += ms;
    }

    /// One round of looks: what is to be fired.
    fn round(&mut self) -> Vec<Wake> {
        let mut fired = Vec::new();
        for look in self.timers.looks(&BTreeSet::from([0]), self.now) {
            let behind = |wake: &&Wake| look.after.is_none_or(|after| wake.place() > after);
            let due = self.set.iter().filter(|wake| wake.due <= look.before).filter(behind);
            let found = Found {
                due: due.take(look.limit).cloned().collect(),
                next: self.set.iter().map(|wake| wake.due).filter(|due| *due > look.before).min(),
            };
            fired.extend(self.timers.found(&look, Some(found), self.now));
        }
        fired
    }

    /// Rounds until the machine would wait.
    fn rounds(&mut self) -> Vec<Wake> {
        let mut fired = self.round();
        while self.timers.wait_ms(self.now) == 0 {
            fired.extend(self.round());
        }
        fired
    }

    fn stored(&mut self, key: &ReactionKey) {
        self.set.retain(|wake| wake.key != *key);
        let receipt = Receipt {
            command_id: CommandId::from_static("c"),
            stream: key.stream.clone(),
            version: 2,
            position: Position {
                partition: 0,
                offset: 9,
                index: 0,
            },
            durability: Durability::Memory,
            unchanged: false,
            duplicate: false,
            settled: None,
            shown: None,
            behind: None,
        };
        assert_eq!(self.timers.answered(key, &Ok(receipt), self.now), None);
    }
}

#[test]
fn a_timer_whose_record_was_not_read_once_fires() {
    let mut scene = Scene::new(vec![wake(1, 900)]);
    let first = scene.rounds();
    assert_eq!(first.len(), 1);
    assert_eq!(scene.rounds(), [], "it is being fired");
    scene.timers.unread(&first[0].key, scene.now);
    assert_eq!(scene.rounds(), [], "not at once");
    let wait = scene.timers.wait_ms(scene.now);
    assert!((1..=250).contains(&wait), "{wait}");
    scene.pass(wait);
    assert_eq!(scene.rounds(), first);
    scene.stored(&first[0].key);
    assert_eq!((scene.timers.firing(), scene.timers.paused()), (0, 0));
}

#[test]
fn three_hundred_stuck_timers_do_not_starve_another() {
    let mut scene = Scene::new((0..300).map(|id| wake(id, 500)).chain([wake(1_000, 900)]).collect());
    let (mut others, mut good) = (0, false);
    for _ in 0..10 {
        for wake in scene.rounds() {
            if wake.due == 900 {
                good = true;
                scene.stored(&wake.key);
            } else {
                others += 1;
                let poisoned = scene.timers.answered(&wake.key, &problem("stream_parked"), scene.now);
                assert_eq!(poisoned, None);
            }
        }
        scene.pass(scene.timers.wait_ms(scene.now).max(1));
    }
    assert!(good, "the good one waits behind {others} stuck ones");
    assert_eq!(others, 300, "a parked stream's timer is not tried again and again");
}

#[test]
fn timers_of_a_parked_stream_fire_when_it_is_unparked() {
    let mut scene = Scene::new(vec![wake(1, 900)]);
    let fired = scene.rounds();
    scene.timers.answered(&fired[0].key, &problem("stream_parked"), scene.now);
    scene.pass(30_000);
    assert_eq!(scene.rounds(), []);
    scene.timers.unparked(&fired[0].key.stream);
    assert_eq!(scene.rounds(), fired);
}

#[test]
fn crashes_are_counted_until_the_stream_is_taken_out() {
    let mut scene = Scene::new(vec![wake(1, 900)]);
    for crash in 1..=POISON_CRASHES {
        scene.pass(30_000);
        let fired = scene.rounds();
        assert_eq!(fired.len(), 1, "crash {crash}");
        let poisoned = scene.timers.answered(&fired[0].key, &problem("command_crashed"), scene.now);
        assert_eq!(poisoned.is_some(), crash == POISON_CRASHES, "crash {crash}");
    }
    scene.pass(30_000);
    assert_eq!(scene.rounds(), [], "it waits until its stream is unparked");
}

#[test]
fn no_more_fire_at_once_than_there_is_room_for() {
    let mut scene = Scene::new((0..600).map(|id| wake(id, 500)).collect());
    let mut seen = 0;
    while !scene.set.is_empty() {
        let fired = scene.rounds();
        assert!(scene.timers.firing() <= TIMERS_FIRING_MAX);
        assert!(!fired.is_empty(), "{} left", scene.set.len());
        seen += fired.len();
        for wake in fired {
            scene.stored(&wake.key);
        }
    }
    assert_eq!(seen, 600);
}

#[test]
fn a_stuck_timer_does_not_hide_when_the_next_is_due() {
    let mut scene = Scene::new(vec![wake(1, 500), wake(2, 1_100)]);
    let fired = scene.rounds();
    assert_eq!(fired.len(), 1);
    assert_eq!(scene.timers.wait_ms(scene.now), 100, "the first is still being fired");
    scene.timers.answered(&fired[0].key, &problem("stream_parked"), scene.now);
    assert_eq!(scene.timers.wait_ms(scene.now), 100);
    scene.pass(100);
    assert_eq!(scene.rounds(), [wake(2, 1_100)]);
}

#[test]
fn an_unripe_timer_fires_once_it_is_ripe() {
    let mut scene = Scene::new(vec![wake(1, 900)]);
    let fired = scene.rounds();
    assert_eq!(scene.timers.fire(&fired[0], &cause(), 1_400, scene.now), None);
    assert_eq!(scene.rounds(), []);
    assert_eq!(scene.timers.wait_ms(scene.now), 400);
    scene.pass(400);
    let fired = scene.rounds();
    assert!(scene.timers.fire(&fired[0], &cause(), 1_400, scene.now).is_some());
}

#[test]
fn an_index_that_does_not_answer_is_asked_again() {
    let mut scene = Scene::new(vec![wake(1, 900)]);
    for look in scene.timers.looks(&BTreeSet::from([0]), scene.now) {
        assert_eq!(scene.timers.found(&look, None, scene.now), []);
    }
    let wait = scene.timers.wait_ms(scene.now);
    assert!((1..=250).contains(&wait), "{wait}");
    assert_eq!(scene.rounds().len(), 1);
}

#[test]
fn pauses_are_bounded() {
    let mut scene = Scene::new(Vec::new());
    for id in 0..TIMERS_PAUSED_MAX as u64 + 10 {
        scene.timers.unread(&wake(id, 1).key, scene.now);
    }
    assert_eq!(scene.timers.paused(), TIMERS_PAUSED_MAX);
}
