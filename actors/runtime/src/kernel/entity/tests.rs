use super::*;
use quipu_rules::decider::Corrupt;
use quipu_rules::decider::{Decision, Refusal};
use quipu_schemas::{context::Context, ids::CommandId};
use quipu_schemas::{context::NoKeys, envelope::DataClass, reaction::Reaction};
use schemars::JsonSchema;
use serde::Serialize;
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
    type Event = EggEvent;
    type Rejection = Never;

    fn initial() -> u64 {
        0
    }

    fn decide(_: &u64, command: &EggCommand, context: &Context<'_>) -> Result<Decision<EggEvent>, Never> {
        let EggCommand::Boil { ms } = command;
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
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        causation: None,
        traceparent: None,
        seed: 1,
    };
    let admitted = Admitted {
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
