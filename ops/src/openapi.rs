//! OpenAPI 3.1 from the code: kinds and their command schemas from the node, views and filters from the projections,
//! routes and statuses from the tables here. Checked in as `schemas/openapi.json`; a test holds the two together.

mod accounts;
mod blobs;
mod enums;
mod oauth;
mod problems;
mod responses;
mod rights;
mod rows;
pub(crate) mod schemas;
mod workflows;

use crate::parts::{part_filters, parts, tie, view_named, view_of_rows};
use quipu_projections::{families::Families, family::Tie, reading::View};
use quipu_runtime::api::KindInfo;
use quipu_schemas::envelope::DataClass;
use responses::{Reply, responses};
use rights::Opens;
use schemas::Components;
use serde_json::{Map, Value, json};

pub use schemas::json_schemas;

/// One operation on its way into the document.
struct Operation<'a> {
    id: String,
    tag: &'a str,
    summary: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    reply: Reply,
    opens: Opens,
}

impl Operation<'_> {
    fn into_value(self) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "responses": responses(self.reply),
        });
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        if let Some(schema) = self.body {
            // An absent body is an empty object; whether that satisfies the command is for its schema to say.
            let required = schema.get("required").and_then(Value::as_array).is_some_and(|r| !r.is_empty()) || schema.get("$ref").is_some();
            operation["requestBody"] = json!({ "required": required, "content": { "application/json": { "schema": schema } } });
        }
        self.opens.tell(&mut operation);
        if self.reply == Reply::Metrics {
            // Open to loopback peers.
            operation["security"] = json!([{}, { "bearer": [] }]);
        }
        operation
    }
}

fn path_parameter(name: &str, pattern: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string", "pattern": pattern } })
}

/// A command's schema, taken over; the definition of a run with its components.
pub(crate) fn command_body(components: &mut Components, kind: &str, command: &str, schema: &Value) -> Value {
    let mut schema = schema.clone();
    enums::fold(&mut schema);
    if (kind, command) == ("run", "create") {
        workflows::add(components, &mut schema);
    }
    components.hoist_folded(kind, command, schema)
}

fn query_parameter(name: &str, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn reference(parameter: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{parameter}") })
}

const ID: &str = "^[A-Za-z0-9_-]{1,64}$";

fn parameters(families: Families) -> Value {
    let mut all = common_parameters();
    for (name, parameter) in rows::filters(families) {
        all[name] = parameter;
    }
    all
}

fn common_parameters() -> Value {
    let header = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema });
    json!({
        "org": path_parameter("org", ID, "The id of the org."),
        "id": path_parameter("id", ID, "The entity's id."),
        "idempotency-key": header("Idempotency-Key", json!({ "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,256}$" }), "The command's id: send the command again under the same id and you get the original receipt, with `Idempotent-Replayed: true`. An org may require it."),
        "if-match": header("If-Match", json!({ "type": "string", "pattern": "^\"[0-9]{1,15}\"$" }), "The expected version, quoted."),
        "if-none-match": header("If-None-Match", json!({ "$ref": "#/components/schemas/IfNoneMatch" }), "The entity must not exist."),
        "on-behalf-of": header("Quipu-On-Behalf-Of", json!({ "type": "string", "pattern": ID }), "The principal who acts."),
        "env": header("X-Env", json!({ "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$" }), "A label of your own for the environment that the command comes from."),
        "data-class": header("X-Data-Class", json!({ "$ref": "#/components/schemas/DataClass" }), "Label: how sensitive the data is."),
        "correlation": header("X-Correlation-Id", json!({ "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$" }), "Correlates everything that the request causes; minted where absent, returned always."),
        "request-id": header("X-Request-Id", json!({ "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$" }), "The id of the request; a UUIDv7 is minted where it is absent. It is returned, and passed on to webhooks, tools and models."),
        "traceparent": header("traceparent", json!({ "type": "string" }), "W3C trace context; ignored where malformed."),
        "limit": query_parameter("limit", json!({ "type": "integer", "minimum": 1, "maximum": quipu_schemas::limits::PAGE_MAX_ROWS, "default": quipu_schemas::limits::PAGE_DEFAULT_ROWS }), "Rows of a page."),
        "after": query_parameter("after", json!({ "type": "string" }), "`next` of the page before."),
        "wait": query_parameter("wait", json!({ "type": "string", "enum": ["nodes"] }), "Of keys, grants, roles, principals and whatever else is about rights: the answer waits until the other nodes know of it, and its `behind` names those that do not say so within 5 s."),
        "min_position": query_parameter("min_position", json!({ "type": "string" }), "Waits until the views have seen this position or cursor."),
    })
}

