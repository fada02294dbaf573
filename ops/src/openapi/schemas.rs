//! Schemas of the document: hoisted out of the commands, and those of answers. Also the checked-in JSON Schemas.

use super::{enums, pascal};
use crate::{cloudevents, told};
use quipu_runtime::api::KindInfo;
use quipu_schemas::{envelope::Receipt, problem::Problem};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// `#/components/schemas` under construction.
#[derive(Default)]
pub(crate) struct Components {
    schemas: BTreeMap<String, Value>,
    /// Definitions as they came, by the name that they got.
    originals: BTreeMap<String, Value>,
}

impl Components {
    /// Takes a command's schema over, its definitions beside it, and returns a reference to it.
    ///
    /// Equal definitions of several commands become one; unequal ones of the same name get the kind before theirs.
    pub(crate) fn hoist(&mut self, kind: &str, command: &str, schema: &Value) -> Value {
        let mut schema = schema.clone();
        enums::fold(&mut schema);
        self.hoist_folded(kind, command, schema)
    }

    /// The same, of a schema whose enumerations are folded.
    pub(crate) fn hoist_folded(&mut self, kind: &str, command: &str, mut schema: Value) -> Value {
        let definitions = take_definitions(&mut schema);
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for (name, definition) in &definitions {
            // Compared before references are rewritten: both sides then still have schemars' own names.
            let taken = self.originals.get(name);
            let hoisted = if taken.is_none_or(|there| there == definition) {
                name.clone()
            } else {
                format!("{}{name}", pascal(kind))
            };
            names.insert(name.clone(), hoisted);
        }
        for (name, definition) in definitions {
            let hoisted = names[&name].clone();
            self.originals.entry(hoisted.clone()).or_insert_with(|| definition.clone());
            let mut definition = definition;
            rewrite(&mut definition, &names);
            self.schemas.entry(hoisted).or_insert(definition);
        }
        rewrite(&mut schema, &names);
        if schema.get("$ref").is_some()
            && schema
                .as_object()
                .is_some_and(|object| object.keys().all(|k| k == "$ref" || k == "description"))
        {
            return json!({ "$ref": schema["$ref"] });
        }
        let name = format!("{}{}Body", pascal(kind), pascal(command));
        self.schemas.insert(name.clone(), schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// Adds a schema under a name of its own, its definitions beside it.
    pub(crate) fn add(&mut self, name: &str, mut schema: Value) {
        enums::fold(&mut schema);
        let definitions = take_definitions(&mut schema);
        let names: BTreeMap<_, _> = definitions.keys().map(|name| (name.clone(), name.clone())).collect();
        for (inner, mut definition) in definitions {
            rewrite(&mut definition, &names);
            debug_assert!(
                self.schemas.get(&inner).is_none_or(|there| *there == definition),
                "two schemas are called {inner}"
            );
            self.schemas.entry(inner).or_insert(definition);
        }
        rewrite(&mut schema, &names);
        refer_to_itself(&mut schema, name);
        self.schemas.insert(name.to_owned(), schema);
    }

    /// All of them, with those of answers.
    pub(crate) fn into_schemas(mut self) -> Value {
        for (name, schema) in answers() {
            self.add(name, schema);
        }
        Value::Object(self.schemas.into_iter().collect())
    }
}

fn take_definitions(schema: &mut Value) -> Map<String, Value> {
    let Some(object) = schema.as_object_mut() else { return Map::new() };
    object.remove("$schema");
    match object.remove("$defs") {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    }
}

/// `#/$defs/X` → `#/components/schemas/X`, by its new name.
fn rewrite(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, names)),
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                let name = names.get(name).map_or(name, String::as_str).to_owned();
                *target = format!("#/components/schemas/{name}");
            }
            map.values_mut().for_each(|item| rewrite(item, names));
        }
        _ => {}
    }
}

/// `#` → `#/components/schemas/X`: a schema that holds itself was the whole document before.
fn refer_to_itself(value: &mut Value, name: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| refer_to_itself(item, name)),
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref")
                && target == "#"
            {
                *target = format!("#/components/schemas/{name}");
            }
            map.values_mut().for_each(|item| refer_to_itself(item, name));
        }
        _ => {}
    }
}

/// Drops schemas that are not reachable from here: nobody can send or get them.
pub(crate) fn keep_used(schemas: &mut Value, from: &Value) {
    const HERE: &str = "#/components/schemas/";
    let (mut used, mut open) = (BTreeSet::new(), Vec::new());
    references_to(from, HERE, &mut open);
    while let Some(name) = open.pop() {
        if used.insert(name.clone()) {
            references_to(&schemas[&name], HERE, &mut open);
        }
    }
    if let Some(all) = schemas.as_object_mut() {
        all.retain(|name, _| used.contains(name));
    }
}

/// A page of what this reference describes.
pub(crate) fn page(item: &str) -> Value {
    json!({
        "type": "object", "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": { "$ref": item } },
            "next": { "type": ["string", "null"], "description": "`after` of the next page; null on the last." }
        }
    })
}

