use super::*;
use crate::{definition::Definition, scene::OneKey};
use quipu_schemas::{
    context::{Authority, Context},
    digest::Digest,
    ids::{CommandId, PrincipalId},
    limits::{EFFECT_TIMEOUT_MAX_MS, REASON_MAX_CHARS, TIMER_MAX_MS},
    personal::Made,
};

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
    let catalogue = Registry::builtin().catalogue();
    assert_eq!(catalogue.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
    for entry in catalogue {
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

/// A node's input with `data` at its port.
pub(super) fn with_input<T>(data: Value, use_it: impl FnOnce(&NodeInput<'_>) -> T) -> T {
    let stream = "acme/run/r1".parse().unwrap();
    let authority = Authority::default();
    let context = Context {
        now: 0,
        stream: &stream,
        command_id: &CommandId::from_static("c-1"),
        command_digest: Digest::ZERO,
        principal: &PrincipalId::from_static("ada"),
        on_behalf_of: None,
        credential: None,
        authority: &authority,
        version: 0,
        seed: 1,
        opener: &OneKey,
        minted: std::cell::Cell::new(0),
        made: Made::default(),
        recalled: &std::collections::BTreeMap::new(),
    };
    use_it(&NodeInput {
        stream: &stream,
        node: "n",
        now: 0,
        retry: &Retry::default(),
        connected: &[],
        ports: [("in".to_owned(), data)].into(),
        run_input: Value::Null,
        texts: json!({}),
        values: &Values {
            context: &context,
            owner: "acme/ada".into(),
            clear: true,
        },
        looked: RefCell::default(),
        budget: RefCell::default(),
    })
}

/// The fields that a component finds flawed in a config.
fn flawed(name: &str, config: Value) -> Vec<String> {
    let component = Registry::builtin().get(name).unwrap();
    component.check(&config).into_iter().map(|f| f.field).collect()
}

#[test]
fn every_component_refuses_a_config_that_it_does_not_understand() {
    for name in Registry::builtin().names() {
        let component = Registry::builtin().get(name).unwrap();
        assert!(!component.check(&json!({"surprise": 1})).is_empty(), "{name}");
        assert!(!component.check(&json!("text")).is_empty(), "{name}");
    }
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
    assert_eq!(flawed("filter", json!({"condition": "((" })), ["condition"]);
    assert_eq!(flawed("log", json!({"message": "nope"})), ["message"]);
    assert_eq!(flawed("http.request", json!({"url": {"a": 1}})), ["url"]);
}

/// A config, and the only field that is wrong with it; none where it is the last good value before a bound.
#[test]
fn configs_are_good_up_to_their_bounds_and_flawed_beyond_them() {
    let http = |key: &str, value: Value| {
        let mut config = json!({"url": "https://x.example/"});
        config[key] = value;
        ("http.request", config)
    };
    let url = |length: usize| http("url", json!(format!("https://x.example/{}", "a".repeat(length - 18))));
    let header = |name: String| http("headers", json!({name: "x"}));
    let keyed = |name: String| http("idempotency_header", json!(name));
    let hook = |event_type: String, secret: String| {
        (
            "webhook.call",
            json!({"url": "https://x.example/", "type": event_type, "secret": secret}),
        )
    };
    let llm = |provider: usize, model: usize, temperature: f64, messages: usize| {
        let message = json!({"role": "user", "content": "hi"});
        let model = json!({"provider": "p".repeat(provider), "model": "m".repeat(model), "temperature": temperature});
        ("llm.invoke", json!({"model": model, "messages": vec![message; messages]}))
    };
    let parallel = |branches: usize| {
        let names: Vec<_> = (0..branches).map(|n| format!("b{n}")).collect();
        ("parallel", json!({"branches": names}))
    };
    let port = |name: &str| ("parallel", json!({"branches": [name]}));
    let collect = |count: u32| ("collect", json!({"count": count}));
    let delay = |ms: u64| ("delay", json!({"ms": ms}));
    let signal = |name: usize, timeout_ms: u64| ("wait_signal", json!({"signal": "s".repeat(name), "timeout_ms": timeout_ms}));
    let asked = |approvers: usize, prompt: usize| {
        // Two bytes a character: what counts is characters.
        (
            "wait_approval",
            json!({"approvers": vec!["zoe"; approvers], "prompt": "é".repeat(prompt)}),
        )
    };
    let cases = [
        (url(2_048), None),
        (url(2_049), Some("url")),
        (http("url", json!("https://x.example/a b")), Some("url")),
        (http("url", json!("https://x.example/a\u{7}b")), Some("url")),
        (header("x".repeat(128)), None),
        (header("x".repeat(129)), Some("headers.")),
        (header(String::new()), Some("headers.")),
        (header("X-Order_1.a".into()), None),
        (header("X:Order".into()), Some("headers.")),
        (keyed("Idempotency-Key".into()), None),
        (keyed("Idempotency Key".into()), Some("idempotency_header")),
        (http("headers", json!({"X-Name": "a", "x-name": "b"})), Some("headers.x-name")),
        (http("headers", json!({"X-Name": ["a", "=input"]})), None),
        (http("headers", json!({"X-Name": []})), Some("headers.X-Name")),
        (http("headers", json!({"X-Name": ["a", 1]})), Some("headers.X-Name")),
        (http("headers", json!({"X-Name": "='{{secret:a}}'"})), Some("headers.X-Name")),
        (http("headers", json!({"X-Name": "{{secret:a"})), Some("headers.X-Name")),
        (http("headers", json!({"Cookie": ["a=", "{{secret:a}}"]})), None),
        (http("headers", json!({"Cookie": ["a=", "=input"]})), Some("headers.Cookie")),
        (http("timeout_ms", json!(0)), Some("timeout_ms")),
        (http("timeout_ms", json!(1)), None),
        (http("timeout_ms", json!(EFFECT_TIMEOUT_MAX_MS)), None),
        (http("timeout_ms", json!(EFFECT_TIMEOUT_MAX_MS + 1)), Some("timeout_ms")),
        (hook("t".repeat(128), "s".repeat(64)), None),
        (hook("t".repeat(129), "s".into()), Some("type")),
        (hook("t".into(), "s".repeat(65)), Some("secret")),
        (hook("t".into(), String::new()), Some("secret")),
        (hook("t".into(), "orders signing key".into()), Some("secret")),
        (llm(128, 128, 2.0, 64), None),
        (llm(129, 1, 0.0, 1), Some("model")),
        (llm(1, 129, 0.0, 1), Some("model")),
        (llm(0, 1, 0.0, 1), Some("model")),
        (llm(1, 0, 0.0, 1), Some("model")),
        (llm(1, 1, 2.1, 1), Some("model.temperature")),
        (llm(1, 1, 0.0, 65), Some("messages")),
        (parallel(64), None),
        (parallel(65), Some("branches")),
        (port("A-z_9"), None),
        (port(&"p".repeat(64)), None),
        (port(&"p".repeat(65)), Some("branches[0]")),
        (port(""), Some("branches[0]")),
        (port("a.b"), Some("branches[0]")),
        (collect(10_000), None),
        (collect(10_001), Some("count")),
        (delay(TIMER_MAX_MS), None),
        (delay(TIMER_MAX_MS + 1), Some("ms")),
        (signal(64, TIMER_MAX_MS), None),
        (signal(65, 1), Some("signal")),
        (signal(1, TIMER_MAX_MS + 1), Some("timeout_ms")),
        (asked(100, REASON_MAX_CHARS), None),
        (asked(101, 1), Some("approvers")),
        (asked(1, REASON_MAX_CHARS + 1), Some("prompt")),
    ];
    let both = json!({"url": "https://x.example/", "headers": {"idempotency-key": "a"}, "idempotency_header": "Idempotency-Key"});
    assert_eq!(flawed("http.request", both), ["idempotency_header"]);
    for ((component, config), wrong) in cases {
        let found = flawed(component, config.clone());
        match wrong {
            None => assert!(found.is_empty(), "{component}: {found:?} in {config}"),
            Some(field) => assert!(
                found.len() == 1 && found[0].starts_with(field),
                "{component}: {found:?}, not {field}, in {config}"
            ),
        }
    }
}
