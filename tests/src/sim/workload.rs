//! Commands of every built-in kind, valid and not, from a seed.

mod agent;
mod chains;
mod conversation;
mod entity;
mod org;
mod plain;
mod principals;
mod quota;
mod rights;
mod run;
mod vault;

use super::Rng;
use quipu_runtime::api::CommandRequest;
use quipu_schemas::{
    envelope::{CommandBody, CommandEnvelope, DataClass},
    ids::{CommandId, EntityId, Home, Kind, OrgId, PrincipalId, StreamId},
};
use serde_json::{Value, json};

/// What the clients know of the world.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    created: Vec<(Kind, EntityId)>,
    /// Sessions that were begun, whatever became of them.
    sessions: Vec<(PrincipalId, EntityId)>,
    /// People who were registered.
    people: Vec<Home>,
    /// Whether strangers send commands, and some go to an org that nobody makes.
    has_strangers: bool,
    /// What comes more often than elsewhere.
    theme: Theme,
}

/// What a seed's commands are about besides everything: what takes several steps in order is rare where all is drawn.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Theme {
    #[default]
    Everything,
    /// Sessions of one service that begin, are used and end.
    Sessions,
    /// Suspensions of the org.
    Suspensions,
    /// What is taken only behind something else.
    Chains,
}

/// Who is a member of no org, and never becomes one.
pub(crate) const STRANGER: &str = "stranger";

/// In whose name some runs act that others create.
pub(crate) const NAMED: &str = "p1";

/// What a kind's commands look like.
struct OfKind {
    kind: Kind,
    /// Its public commands besides `create`, with how often each comes.
    commands: &'static [(&'static str, u64)],
    body: fn(&Draw<'_>, &str, &mut Rng) -> Made,
}

/// A command's fields, and in whose name it is sent.
type Made = (Value, Option<&'static str>);

/// What was drawn for a command, whatever it is.
struct Draw<'a> {
    n: u64,
    bot: &'static str,
    person: String,
    /// Mostly a new id, now and then one that may be taken.
    message: String,
    /// The state of the entity that it goes to.
    state: &'a Value,
}

/// Kinds with a file; what creates them is drawn in `Workload::create`. All others are in `plain`, by themselves.
static KINDS: [&OfKind; 4] = [&org::ORG, &agent::AGENT, &conversation::CONVERSATION, &run::RUN];

/// Every command that a client may send, of every built-in kind, as `kind.command`.
pub fn public_commands() -> Vec<String> {
    let kinds = quipu_runtime::kinds::Kinds::builtin().info();
    kinds
        .iter()
        .flat_map(|kind| kind.commands.iter().map(|command| format!("{}.{}", kind.kind, command.name)))
        .collect()
}

/// Streams whose state a client may look at before it sends.
pub(crate) type Peek<'a> = &'a dyn Fn(&StreamId) -> Option<Value>;

const SETUP: usize = 4;

/// The first text under this name, wherever it stands.
fn text_at(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(map) => map
            .get(name)
            .and_then(|v| v.as_str().map(str::to_owned))
            .or_else(|| map.values().find_map(|v| text_at(v, name))),
        Value::Array(items) => items.iter().find_map(|v| text_at(v, name)),
        _ => None,
    }
}

/// One of the entries under this name, wherever it stands: a key of a map, or a text of a list.
fn one_of(value: &Value, name: &str, rng: &mut Rng, fits: &dyn Fn(&str, &Value) -> bool) -> Option<String> {
    let found = match value {
        Value::Object(map) => match map.get(name) {
            Some(found) => found,
            None => return map.values().find_map(|v| one_of(v, name, rng, fits)),
        },
        _ => return None,
    };
    let fitting: Vec<&str> = match found {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| fits(key, value))
            .map(|(key, _)| key.as_str())
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .filter(|text| fits(text, &Value::Null))
            .collect(),
        _ => Vec::new(),
    };
    (!fitting.is_empty()).then(|| fitting[rng.below(fitting.len() as u64) as usize].to_owned())
}

impl Workload {
    /// One in which strangers send commands, and some go to an org that nobody makes.
    pub(crate) fn with_strangers(seed: u64) -> Self {
        let theme = match seed % 5 {
            2 => Theme::Sessions,
            4 => Theme::Suspensions,
            0 => Theme::Chains,
            _ => Theme::Everything,
        };
        Self {
            has_strangers: true,
            theme,
            ..Self::default()
        }
    }

