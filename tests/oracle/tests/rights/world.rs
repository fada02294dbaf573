//! Random orgs, as texts and numbers that both sides read for themselves.

use crate::seeded::Seeded;
use std::collections::{BTreeMap, BTreeSet};

/// Capabilities of commands and reads, beside those that every catalogue names.
pub const COMMANDS: &[&str] = &[
    "run.start",
    "run.read",
    "run.cancel",
    "conversation.post",
    "conversation.post:pinned",
    "conversation.read",
    "project.rename",
    "project.read",
    "application.read",
    "agent.configure",
];

/// Some of those that every catalogue names, with and without a bit.
pub const NAMED: &[&str] = &[
    "memory.read",
    "memory.write",
    "session.send",
    "break-glass.use",
    "federation.use",
    "personal.read",
    "messaging.send",
    "messaging.send:priority",
    "messaging.interrupt",
];

/// In the grammar, and in no catalogue.
pub const UNKNOWN: &[&str] = &["run.fly", "memory.read:all", "message.send", "nothing.read", "runs.start"];

const FAMILIES: &[&str] = &["run", "conversation", "memory", "messaging", "project", "message", "break-glass"];
const IDS: &[&str] = &["x", "y", "z"];
const KINDS: &[&str] = &["run", "conversation", "project", "application"];

/// What every org has, the lowest first: each holds the ones before it as well.
pub const BUILT_IN: &[(&str, &[&str])] = &[
    ("viewer", &["cap:run.read", "cap:conversation.read", "cap:project.read"]),
    ("member", &["cap:run.*", "cap:conversation.post", "cap:personal.read"]),
    ("admin", &["cap:agent.configure", "cap:project.*"]),
    ("owner", &["cap:application.read", "cap:federation.use"]),
];

/// Something given: what, on what, until when.
#[derive(Debug, Clone)]
pub struct Given {
    pub right: String,
    pub on: String,
    pub until: Option<u64>,
}

/// Where an entity lies: its application, its project.
pub type Places = (Option<&'static str>, Option<&'static str>);

/// One org.
#[derive(Debug)]
pub struct World {
    /// Own roles; each inherits from ones of a lower number or built-in ones.
    pub roles: Vec<(String, Vec<String>)>,
    /// What each principal was given.
    pub principals: Vec<Vec<Given>>,
    /// What each credential is cut to.
    pub credentials: Vec<Vec<Given>>,
    /// Entities, `KIND/ID`, and where they lie.
    pub entities: BTreeMap<String, Places>,
}

/// One question. Principals and credentials are named by their number; 0 is a principal that may everything.
#[derive(Debug)]
pub struct Request {
    pub principal: usize,
    pub credential: Option<usize>,
    pub actors: Vec<usize>,
    pub capability: String,
    pub entity: Option<String>,
    pub places: Places,
    pub now: u64,
}

fn pick<'a, T: ?Sized>(random: &mut Seeded, from: &[&'a T]) -> &'a T {
    from[random.below(from.len() as u64) as usize]
}

fn is_one_in(random: &mut Seeded, of: u64) -> bool {
    random.below(of) == 0
}

fn maybe(random: &mut Seeded) -> Option<&'static str> {
    (!is_one_in(random, 3)).then(|| pick(random, IDS))
}

fn capability(random: &mut Seeded) -> &'static str {
    match random.below(12) {
        0 => pick(random, UNKNOWN),
        1..=4 => pick(random, NAMED),
        _ => pick(random, COMMANDS),
    }
}

/// What can be granted; of own roles the first `below`, and one that does not exist.
fn right(random: &mut Seeded, below: usize) -> String {
    match random.below(10) {
        0..=3 => format!("cap:{}", capability(random)),
        4..=5 => format!("cap:{}.*", pick(random, FAMILIES)),
        6 => format!("role:{}", BUILT_IN[random.below(4) as usize].0),
        7 if is_one_in(random, 4) => "role:gone".to_owned(),
        _ if below == 0 => "role:viewer".to_owned(),
        _ => format!("role:r{}", random.below(below as u64)),
    }
}

fn given(random: &mut Seeded, roles: usize) -> Given {
    let on = match random.below(6) {
        0..=2 => "org".to_owned(),
        3 => format!("project/{}", pick(random, IDS)),
        4 => format!("application/{}", pick(random, IDS)),
        _ => format!("{}/{}", pick(random, KINDS), pick(random, IDS)),
    };
    let until = is_one_in(random, 2).then(|| random.below(6));
    Given {
        right: right(random, roles),
        on,
        until,
    }
}

