//! Everything that a definition can get wrong, found in one pass.

use super::{Definition, Flaw, INPUT, OUTPUT, plan};
use crate::components::{ERROR_PORT, Port, PortType, Ports, Registry, is_port_name};
use quipu_schemas::limits::{EDGES_MAX, NODES_MAX};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// All flaws, in the order of the definition.
pub(super) fn flaws(definition: &Definition, registry: &Registry) -> Vec<Flaw> {
    let mut found = Found { flaws: Vec::new() };
    if definition.name.trim().is_empty() {
        found.add("definition.name", "bad_definition", "the definition needs a name");
    }
    if definition.nodes.is_empty() || definition.nodes.len() > NODES_MAX {
        found.add("definition.nodes", "bad_definition", format!("1 to {NODES_MAX} nodes are needed"));
        return found.flaws;
    }
    if definition.edges.len() > EDGES_MAX {
        found.add(
            "definition.edges",
            "bad_definition",
            format!("at most {EDGES_MAX} edges are allowed"),
        );
        return found.flaws;
    }
    for (kind, name) in definition
        .inputs
        .keys()
        .map(|n| ("inputs", n))
        .chain(definition.outputs.keys().map(|n| ("outputs", n)))
    {
        if !is_port_name(name) {
            found.add(
                format!("definition.{kind}.{name}"),
                "bad_port",
                "a name is 1 to 64 of A-Z a-z 0-9 _ -",
            );
        }
    }
    let ports = found.nodes(definition, registry);
    found.edges(definition, &ports);
    if found.flaws.is_empty() {
        found.connections(definition, &ports);
        if let Err(cycle) = plan::order(definition) {
            let first = cycle.first().copied().unwrap_or_default();
            let names: Vec<&str> = cycle.iter().map(|i| definition.nodes[*i].id.as_str()).collect();
            let detail = format!("node `{}`: nodes {} form a cycle", definition.nodes[first].id, names.join(", "));
            found.add(format!("definition.nodes[{first}]"), "cycle", detail);
        }
    }
    found.flaws
}

/// Ports by node id; `None` where its component or config is bad and nothing more can be said.
type NodePorts<'a> = BTreeMap<&'a str, Option<Ports>>;

struct Found {
    flaws: Vec<Flaw>,
}

impl Found {
    fn add(&mut self, field: impl Into<String>, code: &str, detail: impl Into<String>) {
        self.flaws.push(Flaw {
            field: field.into(),
            code: code.into(),
            detail: detail.into(),
        });
    }

