//! Whatever bytes and texts come in, decoders answer with a value or an error and never panic.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p quipu-tests --test laws fuzz_decoders` looks longer. What was once found
//! to break a decoder stands below as a case of its own.

use proptest::prelude::*;
use quipu_rules::components::Registry;
use quipu_runtime::kinds::Kinds;
use quipu_schemas::position::{Cursor, LogId};
use quipu_tests::decoding::{
    evaluate, frame_of, header, load, parse_command, read_frame, read_record, read_texts, sample, sealed_frame, sealed_record,
};
use serde_json::{Value, json};

/// Every public command of every kind, with a body of its schema's field names.
fn commands() -> Vec<(String, String, Vec<String>)> {
    let mut out = Vec::new();
    for kind in Kinds::builtin().info() {
        for command in kind.commands {
            let mut fields = Vec::new();
            collect_fields(&command.schema, &mut fields);
            fields.sort();
            fields.dedup();
            out.push((kind.kind.clone(), command.name, fields));
        }
    }
    out
}

fn collect_fields(schema: &Value, out: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                out.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| collect_fields(value, out));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_fields(value, out)),
        _ => {}
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no infinity", |f| f.is_finite())
            .prop_map(Value::from),
        "\\PC{0,24}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "group",
            "private",
            "person",
            "agent",
            "member",
            "owner",
            "normal",
            "ada",
            "acme",
            "=1",
            "http",
            "GET",
            "https://x.example/y",
            "scripted",
            "text"
        ])
        .prop_map(Value::from),
    ]
}

fn body(fields: Vec<String>) -> impl Strategy<Value = Value> {
    let name = prop_oneof![9 => prop::sample::select(if fields.is_empty() { vec!["x".to_owned()] } else { fields }), 1 => "\\PC{0,8}"];
    let inner = name.clone();
    let value = leaf().prop_recursive(3, 16, 4, move |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(inner.clone(), value, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(name, value, 0..6).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// A definition in the rough: mostly right words in mostly right places.
fn definition() -> impl Strategy<Value = Value> {
    let id = prop::sample::select(vec!["a", "b", "c", "input", "output", "", "a b"]);
    let component = prop::sample::select(Registry::builtin().names().into_iter().chain(["nothing"]).collect::<Vec<_>>());
    let config = prop::collection::btree_map(
        prop::sample::select(vec![
            "expression",
            "cases",
            "default",
            "ms",
            "signal",
            "url",
            "type",
            "secret",
            "data",
            "conversation",
            "body",
            "count",
            "when",
            "port",
            "approvers",
            "model",
            "messages",
            "method",
            "ports",
        ]),
        prop_oneof![
            leaf(),
            source().prop_map(|s| Value::from(format!("={s}"))),
            prop::collection::vec(leaf(), 0..3).prop_map(Value::from)
        ],
        0..4,
    );
    let node =
        (id.clone(), component, config).prop_map(|(id, component, config)| json!({ "id": id, "component": component, "config": config }));
    let end =
        (id, prop::sample::select(vec!["in", "out", "x", "error", "items", "true", "false"])).prop_map(|(id, port)| format!("{id}.{port}"));
    let edge = (end.clone(), end).prop_map(|(from, to)| json!({ "from": from, "to": to }));
    let inputs = prop::collection::btree_map(
        prop::sample::select(vec!["in", "x", "a"]),
        prop_oneof![Just(json!({})), leaf()],
        0..2,
    );
    (prop::collection::vec(node, 0..5), prop::collection::vec(edge, 0..6), inputs.clone(), inputs)
        .prop_map(|(nodes, edges, inputs, outputs)| json!({ "name": "fuzz", "nodes": nodes, "edges": edges, "inputs": inputs, "outputs": outputs }))
}

/// Expressions in the rough.
fn source() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "input",
        "run",
        "x",
        "1",
        "-9223372036854775808",
        "18446744073709551615u",
        "1.5",
        "\"t\"",
        "'s'",
        "null",
        "true",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ",",
        ".",
        ".a",
        ".b",
        ".map(x, x)",
        ".all(x, x > 1)",
        ".filter(x, true)",
        "size(",
        "string(",
        "int(",
        "has(input.a)",
        "in",
        " ",
        "input.a.b",
        "[0]",
        "\"\\u00\"",
        "r'\\'",
        "b'x'",
        "ü",
        "\u{0}",
    ]);
    prop_oneof![3 => prop::collection::vec(word, 0..14).prop_map(|words| words.concat()), 1 => "[ -~]{0,40}", 1 => "\\PC{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_record(&bytes);
    }

    #[test]
    fn records_with_changed_bytes(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let mut bytes = sample();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        read_record(&bytes);
    }

    #[test]
    fn records_of_any_json_under_right_checksums(header_body in (body(header_fields()), body(vec!["events".into(), "reactions".into(), "type".into(), "data".into(), "version".into()]))) {
        let mut value = serde_json::to_value(header(u64::MAX)).expect("JSON");
        for (name, other) in header_body.0.as_object().expect("an object") {
            value[name] = other.clone();
        }
        read_record(&sealed_record(value.to_string().as_bytes(), header_body.1.to_string().as_bytes()));
        read_record(&sealed_record(header_body.0.to_string().as_bytes(), b"{}"));
    }

    #[test]
    fn frames_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_frame(&bytes);
        let mut framed = frame_of(&[sample()], None);
        let end = framed.len();
        framed[4..].iter_mut().zip(&bytes).for_each(|(a, b)| *a = *b);
        framed.truncate(end);
        read_frame(&framed);
        read_frame(&sealed_frame(framed));
    }

    #[test]
    fn frames_with_changed_numbers(claim in any::<bool>(), changes in prop::collection::vec((0usize..108, any::<u8>()), 1..4), inside in any::<(prop::sample::Index, u8)>()) {
        let mut bytes = if claim { frame_of(&[], Some("node-1")) } else { frame_of(&[sample(), sample()], None) };
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let at = inside.0.index(bytes.len());
        bytes[at] = inside.1;
        read_frame(&bytes);
        read_frame(&sealed_frame(bytes));
    }

    #[test]
    fn texts_of_the_grid(text in prop_oneof!["\\PC{0,60}", "p[0-9.]{0,40}", "[a-z0-9_/@.-]{0,60}", "[A-Za-z0-9_=-]{0,200}", "acme/run/r@[0-9]{1,25}\\.[0-9]{1,12}"]) {
        read_texts(&text);
    }

    #[test]
    fn cursors_with_changed_letters(next in prop::collection::vec(any::<u64>(), 1..20), at in any::<prop::sample::Index>(), letter in any::<char>()) {
        let cursor = Cursor { log: LogId([3; 16]), generation: 1, next };
        let text = cursor.to_string();
        prop_assert_eq!(text.parse::<Cursor>(), Ok(cursor));
        let mut letters: Vec<char> = text.chars().collect();
        let at = at.index(letters.len());
        letters[at] = letter;
        read_texts(&letters.into_iter().collect::<String>());
    }

    #[test]
    fn expressions(source in source()) {
        evaluate(&source);
    }

    #[test]
    fn definitions_as_json_and_yaml(definition in definition()) {
        load(&definition.to_string());
    }

    #[test]
    fn definitions_of_any_text(text in prop_oneof!["\\PC{0,80}", "[a-z&*:{}\\[\\], \n\"'!|>-]{0,80}"]) {
        load(&text);
    }

    #[test]
    fn commands_of_every_kind((kind, command, body) in prop::sample::select(commands()).prop_flat_map(|(kind, command, fields)| (Just(kind), Just(command), body(fields)))) {
        parse_command(&kind, &command, body);
    }
}

