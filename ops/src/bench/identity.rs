//! Lines about who is who: the same commands by a key, by a token and by the node's own token; introspection; logins beside commands;
//! many principals and keys; revocation. Each is a ratio within one run, or a bound.

mod logins;
mod many;
mod revoking;

use super::{
    BenchError, Setup,
    child::{self, Server},
    http::{CLIENTS, Run, create, rates, ratios, run, sides},
    load::{Pace, Plan},
    material::{self, CREATE, Material, ORG},
    memory,
    report::{Line, count, list, median},
    wire::Connection,
    yardstick,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

const ENTITIES: u64 = 1_000;
/// A node closes a connection on which nothing was asked for long; well before, another one is opened.
const IDLE: Duration = Duration::from_secs(5);
/// Whose key and client are used.
const MEMBER: &str = "ada";

/// Everything, in the order in which a reader asks.
pub(super) async fn lines(setup: &Setup, material: &Material, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (node, _) = child::node(&setup.path("identity"), false, &[]).await?;
    create(&node, 0, ENTITIES).await?;
    let mut talk = Talk::open(&node).await?;
    let member = json!({ "principal": MEMBER, "role": "member" });
    talk.post(&format!("{}/add_member", of("orgs", ORG)), &member).await?;
    let client = client(&mut talk).await?;
    let most = commands(setup, &node, &mut talk, &client, out).await?;
    introspection(setup, &node, material, &client, out).await?;
    logins::line(setup, &node, &mut talk, most, out).await?;
    revoking::line(setup, &node, out).await?;
    node.stop().await?;
    many::lines(setup, out).await?;
    memory::idle_line(setup, out).await
}

/// The path of an entity of the org, by the plural of its kind.
fn of(kinds: &str, id: &str) -> String {
    format!("/v1/orgs/{ORG}/{kinds}/{id}")
}

/// One connection that speaks JSON.
struct Talk {
    connection: Connection,
    address: SocketAddr,
    token: String,
    used: Instant,
}

impl Talk {
    async fn open(node: &Server) -> Result<Self, BenchError> {
        Ok(Self {
            connection: Connection::open(node.address).await?,
            address: node.address,
            token: node.token.clone(),
            used: Instant::now(),
        })
    }

    /// The same connection as whoever holds this.
    fn showing(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    async fn send(&mut self, method: &str, path: &str, (content, body): (&str, &str)) -> Result<(u16, Value), BenchError> {
        let way = if self.token.contains(' ') { "" } else { "Bearer " };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {way}{}\r\nContent-Type: {content}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        );
        if self.used.elapsed() > IDLE {
            self.connection = Connection::open(self.address).await?;
        }
        self.used = Instant::now();
        let answer = self.connection.exchange(request.as_bytes()).await?;
        let (status, body) = (answer.status, serde_json::from_slice(answer.body).unwrap_or_default());
        Ok((status, body))
    }

    /// Status and body, whatever they are.
    async fn try_post(&mut self, path: &str, body: &Value) -> Result<(u16, Value), BenchError> {
        self.send("POST", path, ("application/json", &body.to_string())).await
    }

    /// The answer to what must be taken.
    async fn post(&mut self, path: &str, body: &Value) -> Result<Value, BenchError> {
        let answer = self.try_post(path, body).await?;
        taken(path, answer)
    }

    async fn form(&mut self, path: &str, body: &str) -> Result<Value, BenchError> {
        let answer = self.send("POST", path, ("application/x-www-form-urlencoded", body)).await?;
        taken(path, answer)
    }
}

fn taken(path: &str, (status, body): (u16, Value)) -> Result<Value, BenchError> {
    if (200..300).contains(&status) {
        return Ok(body);
    }
    Err(BenchError::Child(format!("{path}: {status} {body}")))
}

fn text(value: &Value, field: &str) -> Result<String, BenchError> {
    let text = value[field].as_str().map(str::to_owned);
    text.ok_or_else(|| BenchError::Child(format!("no `{field}` in {value}")))
}

/// A key of a member.
async fn key(talk: &mut Talk, id: &str) -> Result<String, BenchError> {
    let made = talk
        .post(&of("api-keys", id), &json!({ "name": "bench", "principal": MEMBER }))
        .await?;
    text(&made, "shown")
}

/// What a client of a service of the org shows.
async fn client(talk: &mut Talk) -> Result<String, BenchError> {
    let (path, service) = (of("applications", "app"), "svc_app");
    let app = json!({
        "name": "Bench",
        "grants": ["client_credentials"],
        "authentication": "client_secret_basic",
        "scopes": ["cap:conversation.*"],
    });
    talk.post(&path, &app).await?;
    talk.post(&of("principals", service), &json!({ "name": "Bench", "owner": MEMBER }))
        .await?;
    let member = json!({ "principal": service, "role": "member" });
    talk.post(&format!("{}/add_member", of("orgs", ORG)), &member).await?;
    talk.post(&format!("{path}/link_service"), &json!({ "service": service })).await?;
    let made = talk.post(&format!("{path}/rotate_secret"), &json!({})).await?;
    let pair = format!("{ORG}.app:{}", text(&made, "shown")?);
    Ok(format!("Basic {}", base64(pair.as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A token of the client's own service, which lives longer than this takes.
async fn token(talk: Talk, client: &str) -> Result<(Talk, String), BenchError> {
    let own = talk.token.clone();
    let mut talk = talk.showing(client);
    let told = talk.form("/oauth/token", "grant_type=client_credentials").await?;
    Ok((talk.showing(&own), text(&told, "access_token")?))
}

fn plan(node: &Server, token: &str, path: String, body: String, pace: Pace) -> Plan {
    Plan {
        then: None,
        address: node.address,
        token: token.into(),
        connections: CLIENTS,
        path,
        entities: ENTITIES,
        first: 0,
        body,
        key: String::new(),
        pace,
    }
}

/// Posts to conversations that whoever holds `token` has made.
fn posts(node: &Server, token: &str, (first, key): (u64, String), pace: Pace) -> Plan {
    let path = format!("/v1/orgs/{ORG}/conversations/c{{n}}/post");
    Plan {
        first,
        key,
        ..plan(node, token, path, material::post_body(), pace)
    }
}

async fn commands(setup: &Setup, node: &Server, talk: &mut Talk, client: &str, out: &mut Vec<Line>) -> Result<f64, BenchError> {
    let by_key = key(talk, "load").await?;
    let fresh = Talk::open(node).await?;
    let (_, by_token) = token(fresh, client).await?;
    let sides_of = [
        ("by the node's token", node.token.clone()),
        ("by API key", by_key),
        ("by JWT", by_token),
    ];
    for (at, (_, token)) in (0u64..).zip(&sides_of).skip(1) {
        let path = format!("/v1/orgs/{ORG}/conversations/c{{n}}");
        let made = Plan {
            first: at * ENTITIES,
            key: format!("create-{at}"),
            ..plan(node, token, path, CREATE.into(), Pace::Count { requests: ENTITIES })
        };
        made.run().await?;
    }
    let pace = Pace::Closed {
        warmup_ms: setup.seconds(0.5),
        run_ms: setup.seconds(4.0),
    };
    let mut runs: [Vec<Run>; 3] = Default::default();
    for pair in 0..setup.pairs() {
        // Each side goes first in turn.
        for turn in 0..sides_of.len() {
            let side = (pair + turn) % sides_of.len();
            let first = side as u64 * ENTITIES;
            let plan = posts(node, &sides_of[side].1, (first, format!("id-{side}-{pair}")), pace);
            runs[side].push(run(node, &plan).await?);
        }
    }
    let [own, ..] = &runs;
    for (side, name) in [(1, sides_of[1].0), (2, sides_of[2].0)] {
        let ratio = median(&ratios(&runs[side], own));
        out.push(Line::judged(
            &format!("durable commands {name}, 64 clients, 1,000 entities, views off"),
            "≥ 0.97 × by the node's token",
            format!("{}/s = {ratio:.2} × it", count(median(&rates(&runs[side])))),
            ratio >= 0.97,
            format!(
                "ratios {}; {}; {}",
                list(&ratios(&runs[side], own), 2),
                sides(name, &runs[side]),
                sides(sides_of[0].0, own)
            ),
        ));
    }
    Ok(median(&rates(own)))
}

async fn introspection(setup: &Setup, node: &Server, material: &Material, client: &str, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let fresh = Talk::open(node).await?;
    let (_, about) = token(fresh, client).await?;
    let bare = yardstick::start(None, material.post_bytes()?).await?;
    let pace = Pace::Closed {
        warmup_ms: setup.seconds(0.5),
        run_ms: setup.seconds(3.0),
    };
    let body = format!("token={about}");
    let mut active = Talk::open(node).await?.showing(client);
    let told = active.form("/oauth/introspect", &body).await?;
    if told["active"] != json!(true) {
        return Err(BenchError::Child(format!("the token is told as {told}")));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..setup.pairs() {
        ours.push(run(node, &plan(node, client, "/oauth/introspect".into(), body.clone(), pace)).await?);
        theirs.push(run(&bare, &plan(&bare, "none", "/oauth/introspect".into(), body.clone(), pace)).await?);
    }
    let ratio = median(&ratios(&ours, &theirs));
    out.push(Line::judged(
        "introspection of a token, 64 clients, each request with the client's secret",
        "≥ 0.3 × bare HTTP",
        format!("{}/s = {ratio:.2} × it", count(median(&rates(&ours)))),
        ratio >= 0.3,
        format!(
            "ratios {}; {}; {}",
            list(&ratios(&ours, &theirs), 2),
            sides("introspection", &ours),
            sides("bare", &theirs)
        ),
    ));
    Ok(())
}