fn references(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| reference(name)).collect()
}

fn command_parameters(with_id: bool) -> Vec<Value> {
    let mut all = references(if with_id { &["org", "id"] } else { &["org"] });
    all.extend(references(&[
        "idempotency-key",
        "if-match",
        "wait",
        "if-none-match",
        "on-behalf-of",
        "env",
        "data-class",
        "correlation",
        "request-id",
        "traceparent",
    ]));
    all
}

fn filter_parameters(view: View, filters: Vec<&'static str>) -> impl Iterator<Item = Value> {
    filters.into_iter().map(move |name| reference(&rows::filter_name(view, name)))
}

/// Names of types in `$ref`s and ids: `dead-letters` → `DeadLetters`.
pub(crate) fn pascal(text: &str) -> String {
    text.split(['-', '_', '.'])
        .map(|part| part.get(..1).map_or_else(String::new, |first| first.to_uppercase() + &part[1..]))
        .collect()
}

struct Paths<'a> {
    paths: Map<String, Value>,
    kinds: &'a [KindInfo],
}

impl Paths<'_> {
    fn add(&mut self, path: &str, method: &str, operation: Operation<'_>) {
        let item = self.paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        item[method] = operation.into_value();
    }

    fn get(&mut self, path: &str, tag: &str, id: impl Into<String>, summary: impl Into<String>, parameters: Vec<Value>, reply: Reply) {
        let operation = Operation {
            id: id.into(),
            tag,
            summary: summary.into(),
            parameters,
            body: None,
            reply,
            opens: rights::of_read(reply, tag, self.kinds),
        };
        self.add(path, "get", operation);
    }

    fn kind(&mut self, kind: &KindInfo, families: Families, components: &mut Components) {
        let (name, plural) = (kind.kind.as_str(), kind.plural.as_str());
        let base = format!("/v1/orgs/{{org}}/{plural}");
        let entity = format!("{base}/{{id}}");
        for command in &kind.commands {
            let body = command_body(components, name, &command.name, &command.schema);
            let operation = |id: String, with_id: bool, reply: Reply| Operation {
                id,
                tag: name,
                summary: command.summary.clone(),
                parameters: command_parameters(with_id),
                body: Some(body.clone()),
                reply,
                opens: rights::of_command(name, &command.name),
            };
            let id = format!("{name}_{}", command.name);
            if command.name == "create" {
                self.add(&base, "post", operation(id.clone(), false, Reply::Created));
                self.add(&entity, "post", operation(format!("{id}_named"), true, Reply::Created));
            } else {
                self.add(&format!("{entity}/{}", command.name), "post", operation(id, true, Reply::Decided));
            }
        }
        if let Some(view) = view_named(families, plural) {
            self.list(
                &base,
                name,
                &format!("list_{}", plural.replace('-', "_")),
                view,
                references(&["org"]),
                view.filters().collect(),
            );
        }
        match view_of_rows(families, plural) {
            Some(view) => {
                let summary = format!("One {name}, from its view.");
                self.get(
                    &entity,
                    name,
                    format!("get_{name}"),
                    summary,
                    references(&["org", "id", "min_position"]),
                    Reply::Row(view),
                );
            }
            None => {
                let mut parameters = references(&["org", "id"]);
                parameters.extend(state_parameters());
                self.get(
                    &entity,
                    name,
                    format!("get_{name}"),
                    format!("The state of one {name}."),
                    parameters,
                    Reply::State,
                );
            }
        }
        for view in parts(families, name) {
            let path = format!("{entity}/{}", view.name());
            let id = format!("list_{name}_{}", view.name().replace('-', "_"));
            self.list(
                &path,
                name,
                &id,
                view,
                references(&["org", "id"]),
                part_filters(families, name, view),
            );
            self.part_row(&path, kind, families, view);
        }
        let entity_parameters = || references(&["org", "id"]);
        let mut paged = entity_parameters();
        paged.extend(references(&["limit", "after"]));
        self.get(
            &format!("{entity}/history"),
            name,
            format!("history_of_{name}"),
            "Records of the stream, oldest first.",
            paged,
            Reply::History,
        );
        let mut at = entity_parameters();
        at.extend(state_parameters());
        self.get(
            &format!("{entity}/state"),
            name,
            format!("state_of_{name}"),
            "The state now, at a version, or at a time.",
            at,
            Reply::State,
        );
        let mut receipt = entity_parameters();
        receipt.push(path_parameter("command_id", "^[A-Za-z0-9_.:-]{1,256}$", "The command's id."));
        let summary = "The receipt of a command.";
        self.get(
            &format!("{entity}/commands/{{command_id}}"),
            name,
            format!("receipt_of_{name}"),
            summary,
            receipt,
            Reply::Receipt,
        );
        let live = format!("{entity}/live");
        let summary = "Listens to the volatile channel: deltas, typing, presence, instances. None of it is stored.";
        self.get(&live, name, format!("live_{name}"), summary, entity_parameters(), Reply::Live);
        let mut tell = entity_parameters();
        tell.push(reference("on-behalf-of"));
        let operation = Operation {
            id: format!("tell_{name}"),
            tag: name,
            summary: "Sends a volatile signal (typing, online) to those who listen.".into(),
            parameters: tell,
            body: Some(json!({ "$ref": "#/components/schemas/VolatileWord" })),
            reply: Reply::Told,
            opens: rights::of_read(Reply::Told, name, self.kinds),
        };
        self.add(&live, "post", operation);
    }

    /// One row of a part, where its rows have names of their own.
    fn part_row(&mut self, path: &str, kind: &KindInfo, families: Families, view: View) {
        let name = kind.kind.as_str();
        let of_entity: &[&str] = match tie(families, name, view) {
            Some(Tie::Org) => &[],
            Some(Tie::Id(column)) => &[column],
            Some(Tie::Stream) => &["kind", "id"],
            None => return,
        };
        let [names @ .., _] = view.named_by() else { return };
        if names != of_entity {
            return;
        }
        let mut parameters = references(&["org", "id"]);
        parameters.push(path_parameter(
            "key",
            "^.+$",
            "The name of the row within the entity, percent-encoded as one segment.",
        ));
        parameters.extend(references(&["min_position"]));
        self.get(
            &format!("{path}/{{key}}"),
            name,
            format!("get_{name}_{}", view.name().replace('-', "_")),
            format!("One row of the view `{}`.", view.name()),
            parameters,
            Reply::Row(view),
        );
    }

    fn list(&mut self, path: &str, tag: &str, id: &str, view: View, mut parameters: Vec<Value>, filters: Vec<&'static str>) {
        parameters.extend(references(&["limit", "after", "min_position"]));
        let orders: Vec<_> = view.orders().collect();
        if !orders.is_empty() {
            parameters.push(query_parameter(
                "order",
                json!({ "type": "string", "enum": orders }),
                "Another order, for a look at the first rows: a row that moves while pages are read may be missed or come twice. \
                 The view's own order gives each row once.",
            ));
        }
        parameters.extend(filter_parameters(view, filters));
        self.get(
            path,
            tag,
            id,
            format!("A page of the view `{}`.", view.name()),
            parameters,
            Reply::Page(view),
        );
    }

    fn callbacks(&mut self) {
        let operation = Operation {
            id: "callback_deliver".into(),
            tag: "callback",
            summary: "Delivers a message of another system, signed as the callback says; no credential is asked for.".into(),
            parameters: references(&["org", "id"]),
            body: Some(json!({ "description": "What the other system sends; its raw bytes are signed." })),
            reply: Reply::Decided,
            opens: Opens::Anybody,
        };
        self.add("/callbacks/{org}/{id}", "post", operation);
    }

    fn ops(&mut self) {
        let ops = "ops";
        self.get(
            "/v1/ops/cluster",
            ops,
            "ops_cluster",
            "Nodes, and who owns which partition, as this node sees them.",
            vec![],
            Reply::Json("ClusterSeen"),
        );
        self.get(
            "/v1/ops/tree",
            ops,
            "ops_tree",
            "The supervision tree.",
            vec![],
            Reply::Json("TreeNode"),
        );
        let outbox = vec![
            query_parameter("org", json!({ "type": "string", "pattern": ID }), "Only effects of this org."),
            query_parameter(
                "status",
                json!({ "type": "string", "enum": ["pending", "processing", "delivered", "failed", "dead"] }),
                "Only effects in this state.",
            ),
        ];
        self.get(
            "/v1/ops/outbox",
            ops,
            "ops_outbox",
            "Effects that are not settled, and dead letters.",
            outbox,
            Reply::Json("Outbox"),
        );
        for (verb, summary) in [("retry", "Tries a dead effect again."), ("drop", "Gives up an effect.")] {
            let key = path_parameter("key", "^.+@.+$", "org/kind/id@version.ordinal, percent-encoded as one segment.");
            let parameters = vec![key, reference("on-behalf-of")];
            let operation = Operation {
                id: format!("ops_outbox_{verb}"),
                tag: ops,
                summary: summary.into(),
                parameters,
                body: None,
                reply: Reply::Decided,
                opens: Opens::Node,
            };
            self.add(&format!("/v1/ops/outbox/{{key}}/{verb}"), "post", operation);
        }
        self.get(
            "/v1/ops/views",
            ops,
            "ops_views",
            "Lag of the views by partition, and the job under way.",
            vec![],
            Reply::Json("ViewsSeen"),
        );
        for (verb, summary) in [
            ("rebuild", "Rebuilds the views beside the current ones, then switches to them."),
            ("verify", "Compares the views with a rebuild from zero."),
        ] {
            let operation = Operation {
                id: format!("ops_views_{verb}"),
                tag: ops,
                summary: summary.into(),
                parameters: vec![],
                body: None,
                reply: Reply::Started("ViewsJob"),
                opens: Opens::Node,
            };
            self.add(&format!("/v1/ops/views/{verb}"), "post", operation);
        }
        let body = json!({
            "type": "object", "required": ["stream"], "additionalProperties": false,
            "properties": { "stream": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}/[a-z][a-z0-9-]{0,31}/[A-Za-z0-9_-]{1,64}$" } }
        });
        let operation = Operation {
            id: "ops_unpark".into(),
            tag: ops,
            summary: "Resumes a parked stream.".into(),
            parameters: vec![],
            body: Some(body),
            reply: Reply::Started("Unparked"),
            opens: Opens::Node,
        };
        self.add("/v1/ops/unpark", "post", operation);
        let body = json!({
            "type": "object", "required": ["to"], "additionalProperties": false,
            "properties": {
                "to": { "type": "string", "pattern": "^/", "description": "An empty or new directory on the node's machine." },
                "with_keys": { "type": "boolean", "default": false, "description": "Whether to copy the keys that open personal data." }
            }
        });
        let operation = Operation {
            id: "ops_backup".into(),
            tag: ops,
            summary: "Begins an online backup.".into(),
            parameters: vec![],
            body: Some(body),
            reply: Reply::Started("BackupJob"),
            opens: Opens::Node,
        };
        self.add("/v1/ops/backup", "post", operation);
        self.get(
            "/v1/ops/backup",
            ops,
            "ops_backup_status",
            "The backup under way, or the last one.",
            vec![],
            Reply::Json("BackupJob"),
        );
        self.get("/health", ops, "health", "Every part in words.", vec![], Reply::Health);
        self.get(
            "/health/live",
            ops,
            "health_live",
            "Whether the process answers.",
            vec![],
            Reply::Alive,
        );
        self.get(
            "/health/ready",
            ops,
            "health_ready",
            "Whether to send commands here.",
            vec![],
            Reply::Health,
        );
        self.get(
            "/metrics",
            ops,
            "metrics",
            "The Prometheus page; open to loopback peers, else behind the token.",
            vec![],
            Reply::Metrics,
        );
        self.get(
            "/docs/openapi.json",
            ops,
            "openapi",
            "This document.",
            vec![],
            Reply::Open("application/json"),
        );
        self.get(
            "/docs/asyncapi.json",
            ops,
            "asyncapi",
            "The channels of the bus, AsyncAPI 3.0.",
            vec![],
            Reply::Open("application/json"),
        );
        self.get(
            "/docs/llms.txt",
            ops,
            "llms",
            "A page for language models.",
            vec![],
            Reply::Open("text/plain"),
        );
    }
}