fn header_fields() -> Vec<String> {
    let header = serde_json::to_value(header(1)).expect("JSON");
    header
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .chain(["settlement".into(), "correlation".into()])
        .collect()
}

/// `PROPTEST_CASES`, or this many.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn every_command_takes_or_refuses_an_empty_body() {
    for (kind, command, _) in commands() {
        for body in [json!({}), json!(null), json!([]), json!(7), json!(""), json!({ "": {} })] {
            parse_command(&kind, &command, body);
        }
        parse_command(&kind, "no_such_command", json!({}));
    }
}

#[test]
fn a_billion_laughs_and_other_bombs_are_refused_soon() {
    let begun = std::time::Instant::now();
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        let inner = vec![format!("*a{}", n - 1); 9].join(",");
        laughs.push_str(&format!("a{n}: &a{n} [{inner}]\n"));
    }
    for text in [
        laughs,
        "[".repeat(60_000),
        "{\"nodes\":".repeat(7_000),
        "- ".repeat(30_000),
        "? ".repeat(30_000),
        format!("name: {}", "x".repeat(63_000)),
        "name: x\nnodes: &n [*n]".to_owned(),
        "<<: *x".to_owned(),
        "!!binary x".to_owned(),
        "\u{feff}name: x".to_owned(),
        "name: .nan\nnodes: []".to_owned(),
    ] {
        load(&text);
    }
    for source in [
        "(".repeat(4_000),
        "[".repeat(4_000),
        "-".repeat(4_000),
        "!".repeat(4_000),
        "a.".repeat(2_000),
        format!("{}1", "1+".repeat(2_000)),
        "[1,2,3,4,5,6,7,8,9].map(a,[1,2,3,4,5,6,7,8,9].map(b,[1,2,3,4,5,6,7,8,9].map(c,[a,b,c])))".to_owned(),
        "input.s + input.s + input.s".to_owned(),
        "input.n - 1".to_owned(),
        "-input.n".to_owned(),
        "input.n / -1".to_owned(),
        "input.n % -1".to_owned(),
        "1 / 0".to_owned(),
        "1 % 0".to_owned(),
        "1.0 / 0.0".to_owned(),
        "int(1e300)".to_owned(),
        "uint(-1)".to_owned(),
        "string(input)".to_owned(),
        "input.a.b[9223372036854775807]".to_owned(),
        "input.a.b[-1]".to_owned(),
        "\"\\ud800\"".to_owned(),
        "'\\".to_owned(),
    ] {
        evaluate(&source);
    }
    assert!(begun.elapsed().as_secs() < 60, "bombs took {:?}", begun.elapsed());
}

#[test]
fn numbers_at_their_ends_are_read_or_refused() {
    for text in [
        "p0.0.0",
        "p65535.18446744073709551615.4294967295",
        "p65536.0.0",
        "p0.18446744073709551616.0",
        "p-1.0.0",
        "p+1.0.0",
        "p0.0",
        "p0.0.0.0",
        "acme/run/r@18446744073709551615.4294967295",
        "acme/run/r@18446744073709551616.0",
        "acme/run/r@1.-1",
        "@.",
        "",
    ] {
        read_texts(text);
    }
    read_record(&sealed_record(
        serde_json::to_string(&header(u64::MAX)).expect("JSON").as_bytes(),
        br#"{"events":[{"type":"t","data":{}}]}"#,
    ));
    read_record(&sealed_record(
        serde_json::to_string(&header(0)).expect("JSON").as_bytes(),
        br#"{"events":[{"type":"t","data":{}}]}"#,
    ));
    read_record(&sealed_record(b"", b""));
    read_frame(&sealed_frame(vec![0xFF; 200]));
}
