use super::*;
use crate::definition::Definition;

struct Shout;
impl Component for Shout {
    fn name(&self) -> &'static str {
        "shout"
    }
    fn about(&self) -> &'static str {
        "Hands its input on, louder."
    }
    fn nature(&self) -> Nature {
        Nature::Pure
    }
    fn config_schema(&self) -> Value {
        json!(true)
    }
    fn check(&self, _: &Value) -> Vec<ConfigFlaw> {
        Vec::new()
    }
    fn ports(&self, _: &Value) -> Ports {
        Ports {
            inputs: vec![Port::one("in", PortType::String)],
            outputs: vec![Port::one("out", PortType::String)],
        }
    }
    fn start(&self, _: &Value, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        Ok(Step::Done(only("out", json!(format!("{}!", input.value())))))
    }
    fn settle(&self, _: &Value, outcome: &Outcome) -> Result<Outputs, NodeError> {
        Err(unexpected(outcome))
    }
}

#[test]
fn the_registry_is_open_and_lists_what_it_holds() {
    let definition = json!({"name": "x", "inputs": {"a": {"type": "string"}}, "nodes": [{"id": "s", "component": "shout"}],
        "edges": [{"from": "input.a", "to": "s.in"}]});
    assert_eq!(
        Definition::load(&definition, Registry::builtin()).unwrap_err().flaws[0].code,
        "unknown_component"
    );
    let mut registry = Registry::default();
    registry.register(Box::new(Shout));
    Definition::load(&definition, &registry).unwrap();

    let names = [
        "collect",
        "delay",
        "filter",
        "http.request",
        "llm.invoke",
        "log",
        "map",
        "message.send",
        "parallel",
        "passthrough",
        "switch",
        "wait_approval",
        "wait_signal",
        "webhook.call",
    ];
    assert_eq!(Registry::builtin().names(), names);
    for entry in Registry::builtin().catalogue() {
        assert!(
            entry["config"].is_object() && entry["about"].as_str().unwrap().ends_with('.'),
            "{entry}"
        );
    }
    let nature = |name: &str| Registry::builtin().get(name).unwrap().nature();
    assert_eq!(
        (nature("map"), nature("delay"), nature("llm.invoke")),
        (Nature::Pure, Nature::Waits, Nature::Effectful)
    );
}

#[test]
fn every_component_refuses_a_config_that_it_does_not_understand() {
    for name in Registry::builtin().names() {
        let component = Registry::builtin().get(name).unwrap();
        assert!(!component.check(&json!({"surprise": 1})).is_empty(), "{name}");
        assert!(!component.check(&json!("text")).is_empty(), "{name}");
    }
    let flawed = |name: &str, config: Value| {
        Registry::builtin()
            .get(name)
            .unwrap()
            .check(&config)
            .into_iter()
            .map(|f| f.field)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        flawed("switch", json!({"cases": [{"when": "true", "port": "error"}]})),
        ["cases[0].port"]
    );
    assert_eq!(flawed("parallel", json!({"branches": ["a", "a"]})), ["branches[1]"]);
    assert_eq!(flawed("parallel", json!({"branches": []})), ["branches"]);
    assert_eq!(flawed("collect", json!({"count": 0})), ["count"]);
    assert_eq!(flawed("delay", json!({"ms": -1})), ["ms"]);
    assert_eq!(flawed("delay", json!({"ms": "=1 +"})), ["ms"; 1]);
    assert_eq!(
        flawed("wait_signal", json!({"signal": "", "timeout_ms": 0})),
        ["signal", "timeout_ms"]
    );
    assert_eq!(flawed("wait_approval", json!({"prompt": 7})), ["prompt"]);
    assert_eq!(
        flawed("http.request", json!({"url": "ftp://x", "method": "FETCH"})),
        ["method", "url"]
    );
    assert_eq!(
        flawed("webhook.call", json!({"url": "=nope", "type": "", "secret": "s"})),
        ["url", "type"]
    );
    assert_eq!(
        flawed(
            "llm.invoke",
            json!({"model": {"provider": "p", "model": "m", "temperature": 3.0}, "messages": []})
        ),
        ["model.temperature", "messages"]
    );
    assert_eq!(
        flawed("message.send", json!({"conversation": "a b", "body": 1})),
        ["body", "conversation"]
    );
    assert_eq!(
        flawed("http.request", json!({"url": "https://x.example/", "body": {"a": ["=("]}})),
        ["body.a[0]"]
    );
}
