//! Random commands, clocks and timers against a model that adds everything up anew each time.

use super::*;
use std::collections::BTreeMap;

/// A small generator: the same seed, the same run.
struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[derive(Clone)]
struct Made {
    until: Millis,
    levels: Vec<Level>,
    amount: u64,
    is_over: bool,
}

/// What was used, and when.
type Spent = Vec<(Millis, u64)>;

#[derive(Default)]
struct Model {
    limits: BTreeMap<(Level, Window), (u64, Spent)>,
    made: BTreeMap<String, Made>,
}

impl Model {
    fn held(&self, at: &Level, now: Millis) -> u64 {
        let open = self.made.values().filter(|made| !made.is_over && made.until > now);
        open.filter(|made| made.levels.contains(at)).map(|made| made.amount).sum()
    }
    fn used(window: Window, booked: &[(Millis, u64)], now: Millis) -> u64 {
        let since = window.around(now).map_or(0, |(since, _)| since);
        booked.iter().filter(|(at, _)| *at >= since).map(|(_, amount)| amount).sum()
    }
    /// Whether every limit there has room for so much more.
    fn has_room(&self, levels: &[Level], amount: u64, now: Millis) -> bool {
        let at = self.limits.iter().filter(|((at, _), _)| levels.contains(at));
        at.into_iter()
            .all(|((at, window), (limit, booked))| Self::used(*window, booked, now) + self.held(at, now) + amount <= *limit)
    }
}

struct Run {
    scene: Scene<Quota>,
    model: Model,
    timers: BTreeMap<String, Millis>,
    random: Random,
    keys: u64,
    refused: u64,
    taken: u64,
}

impl Run {
    fn send(&mut self, command: impl Into<AskedOf<Quota>>) -> Result<Vec<QuotaEvent>, u16> {
        let events = self.scene.send(&admin(), command).map_err(|problem| problem.status)?;
        for (name, due) in wakes(&self.scene) {
            self.timers.insert(name, due);
        }
        Ok(events)
    }

    fn fire(&mut self) {
        let now = self.scene.now;
        let due: Vec<_> = self
            .timers
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.timers.remove(&name);
            let window = Window::TURNING.into_iter().find(|window| window.name() == name);
            let word = match window {
                Some(window) => QuotaWord::Turn(Turn { window }),
                None => QuotaWord::Lapse(Lapse {}),
            };
            self.send(word).unwrap();
        }
    }

    fn reserve(&mut self) {
        self.keys += 1;
        let (key, amount, ttl) = (
            format!("r{}", self.keys),
            1 + self.random.below(9),
            1 + self.random.below(40) as u32,
        );
        let named = [&["agent/a"][..], &["agent/b", "project/p"], &[]][self.random.below(3) as usize];
        let mut levels: Vec<Level> = named.iter().map(|text| level(text)).collect();
        levels.extend([Level::Org, level("agent/ada")]);
        let has_room = self.model.has_room(&levels, amount, self.scene.now);
        let answer = self.send(reserve(&key, ttl, vec![hold(named, TOKENS, amount)]));
        assert_eq!(answer.as_ref().err(), (!has_room).then_some(&402), "{key}: {answer:?}");
        if has_room {
            self.taken += 1;
            let until = self.scene.now + u64::from(ttl) * 1_000;
            let made = Made {
                until,
                levels,
                amount,
                is_over: false,
            };
            self.model.made.insert(key, made);
        } else {
            self.refused += 1;
        }
    }

    fn end(&mut self) {
        let key = format!("r{}", 1 + self.random.below(self.keys.max(1)));
        let Some(made) = self.model.made.get(&key).cloned() else { return };
        let is_late = made.until <= self.scene.now;
        if self.random.below(3) == 0 {
            let answer = self.send(release(&key));
            assert!(answer.is_ok() || made.is_over, "{key}: {answer:?}");
            if !is_late && !made.is_over {
                self.model.made.get_mut(&key).unwrap().is_over = true;
            }
            // One that has lapsed and was not noted yet may be released, too: then nothing is booked any more.
            if is_late && answer.is_ok_and(|events| !events.is_empty()) {
                self.model.made.get_mut(&key).unwrap().is_over = true;
            }
            return;
        }
        let used = self.random.below(made.amount + 2);
        let answer = self.send(settle(&key, &[(TOKENS, used)]));
        if answer.as_ref().is_ok_and(|events| !events.is_empty()) {
            assert!(!made.is_over);
            self.model.made.get_mut(&key).unwrap().is_over = true;
            let now = self.scene.now;
            for ((at, _), (_, booked)) in &mut self.model.limits {
                if made.levels.contains(at) {
                    booked.push((now, used));
                }
            }
        } else {
            assert!(made.is_over, "{key}: {answer:?}");
        }
    }

    fn limit(&mut self) {
        let at = ["org", "agent/a", "agent/b", "project/p"][self.random.below(4) as usize];
        let window = [Window::Total, Window::Hour, Window::Day][self.random.below(3) as usize];
        let limit = 20 + self.random.below(200);
        self.send(set(at, TOKENS, window, limit)).unwrap();
        self.model.limits.entry((level(at), window)).or_default().0 = limit;
    }
}

#[test]
fn random_commands_agree_with_the_model() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 1..=60 {
        let scene = scene();
        let mut run = Run {
            scene,
            model: Model::default(),
            timers: BTreeMap::new(),
            random: Random(seed * 0x9e37_79b9),
            keys: 0,
            refused: 0,
            taken: 0,
        };
        for _ in 0..150 {
            match run.random.below(20) {
                0 => run.limit(),
                1..=10 => run.reserve(),
                11..=15 => run.end(),
                16 => run.fire(),
                17 => run.scene.now += run.random.below(900_000),
                _ => run.scene.now += run.random.below(5_000),
            }
        }
        // In the end the timers alone free everything.
        run.scene.now += 3_600_000;
        while run.timers.values().any(|due| *due <= run.scene.now) {
            run.fire();
        }
        assert!(run.scene.state.open.is_empty(), "seed {seed}: something stays reserved");
        let accounts = run.scene.state.accounts.values().flat_map(|units| units.values());
        assert!(accounts.into_iter().all(|account| account.held == 0), "seed {seed}");
        refused += run.refused;
        taken += run.taken;
    }
    assert!(refused > 300 && taken > 1_000, "{refused} refused, {taken} taken");
}