impl World {
    pub fn draw(random: &mut Seeded) -> Self {
        // Half of the worlds have a line of roles that is as deep as it may be: r0 to r8.
        let (deep, count) = (is_one_in(random, 2), 9 + random.below(4) as usize);
        let mut roles: Vec<(String, Vec<String>)> = Vec::new();
        let mut depths: Vec<usize> = Vec::new();
        for n in 0..count {
            let mut holds: Vec<String> = (0..random.below(3)).map(|_| right(random, 0)).collect();
            let mut depth = usize::from(holds.iter().any(|right| right.starts_with("role:")));
            for _ in 0..1 + random.below(2) {
                let at = if deep && n <= 8 {
                    n.saturating_sub(1)
                } else {
                    random.below(n.max(1) as u64) as usize
                };
                if n > 0 && depths[at] < 8 {
                    holds.push(format!("role:r{at}"));
                    depth = depth.max(depths[at] + 1);
                }
            }
            if n == 0 {
                (holds, depth) = (vec![format!("cap:{}", pick(random, COMMANDS))], 0);
            }
            depths.push(depth);
            roles.push((format!("r{n}"), holds));
        }
        let principals = (0..5)
            .map(|_| (0..2 + random.below(8)).map(|_| given(random, count)).collect())
            .collect();
        // A credential's scope is a list of patterns; the evaluator takes one with targets and ends as well.
        let credentials = (0..3)
            .map(|n| {
                let all = (0..1 + random.below(8)).map(|_| given(random, count));
                let on_org = |given: Given| Given {
                    on: "org".to_owned(),
                    until: None,
                    ..given
                };
                all.map(|given| if n == 2 { given } else { on_org(given) }).collect()
            })
            .collect();
        let mut entities = BTreeMap::new();
        let applications: BTreeMap<&str, Option<&'static str>> = IDS.iter().map(|id| (*id, maybe(random))).collect();
        for kind in KINDS {
            for id in IDS {
                let application = match *kind {
                    "project" | "application" => None,
                    _ => maybe(random),
                };
                let project = match (*kind, application) {
                    ("project", _) => None,
                    ("application", _) => applications[id],
                    (_, Some(application)) => applications[application],
                    (_, None) => maybe(random),
                };
                entities.insert(format!("{kind}/{id}"), (application, project));
            }
        }
        Self {
            roles,
            principals,
            credentials,
            entities,
        }
    }

    /// Whether a catalogue has this capability.
    pub fn knows(&self, capability: &str) -> bool {
        !UNKNOWN.contains(&capability)
    }

    /// Whether something that somebody in the chain was given ends at this moment.
    pub fn ends_at(&self, request: &Request) -> bool {
        let chain = request.actors.iter().chain([&request.principal]);
        chain
            .filter(|at| **at > 0)
            .any(|at| self.principals[at - 1].iter().any(|given| given.until == Some(request.now)))
    }

    /// The most steps over which a role inherits.
    pub fn deepest(&self) -> usize {
        let mut depths: BTreeMap<&str, usize> = BUILT_IN.iter().map(|(name, _)| (*name, 0)).collect();
        for (name, holds) in &self.roles {
            let below = holds.iter().filter_map(|right| right.strip_prefix("role:"));
            let depth = below.map(|role| 1 + depths.get(role).copied().unwrap_or(0)).max().unwrap_or(0);
            depths.insert(name, depth);
        }
        depths.values().copied().max().unwrap_or(0)
    }
}

impl Request {
    pub fn draw(world: &World, random: &mut Seeded) -> Self {
        let somebody = |random: &mut Seeded| {
            if is_one_in(random, 2) {
                0
            } else {
                1 + random.below(world.principals.len() as u64) as usize
            }
        };
        let principal = if is_one_in(random, 6) { 0 } else { somebody(random) };
        let actors = match random.below(12) {
            0..=4 => 0,
            5..=6 => 1,
            7..=8 => 2 + random.below(2),
            9..=10 => 4,
            _ => 5,
        };
        let entities: BTreeSet<&String> = world.entities.keys().collect();
        let entity = (!is_one_in(random, 5)).then(|| *entities.iter().nth(random.below(entities.len() as u64) as usize).expect("some"));
        let places = match entity {
            Some(entity) => world.entities[entity],
            // What is made in a project, or in an application of it, and has no id yet.
            None => match maybe(random) {
                Some(application) => (Some(application), world.entities[&format!("application/{application}")].1),
                None => (None, maybe(random)),
            },
        };
        Self {
            principal,
            credential: is_one_in(random, 2).then(|| random.below(world.credentials.len() as u64) as usize),
            actors: (0..actors).map(|_| somebody(random)).collect(),
            capability: capability(random).to_owned(),
            entity: entity.cloned(),
            places,
            now: random.below(7),
        }
    }
}
