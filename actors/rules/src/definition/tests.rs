use super::*;
use quipu_schemas::limits::JSON_MAX_DEPTH;
use quipu_schemas::limits::{EDGES_MAX, NODES_MAX};
use serde_json::json;

fn load(value: Value) -> Result<Definition, DefinitionError> {
    Definition::load(&value, Registry::builtin())
}

fn good() -> Value {
    json!({
        "name": "order", "version": "3",
        "inputs": {"order": {"type": "object"}},
        "outputs": {"result": {}},
        "nodes": [
            {"id": "check", "component": "switch", "config": {"cases": [{"when": "input.total > 100", "port": "large"}], "default": "small"}},
            {"id": "large", "component": "map", "config": {"expression": "input.total * 2"}},
            {"id": "small", "component": "passthrough"},
            {"id": "join", "component": "collect"}
        ],
        "edges": [
            {"from": "input.order", "to": "check.in"},
            {"from": "check.large", "to": "large.in"},
            {"from": "check.small", "to": "small.in"},
            {"from": "large.out", "to": "join.items"},
            {"from": "small.out", "to": "join.items"},
            {"from": "join.out", "to": "output.result"}
        ]
    })
}

#[test]
fn json_and_yaml_give_the_same_definition_and_digest() {
    let yaml = r#"
name: order
version: 3
inputs: {order: {type: object}}
outputs: {result: {}}
nodes:
  - id: check
    component: switch
    config:
      default: small
      cases: [{when: input.total > 100, port: large}]
  - {id: large, component: map, config: {expression: input.total * 2}}
  - {id: small, component: passthrough}
  - {id: join, component: collect}
edges:
  - {from: input.order, to: check.in}
  - {from: check.large, to: large.in}
  - {from: check.small, to: small.in}
  - {from: large.out, to: join.items}
  - {from: small.out, to: join.items}
  - {from: join.out, to: output.result}
"#;
    let from_yaml = Definition::from_text(yaml, Registry::builtin()).unwrap();
    let from_json = load(good()).unwrap();
    assert_eq!(from_yaml, from_json);
    assert_eq!(from_yaml.digest(), from_json.digest());
    // The canonical form is a definition again, with the same digest.
    assert_eq!(load(from_json.canonical().0).unwrap().digest(), from_json.digest());
    assert_eq!(from_json.digest().to_string(), GOLDEN_DIGEST);
    assert_eq!(from_json.plan(Registry::builtin()).order, [0, 1, 2, 3]);
}

#[test]
fn yaml_of_a_definition_says_what_is_written() {
    let definition = |version: &str, data: &str| {
        let node =
            format!("{{id: a, component: webhook.call, config: {{url: \"https://x.example/\", type: t, secret: s, data: {{{data}}}}}}}");
        Definition::from_text(&format!("name: n\nversion: {version}\nnodes: [{node}]\n"), Registry::builtin())
    };
    for version in ["010", "1.10", "0123456", "1e3"] {
        assert_eq!(definition(version, "").unwrap().version, version);
    }
    let read = definition("1", "zip: 01234, acct: 0000123, n: 7.0, m: 1e3").unwrap();
    assert_eq!(
        read.nodes[0].config.0["data"].to_string(),
        json!({"zip": "01234", "acct": "0000123", "n": 7, "m": 1000}).to_string()
    );
    let refused = definition("1", "\"1\": x, 1: y").unwrap_err();
    assert_eq!(
        (refused.flaws[0].code.as_str(), refused.flaws[0].field.as_str()),
        ("bad_yaml", "definition_text")
    );
}

#[test]
fn whole_numbers_count_however_they_are_written() {
    let with = |attempts: Value, ms: Value| {
        let mut value = good();
        value["nodes"][0]["retry"] = json!({"attempts": attempts});
        value["nodes"][2] = json!({"id": "small", "component": "delay", "config": {"ms": ms}});
        load(value)
    };
    let (plain, pointed) = (with(json!(2), json!(1500)).unwrap(), with(json!(2.0), json!(1500.0)).unwrap());
    assert_eq!(plain.digest(), pointed.digest());
    assert_eq!(pointed.nodes[0].effective_retry().attempts, 2);
    assert!(with(json!(2.5), json!(1500)).is_err() && with(json!(2), json!(1500.5)).is_err());
}

