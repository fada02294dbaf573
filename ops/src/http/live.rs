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
use quipu_runtime::volatile::{Received, Subscription, VolatileEvent};
use quipu_schemas::{ids::StreamId, limits::HEARTBEAT_MS, problem::Problem};
use serde_json::Value;
use std::{convert::Infallible, time::Duration};
use tokio::sync::watch;

struct Listener {
    heard: Subscription,
    stage: watch::Receiver<Stage>,
    greeted: bool,
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
        tokio::select! {
            heard = self.heard.next() => match heard? {
                Received::Event(event) => {
                    let value = serde_json::to_value(&event).unwrap_or_default();
                    let data = value.get("data").cloned().unwrap_or_default();
                    sse(&mut out, value.get("type").and_then(Value::as_str), None, &data.to_string());
                }
                Received::Dropped(count) => sse(&mut out, Some("dropped"), None, &serde_json::json!({ "count": count }).to_string()),
            },
            () = stopping(&mut self.stage) => return None,
            () = tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)) => out.push_str(": heartbeat\n\n"),
        }
        Some(Bytes::from(out))
    }
}

async fn existing(reads: &Reads<'_>, stream: &StreamId) -> Result<(), Problem> {
    if reads.exists(stream).await? {
        Ok(())
    } else {
        Err(problem::not_found(stream))
    }
}

/// `GET …/{id}/live`: server-sent events `delta`, `typing`, `presence`, `dropped`.
pub async fn listen(State(app): State<App>, in_org: InOrg, At((_, plural, id)): At<(String, String, String)>, uri: Uri) -> Answer {
    let stream = stream_of(&app, &in_org, &plural, id)?;
    Params::parse(&uri, &[])?;
    let reads = app.reads(&in_org);
    existing(&reads, &stream).await?;
    let open = OpenStream::open(&app)?;
    let listener = Listener {
        heard: reads.listen(&stream)?,
        stage: app.stage.clone(),
        greeted: false,
        _open: open,
    };
    let chunks = futures::stream::unfold(listener, |mut listener| async move {
        listener.chunk().await.map(|chunk| (Ok::<_, Infallible>(chunk), listener))
    });
    Ok(stream_response(Framing::Sse, Body::from_stream(chunks)))
}

/// `POST …/{id}/live`: tells present listeners `{"typing": bool}` or `{"online": bool}`; answers how many there were.
pub async fn tell(
    State(app): State<App>,
    in_org: InOrg,
    At((_, plural, id)): At<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    Fields(fields): Fields,
) -> Answer {
    let stream = stream_of(&app, &in_org, &plural, id)?;
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
        _ => {
            let fix = r#"send {"typing": true|false} or {"online": true|false}"#;
            return Err(Problem {
                status: 422,
                code: "invalid_command".into(),
                ..bad_parameter("body", "the body says nothing volatile", fix)
            }
            .into());
        }
    };
    let reads = app.reads(&in_org);
    existing(&reads, &stream).await?;
    let listeners = reads.tell(&stream, event)?;
    let mut response = json(&serde_json::json!({ "listeners": listeners }))?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
