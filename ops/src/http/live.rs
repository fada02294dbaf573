//! The volatile channel of an entity: deltas, typing, presence. Nothing here was or will be in the log.

use super::{
    Answer, App, Stage,
    feed::{Framing, OpenStream, sse, stopping, stream_response},
    json,
    params::Params,
    problem::{self, bad_parameter},
    request::{At, Fields},
    stream::stream_of,
};
use crate::{app::reads::Reads, asked::Labels, caller::InOrg};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use quipu_runtime::volatile::{Instance, Received, Subscription, VolatileEvent};
use quipu_schemas::{
    ids::{Kind, StreamId},
    limits::{HEARTBEAT_MS, RIGHTS_LOOK_MS},
    personal,
    problem::Problem,
};
use serde_json::Value;
use std::{convert::Infallible, time::Duration};
use tokio::{sync::watch, time::Instant};

struct Listener {
    heard: Subscription,
    app: App,
    by: InOrg,
    of: StreamId,
    stage: watch::Receiver<Stage>,
    greeted: bool,
    ended: bool,
    heartbeat: Instant,
    _open: OpenStream,
}

impl Listener {
    async fn chunk(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            // Tells the client that from here on it misses nothing.
            return Some(Bytes::from_static(b": listening\n\n"));
        }
        let mut out = String::new();
        // A key's rights are asked for before anything is told, and at times while nothing is.
        while out.is_empty() && !self.ended {
            let is_by_key = !self.by.is_unbounded();
            tokio::select! {
                heard = self.heard.next() => {
                    let heard = heard?;
                    if self.renew(&mut out).await {
                        self.tell(heard, &mut out);
                    }
                },
                () = stopping(&mut self.stage) => return None,
                () = tokio::time::sleep(Duration::from_millis(RIGHTS_LOOK_MS)), if is_by_key => {
                    self.renew(&mut out).await;
                }
                () = tokio::time::sleep_until(self.heartbeat) => out.push_str(": heartbeat\n\n"),
            }
        }
        self.heartbeat = Instant::now() + Duration::from_millis(HEARTBEAT_MS);
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn tell(&self, heard: Received, out: &mut String) {
        let (name, data) = match heard {
            Received::Event(event) => {
                let mut value = serde_json::to_value(&event).unwrap_or_default();
                if matches!(event, VolatileEvent::Delta { .. }) && !self.app.reads(&self.by).may_see(Some((&self.of.kind, &self.of.id))) {
                    value["data"]["text"] = personal::redacted();
                }
                (value["type"].take(), value["data"].take())
            }
            Received::Dropped(count) => (Value::from("dropped"), serde_json::json!({ "count": count })),
        };
        sse(out, name.as_str(), None, &data.to_string());
    }

    /// Asks again whether the caller may listen; says so where they may not.
    async fn renew(&mut self, out: &mut String) -> bool {
        let asked = match self.app.renewed(&self.by).await {
            Ok(None) => return true,
            Ok(Some(by)) => {
                self.by = by;
                self.app.reads(&self.by).ask_entity_now(&self.of).await
            }
            Err(problem) => Err(problem),
        };
        let Err(problem) = asked else { return true };
        self.ended = true;
        if matches!(problem.status, 401 | 403) {
            sse(out, Some("revoked"), None, &serde_json::to_string(&problem).unwrap_or_default());
        }
        false
    }
}

async fn existing(reads: &Reads<'_>, stream: &StreamId) -> Result<(), Problem> {
    if reads.exists(stream).await? {
        Ok(())
    } else {
        Err(problem::not_found(stream))
    }
}

/// `GET …/{id}/live`: server-sent events `delta`, `typing`, `presence`, `instance`, `dropped`.
pub async fn listen(State(app): State<App>, in_org: InOrg, At((_, plural, id)): At<(String, String, String)>, uri: Uri) -> Answer {
    let stream = stream_of(&app, &in_org, &plural, id)?;
    Params::parse(&uri, &[])?;
    let reads = app.reads(&in_org);
    let heard = reads.listen(&stream).await?;
    existing(&reads, &stream).await?;
    let open = OpenStream::open(&app)?;
    let listener = Listener {
        heard,
        stage: app.stage.clone(),
        greeted: false,
        ended: false,
        heartbeat: Instant::now() + Duration::from_millis(HEARTBEAT_MS),
        app: app.clone(),
        by: in_org.clone(),
        of: stream,
        _open: open,
    };
    let chunks = futures::stream::unfold(listener, |mut listener| async move {
        listener.chunk().await.map(|chunk| (Ok::<_, Infallible>(chunk), listener))
    });
    Ok(stream_response(Framing::Sse, Body::from_stream(chunks)))
}

fn nothing_volatile(detail: impl Into<String>) -> Problem {
    let fix = r#"send {"typing": true|false} or {"online": true|false}; to an entity {"instance": {"id", "status", "load"}}"#;
    Problem {
        status: 422,
        code: "invalid_command".into(),
        ..bad_parameter("body", detail, fix)
    }
}

/// `POST …/{id}/live`: tells present listeners `{"typing": bool}` or `{"online": bool}`, and an entity how an instance of it is; answers how many there were.
pub async fn tell(
    State(app): State<App>,
    in_org: InOrg,
    At((_, plural, id)): At<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    Fields(fields): Fields,
) -> Answer {
    let stream = stream_of(&app, &in_org, &plural, id)?;
    let reads = app.reads(&in_org);
    reads.ask_entity_now(&stream).await?;
    Params::parse(&uri, &[])?;
    let principal = match Labels::read(&headers)?.on_behalf_of {
        Some(named) => named,
        None => in_org.caller().principal()?.clone(),
    };
    let single = fields.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
    let event = match single {
        Some((name, Value::Bool(active))) if name == "typing" => VolatileEvent::Typing {
            principal,
            active: *active,
        },
        Some((name, Value::Bool(online))) if name == "online" => VolatileEvent::Presence {
            principal,
            online: *online,
        },
        Some((name, said)) if name == "instance" && stream.kind == Kind::ENTITY => {
            let instance: Instance = serde_json::from_value(said.clone()).map_err(|error| nothing_volatile(error.to_string()))?;
            if instance.load > 100 {
                return Err(nothing_volatile("a load is 0 to 100").into());
            }
            reads.ask_instance_of(&stream, &principal).await?;
            VolatileEvent::Instance(instance)
        }
        _ => return Err(nothing_volatile("the body says nothing volatile").into()),
    };
    existing(&reads, &stream).await?;
    let listeners = reads.tell(&stream, event).await?;
    let mut response = json(&serde_json::json!({ "listeners": listeners }))?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
