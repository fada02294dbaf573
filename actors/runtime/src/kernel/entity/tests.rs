use super::*;
use crate::kernel::cause::Cause;
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decision, NoWord, Refusal};
use quipu_schemas::{
    context::{Context, NoKeys},
    envelope::DataClass,
    ids::{CommandId, OrgId, PrincipalId},
    reaction::{Reaction, ReactionKey},
    record::Header,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Is done some time after it was put on.
struct Egg;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum EggCommand {
    Boil { ms: u64 },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum EggEvent {
    #[serde(rename = "test.egg.boiled.v1")]
    Boiled { done_at: Millis },
}

#[derive(Debug)]
struct Never;
impl Refusal for Never {
    fn problem(&self) -> Problem {
        Problem::new(409, "never", "never")
    }
}

impl Decider for Egg {
    const KIND: &'static str = "egg";
    const RULES_VERSION: u32 = 1;
    type State = u64;
    type Command = EggCommand;
    type Word = NoWord;
    type Event = EggEvent;
    type Rejection = Never;

    fn initial() -> u64 {
        0
    }

    fn decide(_: &u64, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<EggEvent>, Never> {
        let EggCommand::Boil { ms } = asked.command();
        Ok(Decision::one(EggEvent::Boiled { done_at: context.now + ms }))
    }

    fn evolve(eggs: u64, _: &EggEvent) -> Result<u64, Corrupt> {
        Ok(eggs + 1)
    }

    fn react(_: &u64, event: &EggEvent) -> Vec<Reaction> {
        let EggEvent::Boiled { done_at } = event;
        vec![Reaction::WakeAt {
            name: "done".into(),
            due: *done_at,
        }]
    }
}

fn given(stream: &StreamId, id: &'static str, command: serde_json::Value) -> CommandEnvelope {
    CommandEnvelope {
        stream: stream.clone(),
        command_id: CommandId::from_static(id),
        digest: Digest::ZERO,
        body: CommandBody::Given {
            command: Json(command),
            settles: None,
        },
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        home: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        causation: None,
        traceparent: None,
        seed: 1,
    }
}

/// The record of a decision.
fn decided<D: Decider>(entity: &mut Active<D>, now: Millis, command: CommandEnvelope, recalled: Recalled) -> Arc<Record> {
    let admitted = Admitted {
        refused: None,
        ticket: 1,
        command: Arc::new(command),
        seen: None,
        settled: None,
        authority: Authority::default(),
        durability: Durability::Memory,
        recalled,
    };
    match &entity.command(now, admitted, &NoKeys)[..] {
        [EntityAction::Append(decided)] => decided.record.clone(),
        other => panic!("not taken: {other:?}"),
    }
}

fn boil(egg: &mut Active<Egg>, now: Millis, id: &'static str) -> Arc<Record> {
    let command = given(egg.stream(), id, json!({ "boil": { "ms": 500 } }));
    decided(egg, now, command, Recalled::new())
}

/// A clock that was years ahead for a moment must not keep an entity from ever acting again.
#[test]
fn due_times_count_from_the_clock_and_not_from_a_future_stream() {
    let mut egg = Active::<Egg>::empty("acme/egg/e".parse().unwrap());
    let future = 2_000_000;
    assert_eq!(boil(&mut egg, future, "a").header.time, future);
    let record = boil(&mut egg, 1_000, "b");
    assert_eq!(record.header.time, future, "record time does not go back");
    assert!(
        matches!(&record.reactions[0].reaction, Reaction::WakeAt { due, .. } if *due == 1_500),
        "{:?}",
        record.reactions
    );
}

/// Rings when it is told to; a client may only wind it.
struct Clock;

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClockCommand {
    Wind {},
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClockWord {
    Ring {},
}

impl Decider for Clock {
    const KIND: &'static str = "clock";
    const RULES_VERSION: u32 = 1;
    type State = u64;
    type Command = ClockCommand;
    type Word = ClockWord;
    type Event = EggEvent;
    type Rejection = Never;

    fn initial() -> u64 {
        0
    }

    fn decide(_: &u64, _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<EggEvent>, Never> {
        Ok(Decision::Unchanged)
    }

    fn evolve(clocks: u64, _: &EggEvent) -> Result<u64, Corrupt> {
        Ok(clocks)
    }
}

/// What was stored by an entity is told apart from what a client sent by the reaction that it settles, not by its name.
#[test]
fn words_are_read_from_dispatches_and_never_from_clients() {
    let key: ReactionKey = "acme/egg/e@1.0".parse().unwrap();
    let body = |name: &str, settles: Option<&ReactionKey>| CommandBody::Given {
        command: Json(json!({ name: {} })),
        settles: settles.cloned(),
    };
    let read = |body| deciding::asked_in::<Clock>(&body).map_err(|e| e.to_string());
    assert_eq!(read(body("ring", Some(&key))), Ok(Some(Asked::Word(ClockWord::Ring {}))));
    assert_eq!(read(body("wind", Some(&key))), Ok(Some(Asked::Command(ClockCommand::Wind {}))));
    assert_eq!(read(body("wind", None)), Ok(Some(Asked::Command(ClockCommand::Wind {}))));
    let refused = read(body("ring", None)).unwrap_err();
    assert!(refused.contains("unknown variant `ring`"), "{refused}");
}

/// Takes each name once, and keeps none of them in mind.
struct Guestbook;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum GuestbookCommand {
    Sign { names: Vec<String> },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum GuestbookEvent {
    #[serde(rename = "test.guestbook.signed.v1")]
    Signed { name: String },
}

impl Decider for Guestbook {
    const KIND: &'static str = "guestbook";
    const RULES_VERSION: u32 = 1;
    type State = u64;
    type Command = GuestbookCommand;
    type Word = NoWord;
    type Event = GuestbookEvent;
    type Rejection = Never;

    fn initial() -> u64 {
        0
    }

    fn decide(_: &u64, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<GuestbookEvent>, Never> {
        let GuestbookCommand::Sign { names } = asked.command();
        let new = names.iter().filter(|name| context.recalled[*name].is_empty());
        Ok(Decision::all(
            new.map(|name| GuestbookEvent::Signed { name: name.clone() }).collect(),
        ))
    }

    fn names(event: &GuestbookEvent) -> Option<&str> {
        let GuestbookEvent::Signed { name } = event;
        Some(name)
    }

    fn recalls(_: &u64, command: &serde_json::Value) -> Vec<String> {
        serde_json::from_value(command["sign"]["names"].clone()).unwrap_or_default()
    }

    fn evolve(signed: u64, _: &GuestbookEvent) -> Result<u64, Corrupt> {
        Ok(signed + 1)
    }
}

/// What is on its way to the log stands in no index, and is known all the same.
#[test]
fn forgotten_name_in_flight_is_noticed() {
    let mut book = Active::<Guestbook>::empty("acme/guestbook/g".parse().unwrap());
    let sign = |names: &[&str], id| given(&"acme/guestbook/g".parse().unwrap(), id, json!({ "sign": { "names": names } }));
    let unknown = |names: &[&str]| -> Recalled { names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect() };
    assert_eq!(book.recalls(&sign(&["bob", "ada"], "a")), ["bob", "ada"]);
    let first = decided(&mut book, 1, sign(&["bob", "ada"], "a"), unknown(&["bob", "ada"]));
    assert_eq!(
        (first.events.len(), &first.header.names[..]),
        (2, &["ada".to_owned(), "bob".to_owned()][..])
    );
    let second = decided(&mut book, 1, sign(&["ada"], "b"), unknown(&["ada"]));
    assert_eq!((second.events.len(), second.header.names.len()), (0, 0), "in flight");
    for record in [&first, &second] {
        let position = Position {
            partition: 0,
            offset: 0,
            index: 0,
        };
        book.durable(record.hash, position, Durability::Memory);
    }
    assert!(book.is_settled());
    // The events of its record, of which one gave the name.
    let known = [("ada".to_owned(), first.events.clone())].into();
    assert_eq!(decided(&mut book, 1, sign(&["ada"], "c"), known).events.len(), 0, "durable");
    let other = [("eve".to_owned(), first.events.clone())].into();
    assert_eq!(decided(&mut book, 1, sign(&["eve"], "d"), other).events.len(), 1, "of another name");
}

/// Who acts in another org is written down with their own, and so is whatever follows from it.
#[test]
fn foreign_actor_is_recorded_with_its_home() {
    let stream: StreamId = "acme/clock/c".parse().unwrap();
    let recorded = |id: &'static str, who: &'static str, from: &str, home: Option<&'static str>| {
        let mut clock = Active::<Clock>::empty(stream.clone());
        let mut command = given(&stream, id, json!({ "ring": {} }));
        command.on_behalf_of = Some(PrincipalId::from_static(who));
        command.home = home.map(OrgId::from_static);
        if let CommandBody::Given { settles, .. } = &mut command.body {
            *settles = Some(from.parse().unwrap());
        }
        decided(&mut clock, 1, command, Recalled::new()).header.clone()
    };
    let home = |header: &Header| header.home.as_ref().map(ToString::to_string);
    let bot = PrincipalId::from_static("bot");
    let near = recorded("a", "bot", "acme/egg/e@1.0", None);
    assert_eq!((home(&near), near.home_of(&bot).to_string().as_str()), (None, "acme/bot"));
    let far = recorded("b", "bot", "beta/egg/e@1.0", None);
    assert_eq!(
        (home(&far).as_deref(), far.home_of(&bot).to_string().as_str()),
        (Some("beta"), "beta/bot")
    );
    assert_eq!(Cause::from(&far).home, far.home, "what follows from it is theirs as well");
    let through_beta = recorded("c", "bot", "beta/egg/e@1.0", Some("gamma"));
    assert_eq!(home(&through_beta).as_deref(), Some("gamma"));
    assert_eq!(home(&recorded("d", "bot", "beta/egg/e@1.0", Some("acme"))), None, "back at home");
    assert_eq!(
        home(&recorded("e", "usr_1", "beta/egg/e@1.0", None)),
        None,
        "people are the same everywhere"
    );
}

/// One entity cannot say to another what only the kernel says.
#[test]
fn words_of_the_kernel_are_taken_from_no_entity() {
    let key: ReactionKey = "acme/egg/e@1.0".parse().unwrap();
    let mut clock = Active::<Clock>::empty("acme/clock/c".parse().unwrap());
    let mut dispatched = |name: &str, id: &'static str| {
        let command = CommandEnvelope {
            stream: clock.stream().clone(),
            command_id: CommandId::from_static(id),
            digest: Digest::ZERO,
            body: CommandBody::Given {
                command: Json(json!({ name: {} })),
                settles: Some(key.clone()),
            },
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            home: None,
            credential: None,
            expected_version: None,
            environment: None,
            data_class: DataClass::None,
            correlation: None,
            causation: None,
            traceparent: None,
            seed: 1,
        };
        let admitted = Admitted {
            refused: None,
            ticket: 1,
            command: Arc::new(command),
            seen: None,
            settled: None,
            authority: Authority::default(),
            durability: Durability::Memory,
            recalled: Recalled::new(),
        };
        match &clock.command(1, admitted, &NoKeys)[..] {
            [EntityAction::Append(decided)] => decided.record.header.settlement.clone().map(|settlement| settlement.outcome),
            other => panic!("not taken: {other:?}"),
        }
    };
    let refused = Settled::Refused {
        code: "not_the_kernel".into(),
    };
    assert_eq!(dispatched("ring", "a"), Some(refused));
    assert_eq!(dispatched("wind", "b"), Some(Settled::Unchanged));
}