fn state_parameters() -> [Value; 2] {
    [
        query_parameter(
            "version",
            json!({ "type": "integer", "minimum": 0 }),
            "At this version; excludes `at`.",
        ),
        query_parameter(
            "at",
            json!({ "type": "string" }),
            "At this time: RFC 3339, or milliseconds since 1970.",
        ),
    ]
}

fn feed_parameters() -> Vec<Value> {
    let mut all = references(&["org"]);
    all.push(query_parameter(
        "from",
        json!({ "type": "string" }),
        "`start` (default), `end`, or a cursor.",
    ));
    all.push(query_parameter(
        "follow",
        json!({ "type": "boolean", "default": true }),
        "Whether to keep the connection open and send new events as they happen.",
    ));
    all.push(query_parameter(
        "kind",
        json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]{0,31}$" }),
        "Only events of this kind.",
    ));
    all.push(query_parameter(
        "id",
        json!({ "type": "string", "pattern": ID }),
        "Only events of this entity.",
    ));
    all.push(query_parameter(
        "type",
        json!({ "type": "string" }),
        "Only events of these types, separated by commas.",
    ));
    all.push(json!({ "name": "Last-Event-ID", "in": "header", "required": false, "description": "The last id seen by a reconnecting SSE client; wins over `from`.", "schema": { "type": "string" } }));
    all
}