/// A change here means that old runs' pinned digests no longer match their definitions.
const GOLDEN_DIGEST: &str = "c840aff96011e61d5c1771dc845e2b8b9f4a4fb3446ac84bf9fb8dbdd8f937ca";

#[test]
fn the_order_is_kahns_with_ties_by_place() {
    let node = |id: &str| json!({"id": id, "component": "passthrough"});
    let edge = |from: &str, to: &str| json!({"from": from, "to": to});
    let definition = load(json!({
        "name": "x", "inputs": {"a": {}},
        "nodes": [node("d"), node("c"), node("b"), node("a")],
        "edges": [edge("input.a", "a.in"), edge("a.out", "c.in"), edge("a.out", "b.in"), edge("b.out", "d.in")],
    }))
    .unwrap();
    assert_eq!(definition.plan(Registry::builtin()).order, [3, 1, 2, 0]);
}

fn flaw(change: impl FnOnce(&mut Value)) -> (String, String, String) {
    let mut value = good();
    change(&mut value);
    let error = load(value).expect_err("accepted");
    let problem = error.problem();
    assert_eq!(problem.status, 422);
    let first = error.flaws[0].clone();
    (first.field, first.code, first.detail)
}

/// A change, then the field, code and a word of the detail that it must lead to.
type Mistake = (Box<dyn FnOnce(&mut Value)>, &'static str, &'static str, &'static str);

#[test]
fn each_mistake_is_refused_with_its_node_named() {
    let cases: Vec<Mistake> = vec![
        (
            Box::new(|v| v["nodes"][1]["id"] = json!("check")),
            "definition.nodes[1].id",
            "duplicate_node",
            "check",
        ),
        (
            Box::new(|v| v["nodes"][1]["id"] = json!("a b")),
            "definition.nodes[1].id",
            "bad_node_id",
            "a b",
        ),
        (
            Box::new(|v| v["nodes"][2]["id"] = json!("input")),
            "definition.nodes[2].id",
            "bad_node_id",
            "input",
        ),
        (
            Box::new(|v| v["nodes"][2]["component"] = json!("magic")),
            "definition.nodes[2].component",
            "unknown_component",
            "small",
        ),
        (
            Box::new(|v| v["nodes"][2]["colour"] = json!("red")),
            "definition.nodes[2]",
            "bad_definition",
            "small",
        ),
        (
            Box::new(|v| v["nodes"][2]["config"] = json!({"x": 1})),
            "definition.nodes[2].config",
            "bad_config",
            "small",
        ),
        (
            Box::new(|v| v["nodes"][1]["config"]["expression"] = json!("1 +")),
            "definition.nodes[1].config.expression",
            "bad_expression",
            "large",
        ),
        (
            Box::new(|v| v["nodes"][1]["config"]["expression"] = json!("nope")),
            "definition.nodes[1].config.expression",
            "bad_expression",
            "nope",
        ),
        (
            Box::new(|v| v["nodes"][0]["config"]["cases"][0]["when"] = json!("((")),
            "definition.nodes[0].config.cases[0].when",
            "bad_expression",
            "check",
        ),
        (
            Box::new(|v| v["nodes"][1]["ports"] = json!({"nope": "string"})),
            "definition.nodes[1].ports.nope",
            "unknown_port",
            "large",
        ),
        (
            Box::new(|v| v["nodes"][3]["ports"] = json!({"out": "string"})),
            "definition.nodes[3].ports.out",
            "port_mismatch",
            "join",
        ),
        (
            Box::new(|v| v["nodes"][0]["ports"] = json!({"in": "string"})),
            "definition.edges[0]",
            "port_mismatch",
            "string",
        ),
        (
            Box::new(|v| v["nodes"][1]["retry"] = json!({"attempts": 0})),
            "definition.nodes[1].retry",
            "bad_retry",
            "large",
        ),
        (
            Box::new(|v| v["edges"][1]["from"] = json!("ghost.out")),
            "definition.edges[1].from",
            "unknown_node",
            "ghost",
        ),
        (
            Box::new(|v| v["edges"][1]["from"] = json!("check.huge")),
            "definition.edges[1].from",
            "unknown_port",
            "check",
        ),
        (
            Box::new(|v| v["edges"][1]["to"] = json!("large.side")),
            "definition.edges[1].to",
            "unknown_port",
            "large",
        ),
        (
            Box::new(|v| v["edges"][1]["to"] = json!("large")),
            "definition.edges[1].to",
            "bad_edge",
            "large",
        ),
        (
            Box::new(|v| v["edges"][0]["from"] = json!("input.ghost")),
            "definition.edges[0].from",
            "unknown_port",
            "ghost",
        ),
        (
            Box::new(|v| v["edges"][5]["to"] = json!("output.ghost")),
            "definition.edges[5].to",
            "unknown_port",
            "ghost",
        ),
        (
            Box::new(|v| v["edges"][2] = v["edges"][1].clone()),
            "definition.edges[2]",
            "duplicate_edge",
            "check",
        ),
        (
            Box::new(|v| drop(v["edges"].as_array_mut().unwrap().remove(0))),
            "definition.nodes[0]",
            "unconnected_port",
            "check",
        ),
        (
            Box::new(|v| drop(v["edges"].as_array_mut().unwrap().pop())),
            "definition.outputs.result",
            "unconnected_port",
            "result",
        ),
        (
            Box::new(|v| v["inputs"]["order"]["many"] = json!(true)),
            "definition.edges[0]",
            "port_mismatch",
            "again and again",
        ),
        (
            Box::new(|v| v["inputs"]["order"]["type"] = json!("thing")),
            "definition.inputs.order",
            "bad_definition",
            "thing",
        ),
        (Box::new(|v| v["name"] = json!("")), "definition.name", "bad_definition", "name"),
        (Box::new(|v| v["nodes"] = json!([])), "definition.nodes", "bad_definition", "nodes"),
        (
            Box::new(|v| v["surprise"] = json!(1)),
            "definition.surprise",
            "unknown_field",
            "surprise",
        ),
        (
            Box::new(|v| v["name"] = json!({"$sealed": "x"})),
            "definition",
            "bad_definition",
            "reserved",
        ),
    ];
    for (change, field, code, word) in cases {
        let (found_field, found_code, detail) = flaw(change);
        assert_eq!((found_field.as_str(), found_code.as_str()), (field, code), "{detail}");
        assert!(detail.contains(word), "{detail} does not name {word}");
    }
}

#[test]
fn cycles_are_refused_with_their_nodes_and_no_others() {
    let (field, code, detail) = flaw(|v| {
        v["edges"]
            .as_array_mut()
            .unwrap()
            .push(json!({"from": "large.error", "to": "large.in"}));
        v["edges"]
            .as_array_mut()
            .unwrap()
            .push(json!({"from": "join.out", "to": "small.in"}));
    });
    assert_eq!((field.as_str(), code.as_str()), ("definition.nodes[1]", "cycle"));
    assert!(
        detail.contains("large") && detail.contains("small") && detail.contains("join") && !detail.contains("check"),
        "{detail}"
    );
}

#[test]
fn definitions_are_taken_up_to_their_bounds() {
    let passthrough = |id: String| json!({"id": id, "component": "passthrough"});
    let nodes = |count: usize| {
        let edges: Vec<_> = (0..count).map(|n| json!({"from": "input.a", "to": format!("n{n}.in")})).collect();
        let nodes: Vec<_> = (0..count).map(|n| passthrough(format!("n{n}"))).collect();
        json!({"name": "x", "inputs": {"a": {}}, "nodes": nodes, "edges": edges})
    };
    // `collect` takes any number of edges: more edges than nodes.
    let edges = |count: usize| {
        let inputs: serde_json::Map<_, _> = (0..count).map(|n| (format!("a{n}"), json!({}))).collect();
        let edges: Vec<_> = (0..count)
            .map(|n| json!({"from": format!("input.a{n}"), "to": "n.items"}))
            .collect();
        json!({"name": "x", "inputs": inputs, "nodes": [{"id": "n", "component": "collect"}], "edges": edges})
    };
    let named = |name: usize, version: usize| {
        let mut it = good();
        it["name"] = json!("n".repeat(name));
        it["version"] = json!("v".repeat(version));
        it
    };
    let expressions = |count: usize| {
        let body = vec!["=1"; count];
        json!({"name": "x", "nodes": [{"id": "n", "component": "http.request", "config": {"url": "https://x.example/", "body": {"a": body}}}]})
    };
    let retry = |attempts: u32, initial_ms: u64, max_ms: u64| {
        let mut it = good();
        it["nodes"][1]["retry"] = json!({"attempts": attempts, "initial_ms": initial_ms, "max_ms": max_ms});
        it
    };
    let sized = |bytes: usize| {
        let mut it = good();
        it["nodes"][2] = json!({"id": "small", "component": "llm.invoke", "config": {"model": {"provider": "p", "model": "m"}, "messages": [{"role": "user", "content": ""}]}});
        it["edges"][4]["from"] = json!("small.finish_reason");
        let rest = bytes - it.to_string().len();
        it["nodes"][2]["config"]["messages"][0]["content"] = json!("x".repeat(rest));
        assert_eq!(it.to_string().len(), bytes);
        it
    };
    let hour = 60 * RETRY_BACKOFF_MAX_MS;
    for (definition, refused) in [
        (nodes(NODES_MAX), None),
        (nodes(NODES_MAX + 1), Some("definition.nodes")),
        (edges(EDGES_MAX), None),
        (edges(EDGES_MAX + 1), Some("definition.edges")),
        (named(NAME_MAX_CHARS, NAME_MAX_CHARS), None),
        (named(NAME_MAX_CHARS + 1, 1), Some("definition.name")),
        (named(1, NAME_MAX_CHARS + 1), Some("definition.version")),
        (expressions(64), None),
        (expressions(65), Some("definition.nodes[0].config")),
        (retry(100, 0, 0), None),
        (retry(101, 0, 0), Some("definition.nodes[1].retry")),
        (retry(1, 5, 5), None),
        (retry(1, 6, 5), Some("definition.nodes[1].retry")),
        (retry(1, 0, hour), None),
        (retry(1, 0, hour + 1), Some("definition.nodes[1].retry")),
        (sized(DEFINITION_MAX_BYTES), None),
        (sized(DEFINITION_MAX_BYTES + 1), Some("definition")),
    ] {
        let found = load(definition).err().map(|error| error.flaws[0].field.clone());
        assert_eq!(found.as_deref(), refused);
    }
    for (key, value) in [("name", json!(3)), ("version", json!(true)), ("name", Value::Null)] {
        let (field, code, _) = flaw(|v| v[key] = value);
        assert_eq!((field, code.as_str()), (format!("definition.{key}"), "bad_definition"));
    }
    let (field, _, detail) = flaw(|v| drop(v.as_object_mut().unwrap().remove("name")));
    assert_eq!(
        (field.as_str(), detail.as_str()),
        ("definition.name", "`name` is a text of at most 200 characters")
    );
    // The text has the bound of the object: comments and blanks count.
    let text = |bytes: usize| {
        let yaml = "{name: x, nodes: [{id: n, component: collect, config: {}}], edges: [{from: input.a, to: n.items}], inputs: {a: {}}} #";
        Definition::from_text(&format!("{yaml}{}", "x".repeat(bytes - yaml.len())), Registry::builtin())
    };
    text(DEFINITION_MAX_BYTES).unwrap();
    assert_eq!(text(DEFINITION_MAX_BYTES + 1).unwrap_err().flaws[0].code, "too_large");
}

#[test]
fn a_text_is_as_deep_as_json_may_be() {
    let deep = |levels: usize| {
        let body = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let config = format!("{{url: 'https://x.example/', body: {body}}}");
        Definition::from_text(
            &format!("{{name: x, nodes: [{{id: n, component: http.request, config: {config}}}]}}"),
            Registry::builtin(),
        )
    };
    // Inside the definition, its nodes, the node and the config; a value itself is level 0.
    deep(JSON_MAX_DEPTH - 3).unwrap();
    let error = deep(JSON_MAX_DEPTH - 2).unwrap_err();
    assert_eq!(
        error.flaws[0].code, "bad_definition",
        "refused as JSON, not by the reader of YAML: {error}"
    );
}

#[test]
fn an_answer_lists_twenty_flaws_and_counts_the_rest() {
    let flawed = |count: usize| {
        let nodes: Vec<_> = (0..count).map(|n| json!({"id": format!("n{n}"), "component": "magic"})).collect();
        let problem = load(json!({"name": "x", "nodes": nodes})).unwrap_err().problem();
        let listed = (0..count).filter(|n| problem.detail.contains(&format!("node `n{n}`"))).count();
        (listed, problem.detail.split("; and ").nth(1).map(str::to_owned))
    };
    assert_eq!(flawed(19), (19, None));
    assert_eq!(flawed(20), (20, None));
    assert_eq!(flawed(21), (20, Some("1 more".to_owned())));
    assert_eq!(flawed(25), (20, Some("5 more".to_owned())));
}

#[test]
fn all_problems_are_listed() {
    let mut value = good();
    value["nodes"][0]["component"] = json!("magic");
    value["nodes"][1]["config"]["expression"] = json!("1 +");
    value["edges"][5]["from"] = json!("ghost.out");
    let problem = load(value).unwrap_err().problem();
    assert_eq!(problem.code, "unknown_component");
    let listed: Vec<_> = problem.context.errors.iter().map(|e| (e.field.as_str(), e.code.as_str())).collect();
    assert!(
        listed.contains(&("definition.nodes[1].config.expression", "bad_expression")),
        "{listed:?}"
    );
    assert!(listed.len() > 2 && problem.context.errors[0].code == problem.code, "{listed:?}");
    for word in ["magic", "definition.nodes[1].config.expression", "ghost"] {
        assert!(problem.detail.contains(word), "{}", problem.detail);
    }
}

#[test]
fn hostile_texts_are_refused() {
    let registry = Registry::builtin();
    let code = |text: &str| Definition::from_text(text, registry).unwrap_err().flaws[0].code.clone();
    assert_eq!(code(&"x".repeat(DEFINITION_MAX_BYTES + 1)), "too_large");
    assert_eq!(code(&"[".repeat(10_000)), "bad_yaml");
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 0..9u8 {
        let (this, last) = ((b'b' + i) as char, (b'a' + i) as char);
        bomb.push_str(&format!(
            "{this}: &{this} [*{last},*{last},*{last},*{last},*{last},*{last},*{last},*{last},*{last}]\n"
        ));
    }
    assert_eq!(code(&bomb), "bad_yaml");
    assert_eq!(code("just a text"), "bad_definition");
    assert_eq!(code(""), "bad_definition");
}

#[test]
fn secrets_are_never_written_into_a_definition() {
    let http = |headers: Value, url: &str| {
        load(json!({"name": "x", "nodes": [{"id": "call", "component": "http.request", "config": {"url": url, "headers": headers}}]}))
    };
    assert_eq!(
        http(json!({"Authorization": "Bearer abc"}), "https://x.example/")
            .unwrap_err()
            .flaws[0]
            .code,
        "secret_in_clear"
    );
    assert_eq!(http(json!({}), "https://user:pw@x.example/").unwrap_err().flaws[0].code, "bad_url");
    http(json!({"Authorization": "Bearer {{secret:API}}"}), "https://x.example/").unwrap();
    let webhook = json!({"name": "x", "nodes": [{"id": "call", "component": "webhook.call",
        "config": {"url": "https://x.example/", "type": "t", "secret": "whsec_abc"}}]});
    assert_eq!(load(webhook).unwrap_err().flaws[0].code, "secret_in_clear");
}
