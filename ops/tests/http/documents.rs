//! Checked-in documents are what the code says. `QUIPU_BLESS=1` writes them.

use super::*;
use quipu::{asyncapi, openapi};
use quipu_projections::families::Families;
use quipu_runtime::kinds::Kinds;
use std::{fs, path::PathBuf};

fn schemas() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

fn check(path: &PathBuf, value: &Value, stale: &mut Vec<String>) {
    let text = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    if std::env::var_os("QUIPU_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &text).unwrap();
    }
    if fs::read_to_string(path).unwrap_or_default() != text {
        stale.push(path.display().to_string());
    }
}

#[test]
fn openapi_asyncapi_and_json_schemas_are_what_the_code_says() {
    let kinds = Kinds::builtin().info();
    let mut stale = Vec::new();
    check(
        &schemas().join("openapi.json"),
        &openapi::document(&kinds, Families::house()),
        &mut stale,
    );
    check(&schemas().join("asyncapi.json"), &asyncapi::document(&kinds), &mut stale);
    let all = openapi::json_schemas(&kinds);
    for (name, schema) in &all {
        check(&schemas().join("json").join(name), schema, &mut stale);
    }
    for folder in ["commands", "events", "answers"] {
        for entry in fs::read_dir(schemas().join("json").join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            if !all.contains_key(&name) {
                stale.push(format!("{name} (to be deleted)"));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "run QUIPU_BLESS=1 cargo test -p quipu --test http documents: {stale:#?}"
    );
}

fn references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        Value::Object(map) => {
            out.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|item| references(item, out));
        }
        _ => {}
    }
}

#[test]
fn references_resolve_and_operation_names_are_unique() {
    let document = openapi::document(&Kinds::builtin().info(), Families::house());
    let mut all = Vec::new();
    references(&document, &mut all);
    for reference in all {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
        assert!(pointer.starts_with("/components/"), "{reference} does not name a component");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(
                names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{method} {path}"
            );
            // Path parameters of the template are described, and no others.
            let mut described: Vec<String> = Vec::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let parameter = parameter["$ref"].as_str().map_or(parameter, |r| document.pointer(&r[1..]).unwrap());
                if parameter["in"] == "path" {
                    described.push(format!("{{{}}}", parameter["name"].as_str().unwrap()));
                }
            }
            described.sort();
            let mut wanted: Vec<_> = path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
            wanted.sort();
            assert_eq!(described, wanted, "{method} {path}");
        }
    }
}

/// A client is generated from the schemas: a bare object gives it nothing to work with.
#[test]
fn every_json_answer_of_operators_has_named_fields() {
    let document = openapi::document(&Kinds::builtin().info(), Families::house());
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/v1/ops/") && !path.starts_with("/health") {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let (_, success) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
            let schema = &success["content"]["application/json"]["schema"];
            let schema = schema["$ref"].as_str().map_or(schema, |r| document.pointer(&r[1..]).unwrap());
            let fields = schema["properties"].as_object().map_or(0, serde_json::Map::len);
            assert!(fields > 0, "{method} {path}: {schema}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn asyncapi_resolves_and_names_every_command_and_event_once() {
    let kinds = Kinds::builtin().info();
    let document = asyncapi::document(&kinds);
    let mut all = Vec::new();
    references(&document, &mut all);
    for reference in all {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let channels = document["channels"].as_object().unwrap();
    let count = |family: &str| {
        let addresses = channels.values().filter_map(|channel| channel["address"].as_str());
        addresses.filter(|address| address.starts_with(family)).count()
    };
    let commands = kinds.iter().map(|kind| kind.commands.len()).sum();
    let events: usize = kinds.iter().map(|kind| kind.events.len()).sum();
    assert_eq!((count("quipu.v1.call."), count("quipu.v1.cmd.")), (commands, commands));
    assert!(count("quipu.v1.feed.") > 0 && count("quipu.v1.feed.") <= events);
    let messages = document["components"]["messages"].as_object().unwrap();
    // Commands and answers have other headers on Kafka.
    assert_eq!(messages.len(), 2 * (commands + 2) + events);
    assert_eq!(channels["kafkaCommands"]["messages"].as_object().unwrap().len(), commands);
    assert_eq!(channels["kafkaFeed"]["messages"].as_object().unwrap().len(), events);
    for (name, channel) in channels {
        // Parameters of the address are described, and no others.
        let address = channel["address"].as_str().unwrap_or_default();
        let mut wanted: Vec<&str> = address.split(['{', '}']).skip(1).step_by(2).collect();
        wanted.sort_unstable();
        let mut described: Vec<&String> = channel["parameters"].as_object().unwrap().keys().collect();
        described.sort_unstable();
        assert_eq!(described, wanted, "{name}");
    }
}

/// Families of subjects and topics, as the sources of the bus name them.
fn families_of_the_bus() -> Vec<String> {
    fn walk(folder: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(path, found);
            } else {
                found.push(path);
            }
        }
    }
    let bus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/bus");
    let mut sources = Vec::new();
    walk(bus.clone(), &mut sources);
    let mut families: Vec<String> = Vec::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        // Up to where tests begin, which name subjects of every sort.
        let text = text.split("#[cfg(test)]").next().unwrap();
        let literals = text.split("\"quipu.v1.").skip(1);
        families.extend(literals.map(|rest| format!("quipu.v1.{}", rest.split(['"', '.', '{']).next().unwrap())));
    }
    // Marks are the nodes' own.
    let topics = fs::read_to_string(bus.join("topic.rs")).unwrap();
    let topics = topics.split("`{prefix}.").skip(1).filter_map(|rest| rest.split('`').next());
    families.extend(
        topics
            .filter(|topic| *topic != "marks" && !topic.contains('{'))
            .map(|topic| format!("quipu.{topic}")),
    );
    families.sort();
    families.dedup();
    families
}

