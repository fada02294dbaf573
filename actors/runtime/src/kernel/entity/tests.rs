use super::*;
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decision, NoWord, Refusal};
use quipu_schemas::{
    context::{Context, NoKeys},
    envelope::DataClass,
    ids::{CommandId, PrincipalId},
    reaction::{Reaction, ReactionKey},
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

fn boil(egg: &mut Active<Egg>, now: Millis, id: &'static str) -> Arc<Record> {
    let command = CommandEnvelope {
        stream: egg.stream().clone(),
        command_id: CommandId::from_static(id),
        digest: Digest::ZERO,
        body: CommandBody::Given {
            command: Json(json!({ "boil": { "ms": 500 } })),
            settles: None,
        },
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
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
    };
    match &egg.command(now, admitted, &NoKeys)[..] {
        [EntityAction::Append(decided)] => decided.record.clone(),
        other => panic!("not taken: {other:?}"),
    }
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