/// A page of a stream's history.
fn history() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let record = json!({
        "type": "object",
        "description": "What one command did: its events, and what must follow them.",
        "required": ["position", "first_version", "version", "time", "command_id", "principal", "events", "previous_hash", "hash"],
        "properties": {
            "position": text("Where it is in the log."),
            "first_version": { "type": "integer", "description": "Version of its first event." },
            "version": { "type": "integer", "description": "Version of its last event." },
            "time": { "type": "string", "format": "date-time" },
            "command_id": text("The id of the command."),
            "principal": text("Who sent it."),
            "on_behalf_of": text("The principal on whose behalf it was sent."),
            "home": text("The org that the two belong to, where that is not the stream's. People belong to none."),
            "credential": text("The credential that its sender showed, `KIND/ID`; none where that was the node's token."),
            "correlation": text("What it shares with everything that the same request caused."),
            "causation": text("What caused it."),
            "events": { "type": "array", "items": { "$ref": "#/$defs/CloudEvent" } },
            "reactions": { "type": "array", "items": { "type": "object" }, "description": "What must follow: effects, timers, commands to other entities." },
            "settlement": { "type": "object", "description": "The effect, timer or command whose outcome it records." },
            "previous_hash": text("Hash of the record before."),
            "hash": text("Hash of this record."),
        },
    });
    let mut page = page("#/$defs/HistoryRecord");
    page["$defs"] = json!({ "HistoryRecord": record, "CloudEvent": cloudevents::schema() });
    page
}

/// Schemas of answers, by name.
fn answers() -> impl Iterator<Item = (&'static str, Value)> {
    let told = told::schemas();
    let others = [
        ("Problem", schemars::schema_for!(Problem).to_value()),
        ("Receipt", schemars::schema_for!(Receipt).to_value()),
        ("CloudEvent", cloudevents::schema()),
        (
            "Stats",
            json!({
                "type": "object",
                "description": "By view, how many rows it has of the org, and by what its columns hold.",
                "additionalProperties": {
                    "type": "object",
                    "required": ["total"],
                    "properties": { "total": { "type": "integer" } },
                    "additionalProperties": { "type": "object", "additionalProperties": { "type": "integer" } },
                },
            }),
        ),
        ("HistoryPage", history()),
        (
            "StateAt",
            json!({
                "type": "object", "required": ["stream", "version", "time", "digest", "state"],
                "properties": {
                    "stream": { "type": "string" }, "version": { "type": "integer" },
                    "time": { "type": "integer", "description": "Milliseconds since 1970 of the last event folded." },
                    "digest": { "type": "string", "description": "SHA-256 over the state's stored form." },
                    "state": {}
                }
            }),
        ),
        (
            "VolatileWord",
            json!({
                "oneOf": [
                    { "type": "object", "title": "Typing", "required": ["typing"], "additionalProperties": false, "properties": { "typing": { "type": "boolean" } } },
                    { "type": "object", "title": "Online", "required": ["online"], "additionalProperties": false, "properties": { "online": { "type": "boolean" } } },
                    {
                        "type": "object", "title": "InstanceSaid", "required": ["instance"], "additionalProperties": false,
                        "description": "To an entity of the directory: how one of its instances is, said again within 90 seconds. Takes cap:entity.sync, or a binding of the entity to the sender.",
                        "properties": { "instance": {
                            "type": "object", "required": ["id", "status"], "additionalProperties": false,
                            "properties": {
                                "id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
                                "status": { "type": "string", "enum": ["available", "busy", "offline"] },
                                "load": { "type": "integer", "minimum": 0, "maximum": 100, "default": 0 }
                            }
                        } }
                    }
                ]
            }),
        ),
    ];
    others.into_iter().chain(told)
}

/// The checked-in JSON Schemas, by file name: commands, events, and answers, each complete by itself.
pub fn json_schemas(kinds: &[KindInfo]) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut put = |name: String, title: String, schema: &Value| {
        let mut schema = schema.clone();
        enums::fold(&mut schema);
        if let Some(object) = schema.as_object_mut() {
            object.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
            object.insert("title".into(), title.into());
            keep_used_definitions(object);
        }
        all.insert(format!("{name}.json"), schema);
    };
    for kind in kinds {
        for command in &kind.commands {
            let name = format!("{}.{}", kind.kind, command.name);
            put(format!("commands/{name}"), name, &command.schema);
        }
        for event in &kind.events {
            put(format!("events/{}", event.name), event.name.clone(), &event.schema);
        }
    }
    for (name, schema) in answers() {
        put(format!("answers/{}", name.to_lowercase()), name.to_owned(), &schema);
    }
    all
}

/// A kind's definitions come with each of its schemas; a schema keeps those that it reaches.
fn keep_used_definitions(schema: &mut Map<String, Value>) {
    let Some(Value::Object(definitions)) = schema.remove("$defs") else {
        return;
    };
    let mut used: BTreeMap<String, Value> = BTreeMap::new();
    let mut open: Vec<String> = Vec::new();
    references_to(&Value::Object(schema.clone()), DEFINITIONS, &mut open);
    while let Some(name) = open.pop() {
        if let Some(definition) = definitions.get(&name).filter(|_| !used.contains_key(&name)) {
            references_to(definition, DEFINITIONS, &mut open);
            used.insert(name, definition.clone());
        }
    }
    if !used.is_empty() {
        schema.insert("$defs".into(), Value::Object(used.into_iter().collect()));
    }
}

const DEFINITIONS: &str = "#/$defs/";

/// Names that are referred to in this place.
fn references_to(value: &Value, place: &str, out: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references_to(item, place, out)),
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(place)) {
                out.push(name.to_owned());
            }
            map.values().for_each(|item| references_to(item, place, out));
        }
        _ => {}
    }
}
