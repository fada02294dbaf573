//! Every example of the workflow manual is run as it stands, and comes to the output beside it.

use quipu_rules::components::Registry;
use quipu_tests::office::{Office, path};
use serde_json::Value;
use std::collections::BTreeSet;

const MANUAL: &str = include_str!("../../../../ops/docs/workflows.md");
/// The receiver's address in the manual.
const RECEIVER: &str = "http://127.0.0.1:9000";

struct Example {
    definition: String,
    input: Value,
    then: Option<(String, Value)>,
    output: Value,
}

/// A block of YAML, and the block of JSON that follows it.
fn examples() -> Vec<Example> {
    let mut found = Vec::new();
    for text in MANUAL.split("```yaml\n").skip(1) {
        let (definition, rest) = text.split_once("```\n").expect("the block ends");
        let told = rest
            .strip_prefix("```json\n")
            .expect("each definition is followed by what it comes to");
        let told: Value = serde_json::from_str(told.split_once("```").expect("the block ends").0).expect("JSON");
        let then = told["then"].as_object().and_then(|then| then.iter().next());
        found.push(Example {
            definition: definition.to_owned(),
            input: told["input"].clone(),
            then: then.map(|(command, body)| (command.clone(), body.clone())),
            output: told["output"].clone(),
        });
    }
    found
}

/// Whether `value` is at least what `told` says.
fn holds(value: &Value, told: &Value) -> bool {
    match (value, told) {
        (Value::Object(value), Value::Object(told)) => told
            .iter()
            .all(|(name, told)| value.get(name).is_some_and(|value| holds(value, told))),
        _ => value == told,
    }
}

#[tokio::test]
async fn examples_of_the_manual_come_to_what_it_says() {
    let office = Office::open().await;
    office.room("help", &[], 0).await;
    let mut components = BTreeSet::new();
    for (n, example) in examples().into_iter().enumerate() {
        let id = format!("example-{n}");
        let definition = example.definition.replace(RECEIVER, &office.receiver.url(""));
        for part in example.definition.split("component: ").skip(1) {
            components.insert(part.split([',', '}', '\n']).next().unwrap_or_default().trim().to_owned());
        }
        let body = serde_json::json!({ "definition_text": definition, "input": example.input });
        office.ada.post(&path("run", &id), body).await.taken();
        if let Some((command, body)) = example.then {
            office.send("run", &id, &command, body).await.taken();
        }
        let done = office.ada.await_event(&path("run", &id), "run.completed", |_| true).await;
        assert!(
            holds(&done["output"], &example.output),
            "{definition}\ncame to {done}\nand not to {}",
            example.output
        );
    }
    let documented: BTreeSet<String> = MANUAL
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(components, documented, "each component has a section and an example");
    let known: BTreeSet<String> = Registry::builtin().names().into_iter().map(str::to_owned).collect();
    assert_eq!(documented, known, "the manual has every component");
}