    /// Remembers what exists, so that later commands hit it.
    pub(crate) fn learn(&mut self, envelope: &CommandEnvelope) {
        if let CommandBody::Told { word } = &envelope.body {
            let home = Home::of_stream(&envelope.stream);
            self.sessions
                .extend(home.as_ref().map(|home| home.id.clone()).zip(principals::begun(&word.0)));
            self.people.extend(home.filter(|_| word.0.get("register").is_some()));
            return;
        }
        let entry = (envelope.stream.kind.clone(), envelope.stream.id.clone());
        if !self.created.contains(&entry) {
            self.created.push(entry);
        }
    }

    /// Ends a suspension of the org.
    pub(crate) fn resume_org(&self, n: u64) -> CommandRequest {
        request(n, Kind::ORG, "acme", "resume", json!({}), None)
    }

    /// Everybody who may be suspended.
    pub(crate) fn principals(&self) -> Vec<Home> {
        let services = self.created.iter().filter(|(kind, _)| *kind == Kind::PRINCIPAL);
        let services = services.filter_map(|(_, id)| PrincipalId::parse(id.as_str()).ok());
        let acme = OrgId::from_static("acme");
        let services = services.map(|id| Home::of(&acme, &id));
        services.chain(self.people.iter().cloned()).collect()
    }

    /// Ends a suspension of a service.
    pub(crate) fn resume_principal(&self, n: u64, home: &Home) -> CommandRequest {
        request(n, Kind::PRINCIPAL, home.id.as_str(), "resume", json!({}), None)
    }

    fn pick(&self, rng: &mut Rng, kind: &Kind) -> Option<EntityId> {
        let of_kind: Vec<&EntityId> = self.created.iter().filter(|(k, _)| k == kind).map(|(_, id)| id).collect();
        // The newest more often: the older a run, the likelier it is over.
        let from = if of_kind.len() > 6 && rng.chance(70) {
            of_kind.len() - 6
        } else {
            0
        };
        (!of_kind.is_empty()).then(|| of_kind[from + rng.below((of_kind.len() - from) as u64) as usize].clone())
    }

    /// The next command; `n` numbers it, and repeats with it.
    pub(crate) fn next(&self, n: u64, rng: &mut Rng, peek: Peek) -> Option<CommandRequest> {
        let drawn = self.drawn(n, rng, peek);
        let has_org = || self.created.iter().any(|(kind, _)| *kind == Kind::ORG);
        let of_its_number = || {
            vault::of(n)
                .or_else(|| rights::by_first_key(self, n, peek))
                .or_else(|| self.of_its_theme(n, peek))
        };
        has_org().then(of_its_number).flatten().or(drawn)
    }

    fn of_its_theme(&self, n: u64, peek: Peek) -> Option<CommandRequest> {
        match self.theme {
            Theme::Sessions if n.is_multiple_of(4) => Some(principals::by_one_session(self, n)),
            Theme::Chains if n.is_multiple_of(4) => Some(chains::next(self, n, peek)),
            Theme::Suspensions if n % 30 == 12 => Some(request(n, Kind::ORG, "acme", "suspend", json!({}), None)),
            _ => None,
        }
    }