    fn nodes<'a>(&mut self, definition: &'a Definition, registry: &Registry) -> NodePorts<'a> {
        let mut ports: NodePorts<'a> = BTreeMap::new();
        for (i, node) in definition.nodes.iter().enumerate() {
            let at = format!("definition.nodes[{i}]");
            if !is_port_name(&node.id) || node.id == INPUT || node.id == OUTPUT {
                self.add(
                    format!("{at}.id"),
                    "bad_node_id",
                    format!(
                        "node `{}`: an id is 1 to 64 of A-Z a-z 0-9 _ -, and not `input` or `output`",
                        node.id
                    ),
                );
            }
            if ports.contains_key(node.id.as_str()) {
                self.add(format!("{at}.id"), "duplicate_node", format!("duplicate node id `{}`", node.id));
                continue;
            }
            let Some(component) = registry.get(&node.component) else {
                let known = registry.names().join(", ");
                self.add(
                    format!("{at}.component"),
                    "unknown_component",
                    format!("node `{}`: unknown component `{}`; known: {known}", node.id, node.component),
                );
                ports.insert(&node.id, None);
                continue;
            };
            if expressions(&node.config.0) > 64 {
                self.add(
                    format!("{at}.config"),
                    "bad_config",
                    format!("node `{}`: at most 64 expressions in one node", node.id),
                );
            }
            let flaws = component.check(&node.config.0);
            for flaw in &flaws {
                let field = if flaw.field.is_empty() {
                    format!("{at}.config")
                } else {
                    format!("{at}.config.{}", flaw.field)
                };
                self.add(field, &flaw.code, format!("node `{}`: {}", node.id, flaw.detail));
            }
            if !flaws.is_empty() {
                ports.insert(&node.id, None);
                continue;
            }
            let mut own = component.ports(&node.config.0);
            own.outputs.push(Port::one(ERROR_PORT, PortType::Object));
            for (name, narrow) in &node.ports {
                let Some(port) = own.inputs.iter_mut().chain(&mut own.outputs).find(|p| p.name == *name) else {
                    self.add(
                        format!("{at}.ports.{name}"),
                        "unknown_port",
                        format!("node `{}` has no port `{name}`", node.id),
                    );
                    continue;
                };
                if port.port_type.fits(*narrow) {
                    port.port_type = *narrow;
                } else {
                    let detail = format!(
                        "node `{}`: port `{name}` is of type {}, not {}",
                        node.id,
                        port.port_type.as_str(),
                        narrow.as_str()
                    );
                    self.add(format!("{at}.ports.{name}"), "port_mismatch", detail);
                }
            }
            ports.insert(&node.id, Some(own));
        }
        ports
    }

    fn edges(&mut self, definition: &Definition, ports: &NodePorts<'_>) {
        let mut seen = BTreeSet::new();
        for (i, edge) in definition.edges.iter().enumerate() {
            let at = format!("definition.edges[{i}]");
            if !seen.insert((&edge.from, &edge.to)) {
                self.add(
                    &at,
                    "duplicate_edge",
                    format!("duplicate edge from `{}` to `{}`", edge.from, edge.to),
                );
            }
            let from = self.source(&format!("{at}.from"), &edge.from, definition, ports);
            let to = self.target(&format!("{at}.to"), &edge.to, definition, ports);
            let (Some((from_type, stream)), Some((to_type, counted))) = (from, to) else {
                continue;
            };
            if !from_type.fits(to_type) {
                let detail = format!(
                    "`{}` gives {}, `{}` takes {}",
                    edge.from,
                    from_type.as_str(),
                    edge.to,
                    to_type.as_str()
                );
                self.add(&at, "port_mismatch", detail);
            }
            if stream && !counted {
                let detail = format!(
                    "`{}` is given again and again; `{}` does not count (use `collect` with `count`)",
                    edge.from, edge.to
                );
                self.add(&at, "port_mismatch", detail);
            }
        }
    }

    /// Type of an edge's beginning, and whether it is given again and again.
    fn source(&mut self, field: &str, end: &str, definition: &Definition, ports: &NodePorts<'_>) -> Option<(PortType, bool)> {
        let (node, port) = self.end(field, end)?;
        if node == INPUT {
            let Some(spec) = definition.inputs.get(port) else {
                self.add(field, "unknown_port", format!("the definition has no input `{port}`"));
                return None;
            };
            return Some((spec.port_type, spec.many));
        }
        let own = self.ports_of(field, node, ports)?;
        match own.outputs.iter().find(|p| p.name == port) {
            Some(port) => Some((port.port_type, false)),
            None => {
                self.unknown_port(field, node, port, "output", &own.outputs);
                None
            }
        }
    }

    /// Type of an edge's end, and whether it counts the values of an input that is given again and again.
    fn target(&mut self, field: &str, end: &str, definition: &Definition, ports: &NodePorts<'_>) -> Option<(PortType, bool)> {
        let (node, port) = self.end(field, end)?;
        if node == OUTPUT {
            let Some(spec) = definition.outputs.get(port) else {
                self.add(field, "unknown_port", format!("the definition has no output `{port}`"));
                return None;
            };
            return Some((spec.port_type, false));
        }
        let own = self.ports_of(field, node, ports)?;
        match own.inputs.iter().find(|p| p.name == port) {
            Some(port) => Some((if port.many { PortType::Any } else { port.port_type }, port.count.is_some())),
            None => {
                self.unknown_port(field, node, port, "input", &own.inputs);
                None
            }
        }
    }

    fn end<'e>(&mut self, field: &str, end: &'e str) -> Option<(&'e str, &'e str)> {
        let parts = end.split_once('.');
        if parts.is_none() {
            self.add(field, "bad_edge", format!("`{end}` is not an end of an edge: write `node.port`"));
        }
        parts
    }

    fn ports_of<'p>(&mut self, field: &str, node: &str, ports: &'p NodePorts<'_>) -> Option<&'p Ports> {
        match ports.get(node) {
            Some(own) => own.as_ref(),
            None => {
                self.add(field, "unknown_node", format!("no such node: `{node}`"));
                None
            }
        }
    }

    fn unknown_port(&mut self, field: &str, node: &str, port: &str, what: &str, known: &[Port]) {
        let known: Vec<&str> = known.iter().map(|p| p.name.as_str()).collect();
        self.add(
            field,
            "unknown_port",
            format!("node `{node}` has no {what} `{port}`; it has {}", known.join(", ")),
        );
    }

    fn connections(&mut self, definition: &Definition, ports: &NodePorts<'_>) {
        let reached: BTreeSet<&str> = definition.edges.iter().map(|e| e.to.as_str()).collect();
        for (i, node) in definition.nodes.iter().enumerate() {
            let Some(Some(own)) = ports.get(node.id.as_str()) else { continue };
            for port in own.inputs.iter().filter(|p| p.required) {
                if !reached.contains(format!("{}.{}", node.id, port.name).as_str()) {
                    let detail = format!("node `{}`: nothing leads to its input `{}`", node.id, port.name);
                    self.add(format!("definition.nodes[{i}]"), "unconnected_port", detail);
                }
            }
        }
        for name in definition.outputs.keys() {
            if !reached.contains(format!("{OUTPUT}.{name}").as_str()) {
                self.add(
                    format!("definition.outputs.{name}"),
                    "unconnected_port",
                    format!("nothing leads to the output `{name}`"),
                );
            }
        }
    }
}

fn expressions(config: &Value) -> usize {
    match config {
        Value::String(text) => usize::from(text.starts_with('=')),
        Value::Array(items) => items.iter().map(expressions).sum(),
        Value::Object(map) => map.values().map(expressions).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