/// What the code speaks on and no channel has would be an interface that nobody is told of.
#[test]
fn every_subject_and_topic_stands_in_the_document() {
    let document = asyncapi::document(&Kinds::builtin().info());
    let channels = document["channels"].as_object().unwrap();
    let addresses: Vec<&str> = channels.values().filter_map(|channel| channel["address"].as_str()).collect();
    let families = families_of_the_bus();
    assert!(families.len() >= 7, "{families:?}");
    for family in &families {
        let is_told = addresses
            .iter()
            .any(|address| *address == family || address.starts_with(&format!("{family}.")));
        assert!(is_told, "{family} stands in no document");
    }
    for address in addresses {
        assert!(
            families.iter().any(|family| address.starts_with(family.as_str())),
            "nothing speaks on {address}"
        );
    }
    for (name, operation) in document["operations"].as_object().unwrap() {
        let right = operation["x-quipu-right"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} tells no right"));
        assert!(right == "broker" || right.starts_with("cap:"), "{name}: {right}");
        let is_command = operation["action"] == "receive";
        assert_eq!(is_command, right.starts_with("cap:"), "{name}");
    }
    for (name, server) in document["servers"].as_object().unwrap() {
        let scheme = server["security"][0]["$ref"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} asks for nothing"));
        assert!(document.pointer(&scheme[1..]).is_some(), "{scheme}");
    }
}

#[tokio::test]
async fn a_node_serves_its_documents() {
    let node = TestNode::start().await;
    let served = node.get("/docs/openapi.json").await.expect(200).json();
    assert_eq!(served, openapi::document(&Kinds::builtin().info(), Families::house()));
    let served = node.get("/docs/asyncapi.json").await.expect(200).json();
    assert_eq!(served, asyncapi::document(&Kinds::builtin().info()));
    let page = node.get("/docs/llms.txt").await.expect(200).text;
    assert!(page.contains("### conversations") && page.contains("- `post`"), "{page}");
}

/// What problems send people to must be there, under the name that they say.
#[test]
fn the_chapter_that_a_parked_stream_points_to_exists() {
    let source = include_str!("../../../actors/runtime/src/refusals.rs");
    let chapter = "A parked stream";
    assert!(source.contains(&format!("see `{chapter}` in ops/docs/runbook.md")));
    let runbook = include_str!("../../docs/runbook.md");
    assert!(runbook.contains(&format!("## {chapter}\n")));
    for chapter in [
        "Start",
        "Stop",
        "Health",
        "A damaged partition",
        "Backup and restore",
        "Lost keys",
        "A full disk",
        "Views and index",
    ] {
        assert!(runbook.contains(&format!("## {chapter}\n")), "{chapter}");
    }
}