    fn drawn(&self, n: u64, rng: &mut Rng, peek: Peek) -> Option<CommandRequest> {
        if !self.created.iter().any(|(kind, _)| *kind == Kind::ORG) {
            let acme = json!({ "name": "Acme", "owner": "ada" });
            return Some(request(n, Kind::ORG, "acme", "create", acme, None));
        }
        // Not drawn: the other commands of a seed stay what they are.
        match n % 60 {
            7 if self.has_strangers => return Some(to_nowhere(n)),
            37 if self.has_strangers => return Some(request(n, Kind::ORG, "acme", "rename", json!({ "name": "Mine" }), Some(STRANGER))),
            8 | 13 | 20 | 28 | 32 | 43 | 44 | 58 => return Some(rights::run_by_key(self, n, peek)),
            2 | 14 | 26 | 38 | 50 => return Some(quota::next(n, rng, peek)),
            11 | 23 | 35 | 47 | 59 => return Some(rights::next(self, n, rng)),
            3 | 15 | 33 | 45 | 57 => return Some(principals::next(self, n, rng)),
            17 | 25 | 41 | 55 => return Some(entity::next(self, n, rng, peek)),
            5 | 29 | 53 if plain::are_any() => return plain::next(self, n, rng),
            _ => {}
        }
        let org = StreamId::of_org(&OrgId::from_static("acme"));
        if peek(&org).is_some_and(|state| state.to_string().contains("suspended")) && rng.chance(40) {
            return Some(request(n, Kind::ORG, "acme", "resume", json!({}), None));
        }
        if self.created.len() < SETUP || rng.chance(6) {
            return Some(rights::by_key(self, n, self.create(n, rng), peek));
        }
        let commands = || {
            KINDS
                .iter()
                .flat_map(|of| of.commands.iter().map(move |(command, weight)| (*of, *command, *weight)))
        };
        let total: u64 = commands().map(|(.., weight)| weight).sum();
        let mut drawn = rng.below(total);
        let (of, command) = commands().find_map(|(of, command, weight)| match drawn.checked_sub(weight) {
            Some(rest) => {
                drawn = rest;
                None
            }
            None => Some((of, command)),
        })?;
        let kind = of.kind.clone();
        let mut id = if kind == Kind::ORG {
            EntityId::from_static("acme")
        } else {
            self.pick(rng, &kind)?
        };
        // Few runs stand where these can be taken: one that does, where there is one.
        let stands: Option<fn(&Value) -> bool> = match command {
            "retry_node" => Some(|run| text_at(run, "failed_node").is_some()),
            "approve" | "reject" if kind == Kind::RUN => Some(chains::is_asking),
            _ => None,
        };
        if let Some(stands) = stands {
            let run_of = |id: &EntityId| StreamId::new(OrgId::from_static("acme"), Kind::RUN, id.clone());
            let mut runs = self.created.iter().filter(|(of, _)| *of == Kind::RUN).map(|(_, run)| run);
            id = runs
                .find(|run| peek(&run_of(run)).is_some_and(|run| stands(&run)))
                .cloned()
                .unwrap_or(id);
        }
        let entity = StreamId::new(OrgId::from_static("acme"), kind.clone(), id.clone());
        let state = peek(&entity).unwrap_or_default();
        let (body, actor) = self.body(of, command, n, rng, &state);
        let mut made = request(n, kind, id.as_str(), command, body, actor);
        if rng.chance(10) {
            made.expected_version = Some(rng.below(8));
        }
        Some(rights::by_key(self, n, made, peek))
    }

    /// What a node tells a principal instead, now and then.
    pub(crate) fn word(&self, n: u64, rng: &mut Rng, peek: Peek) -> Option<(Home, Value)> {
        let is_time = matches!(n % 60, 4 | 9 | 16 | 22 | 34 | 39 | 46 | 52);
        let has_org = self.created.iter().any(|(kind, _)| *kind == Kind::ORG);
        if has_org && self.theme == Theme::Sessions && n % 4 == 2 {
            return principals::one_session(self, n);
        }
        (is_time && has_org).then(|| principals::word(self, n, rng, peek)).flatten()
    }

    fn body(&self, of: &OfKind, command: &str, n: u64, rng: &mut Rng, state: &Value) -> Made {
        let draw = Draw {
            n,
            bot: ["bot0", "bot1"][rng.below(2) as usize],
            person: format!("p{}", rng.below(6)),
            message: format!("m{}", if rng.chance(80) { n } else { rng.below(n.max(1)) }),
            state,
        };
        (of.body)(&draw, command, rng)
    }

    fn create(&self, n: u64, rng: &mut Rng) -> CommandRequest {
        match rng.below(5) {
            0 => agent::create(n, rng),
            1 | 2 => run::create(n, rng),
            _ => conversation::create(n, rng),
        }
    }
}

/// A command for an org that nobody makes.
fn to_nowhere(n: u64) -> CommandRequest {
    let body = json!({ "type": "group" });
    CommandRequest {
        org: OrgId::from_static("nowhere"),
        ..request(n, Kind::CONVERSATION, "c0", "create", body, None)
    }
}

fn request(n: u64, kind: Kind, id: &str, command: &str, body: Value, actor: Option<&'static str>) -> CommandRequest {
    CommandRequest {
        org: OrgId::from_static("acme"),
        kind,
        id: Some(EntityId::parse(id).expect("the workload's ids are ids")),
        command: command.into(),
        body,
        command_id: Some(CommandId::parse(format!("c{n}")).expect("a short id")),
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: actor.map(PrincipalId::from_static),
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    }
}
