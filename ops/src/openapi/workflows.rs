//! Definitions of workflow runs: a schema for the definition, and for a node of each component with its config.

use super::{enums, pascal, schemas::Components};
use quipu_runtime::api::{ComponentInfo, components, definition_schema};
use serde_json::{Map, Value, json};

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Adds the schemas, and gives the `create` command of runs its definition's.
pub(super) fn add(all: &mut Components, create: &mut Value) {
    let Some(field) = create.pointer_mut("/$defs/CreateRun/properties/definition") else {
        debug_assert!(false, "where is the definition in {create}?");
        return;
    };
    *field = json!({
        "anyOf": [reference("Definition"), { "type": "null" }],
        "description": "The definition as a JSON object.",
    });
    let mut definition = definition_schema();
    enums::fold(&mut definition);
    let node = definition["$defs"]["NodeSpec"].take();
    if let Some(definitions) = definition["$defs"].as_object_mut() {
        definitions.remove("NodeSpec");
    }
    let catalogue = components();
    let (mut nodes, mut mapping) = (Vec::new(), Map::new());
    for component in &catalogue {
        let name = pascal(&component.name);
        let (config, own) = (format!("{name}Config"), format!("{name}Node"));
        all.add(&config, config_of(component));
        mapping.insert(component.name.clone(), format!("#/components/schemas/{own}").into());
        nodes.push(reference(&own));
        all.add(&own, node_of(&node, component, &config));
    }
    let any = json!({
        "description": "A node of a workflow, by its component.",
        "oneOf": nodes,
        "discriminator": { "propertyName": "component", "mapping": mapping },
    });
    definition["properties"]["nodes"] = json!({ "type": "array", "description": "The nodes of the graph.", "items": reference("Node") });
    if let Some(object) = definition.as_object_mut() {
        object.insert("title".into(), "Definition".into());
        object.insert("description".into(), "A workflow's definition.".into());
    }
    all.add("Definition", definition);
    all.add("Node", any);
}

fn config_of(component: &ComponentInfo) -> Value {
    let mut config = component.config.clone();
    if let Some(object) = config.as_object_mut() {
        object.insert("title".into(), format!("{}Config", pascal(&component.name)).into());
        object.insert("description".into(), component.about.clone().into());
    }
    config
}

/// The schema of nodes with the component and its config filled in.
fn node_of(node: &Value, component: &ComponentInfo, config: &str) -> Value {
    let mut own = node.clone();
    own["description"] = component.about.clone().into();
    own["properties"]["component"] = json!({ "type": "string", "const": component.name });
    own["properties"]["config"] = reference(config);
    let needs_config = component.config["required"].as_array().is_some_and(|fields| !fields.is_empty());
    if needs_config && let Some(required) = own["required"].as_array_mut() {
        required.push("config".into());
    }
    own
}