/// The document of a node with these kinds.
pub fn document(kinds: &[KindInfo], families: Families) -> Value {
    let mut components = Components::default();
    let mut paths = Paths { paths: Map::new(), kinds };
    for kind in kinds {
        paths.kind(kind, families, &mut components);
    }
    components.add("DataClass", schemars::schema_for!(DataClass).to_value());
    // Not a constant: generators refuse constants in headers.
    components.add("IfNoneMatch", json!({ "type": "string", "enum": ["*"] }));
    rows::add(families, &mut components);
    let summary = "Every event of the org as CloudEvents: SSE by `Accept: text/event-stream`, else NDJSON.";
    paths.get("/v1/orgs/{org}/events", "feed", "events", summary, feed_parameters(), Reply::Feed);
    let summary = "Counts of the org's members, agents, conversations, messages and so on, by state and other columns.";
    let asked = references(&["org", "min_position"]);
    paths.get("/v1/orgs/{org}/stats", "views", "org_stats", summary, asked, Reply::Stats);
    if kinds.iter().any(|kind| kind.kind == "entity") {
        let summary =
            "Whom an address of the directory means: `@slug`, `slug#instance`, `qualified/name`, `name@host`, `legacy:TEXT` or an id.";
        let mut asked = references(&["org"]);
        let mut address = query_parameter(
            "address",
            json!({ "type": "string", "maxLength": 300 }),
            "The address, percent-encoded.",
        );
        address["required"] = true.into();
        asked.push(address);
        paths.get("/v1/orgs/{org}/resolve", "entity", "resolve", summary, asked, Reply::Resolved);
    }
    for view in families.views().filter(|view| !kinds.iter().any(|kind| kind.plural == view.name())) {
        let path = format!("/v1/orgs/{{org}}/{}", view.name());
        let id = format!("list_{}", view.name().replace('-', "_"));
        paths.list(&path, "views", &id, view, references(&["org"]), view.filters().collect());
    }
    for (path, item) in blobs::paths().into_iter().chain(problems::paths()).chain(oauth::paths()) {
        paths.paths.insert(path.to_owned(), item);
    }
    for (path, item) in accounts::paths() {
        paths.paths.insert(path.to_owned(), item);
    }
    paths.callbacks();
    paths.ops();
    let mut schemas = components.into_schemas();
    let responses = responses::components();
    let spoken_of = json!([paths.paths, parameters(families), responses]);
    schemas::keep_used(&mut schemas, &spoken_of);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Quipu",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Event-sourced actors for AI agents: commands in, events out, views over HTTP, and the log to replay.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "api_key": [] }, { "access_token": [] }, { "cookie": [] }],
        "tags": tags(kinds),
        "paths": paths.paths,
        "components": {
            "securitySchemes": rights::schemes(),
            "parameters": parameters(families),
            "responses": responses,
            "schemas": schemas,
        }
    })
}

fn tags(kinds: &[KindInfo]) -> Vec<Value> {
    let of_kind = |kind: &KindInfo| json!({ "name": kind.kind, "description": format!("Commands and queries of {}.", kind.plural) });
    let others = [
        ("feed", "Events as they happen."),
        ("views", "Queries over a whole org."),
        ("accounts", "Accounts, logging in, and sessions."),
        ("ops", "Operating a node."),
        ("oauth", "Logging in, and tokens for programs of others."),
    ];
    let others = others
        .iter()
        .map(|(name, description)| json!({ "name": name, "description": description }));
    kinds.iter().map(of_kind).chain(others).collect()
}
