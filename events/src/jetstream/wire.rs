//! Requests to the servers, each with a deadline, each answer told apart: said, refused, or not known.

use super::{
    connect::{NoConnection, client},
    options::{JetStreamOptions, Login},
};
use async_nats::{Client, Event, HeaderMap, Message, Request, StatusCode, client::RequestErrorKind, connection::State};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{future::Future, time::Duration};
use tokio::{sync::watch, time::timeout};

/// Status after the last message of a batch.
const END_OF_BATCH: u16 = 204;

/// What a server refused, in its own numbers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) code: u32,
    #[serde(default)]
    pub(crate) err_code: u32,
    #[serde(default)]
    pub(crate) description: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (error {})", self.description, self.err_code)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Silence {
    /// Nobody listens on the subject: the request was dropped by the server that took it.
    #[error("no server answers for the stream")]
    NoResponders,
    /// The request may have arrived.
    #[error("{0}")]
    Lost(String),
}

/// An answer of the JetStream API.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Said(T),
    Refused(Refusal),
}

/// One message of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) payload: Bytes,
}

/// A connection to the servers.
pub(crate) struct Wire {
    pub(crate) client: Client,
    api: String,
    breaks: watch::Receiver<u64>,
    /// How long one request is waited for.
    pub(crate) timeout: Duration,
}

fn lost(error: impl std::fmt::Display) -> Silence {
    Silence::Lost(error.to_string())
}

impl Wire {
    /// Connects, once; async-nats connects again by itself from then on.
    pub(crate) async fn connect(options: &JetStreamOptions, system: Option<&Login>) -> Result<Self, NoConnection> {
        let (tell, breaks) = watch::channel(0);
        let client = client(options, system, "quipu-log", move |event| {
            if matches!(event, Event::Disconnected) {
                tell.send_modify(|n| *n += 1);
            }
        });
        let client = client.await?;
        let api = options.domain.as_ref().map_or_else(|| "$JS.API".into(), |d| format!("$JS.{d}.API"));
        Ok(Self {
            client,
            api,
            breaks,
            timeout: options.request,
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for an answer until the deadline, or until the connection over which it would come breaks.
    async fn answer<T, E: std::fmt::Display>(
        &self,
        within: Duration,
        request: impl Future<Output = Result<T, E>>,
        known: impl Fn(&E) -> Option<Silence>,
    ) -> Result<T, Silence> {
        let mut breaks = self.breaks.clone();
        breaks.mark_unchanged();
        tokio::select! {
            answer = timeout(within, request) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(e)) => Err(known(&e).unwrap_or_else(|| lost(&e))),
                Err(_) => Err(Silence::Lost(format!("no answer within {} ms", within.as_millis()))),
            },
            broken = breaks.changed() => {
                let _ = broken;
                Err(Silence::Lost("the connection broke".into()))
            }
        }
    }

    async fn send(&self, subject: String, headers: Option<HeaderMap>, payload: Bytes) -> Result<Message, Silence> {
        let mut request = Request::new().payload(payload).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        self.answer(self.timeout, self.client.send_request(subject, request), |e| {
            (e.kind() == RequestErrorKind::NoResponders).then_some(Silence::NoResponders)
        })
        .await
    }

    /// Asks the JetStream API.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<Answer<T>, Silence> {
        let payload = serde_json::to_vec(body).map_err(lost)?;
        let message = self.send(format!("{}.{what}", self.api), None, payload.into()).await?;
        parse(&message.payload)
    }

    /// Publishes a message as the one after `last`; its sequence.
    pub(crate) async fn publish(&self, to: &Place<'_>, batch: &str, last: u64, payload: Bytes) -> Result<Answer<u64>, Silence> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", to.stream);
        headers.insert("Nats-Expected-Last-Sequence", last.to_string().as_str());
        headers.insert("Quipu-Batch", batch);
        let message = self.send(to.subject.to_owned(), Some(headers), payload).await?;
        Ok(match parse::<Ack>(&message.payload)? {
            Answer::Said(ack) => Answer::Said(ack.seq),
            Answer::Refused(refusal) => Answer::Refused(refusal),
        })
    }

    /// Publishes a message in place of the subject's last, which must be the one at `expected` (0: there is none).
    pub(crate) async fn replace(&self, to: &Place<'_>, expected: u64, payload: Bytes) -> Result<Answer<u64>, Silence> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", to.stream);
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        let message = self.send(to.subject.to_owned(), Some(headers), payload).await?;
        Ok(match parse::<Ack>(&message.payload)? {
            Answer::Said(ack) => Answer::Said(ack.seq),
            Answer::Refused(refusal) => Answer::Refused(refusal),
        })
    }

    /// What the stream's leader has at a sequence, or last on a subject. A leader that was deposed and does not know it
    /// yet may say `None` of what is there, never the reverse.
    pub(crate) async fn at_leader(&self, place: &Place<'_>, sequence: Option<u64>) -> Result<Option<Stored>, Silence> {
        const NO_MESSAGE: u32 = 10037;
        #[derive(Deserialize)]
        struct Raw {
            seq: u64,
            #[serde(default)]
            data: String,
        }
        #[derive(Deserialize)]
        struct Got {
            message: Raw,
        }
        let body = match sequence {
            Some(sequence) => json!({ "seq": sequence }),
            None => json!({ "last_by_subj": place.subject }),
        };
        match self.ask::<Got>(&format!("STREAM.MSG.GET.{}", place.stream), &body).await? {
            Answer::Said(got) => Ok(Some(Stored {
                sequence: got.message.seq,
                payload: STANDARD.decode(got.message.data).map_err(lost)?.into(),
            })),
            Answer::Refused(refusal) if refusal.err_code == NO_MESSAGE => Ok(None),
            Answer::Refused(refusal) => Err(lost(refusal)),
        }
    }

    /// What any replica has at a sequence; one that lags may say `None`.
    pub(crate) async fn direct(&self, place: &Place<'_>, sequence: u64) -> Result<Option<Stored>, Silence> {
        let body = json!({ "seq": sequence }).to_string();
        let message = self
            .send(format!("{}.DIRECT.GET.{}", self.api, place.stream), None, body.into())
            .await?;
        match message.status {
            None => stored(message).map(Some),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => Err(lost(format!("{status} {}", message.description.unwrap_or_default()))),
        }
    }

    /// What any replica has from a sequence on: at most `count` messages, about `bytes` of them; empty at its end.
    pub(crate) async fn direct_from(&self, place: &Place<'_>, sequence: u64, count: u64, bytes: usize) -> Result<Vec<Stored>, Silence> {
        let inbox = self.client.new_inbox();
        let body = json!({ "seq": sequence, "batch": count, "max_bytes": bytes }).to_string();
        let mut answers = self.answer(self.timeout, self.client.subscribe(inbox.clone()), |_| None).await?;
        let subject = format!("{}.DIRECT.GET.{}", self.api, place.stream);
        self.answer(self.timeout, self.client.publish_with_reply(subject, inbox, body.into()), |_| None)
            .await?;
        let mut found = Vec::new();
        loop {
            let next = async { answers.next().await.ok_or("the subscription ended") };
            let message = self.answer(self.timeout, next, |_| None).await?;
            match message.status {
                None => found.push(stored(message)?),
                // The end of the batch; of nothing.
                Some(status) if status == END_OF_BATCH || status == StatusCode::NOT_FOUND => return Ok(found),
                Some(StatusCode::NO_RESPONDERS) => return Err(Silence::NoResponders),
                Some(status) => return Err(lost(format!("{status} {}", message.description.unwrap_or_default()))),
            }
        }
    }

    /// Answers of many servers to one request, until `enough` came or the deadline passed.
    pub(crate) async fn ask_all(&self, subject: &str, enough: usize) -> Result<Vec<Bytes>, Silence> {
        let inbox = self.client.new_inbox();
        let mut answers = self.answer(self.timeout, self.client.subscribe(inbox.clone()), |_| None).await?;
        self.answer(
            self.timeout,
            self.client.publish_with_reply(subject.to_owned(), inbox, Bytes::new()),
            |_| None,
        )
        .await?;
        let mut found = Vec::new();
        while found.len() < enough {
            match timeout(self.timeout, answers.next()).await {
                Ok(Some(message)) if message.status.is_none() => found.push(message.payload),
                _ => break,
            }
        }
        Ok(found)
    }
}

#[derive(Deserialize)]
struct Ack {
    seq: u64,
}

/// A partition's stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) stream: &'a str,
    pub(crate) subject: &'a str,
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<Answer<T>, Silence> {
    #[derive(Deserialize)]
    struct Refused {
        error: Refusal,
    }
    // Refusals carry an empty answer beside the error, so they are looked for first.
    if let Ok(refused) = serde_json::from_slice::<Refused>(payload) {
        return Ok(Answer::Refused(refused.error));
    }
    serde_json::from_slice(payload).map(Answer::Said).map_err(lost)
}

fn stored(message: Message) -> Result<Stored, Silence> {
    let sequence = message
        .headers
        .as_ref()
        .and_then(|h| h.get("Nats-Sequence"))
        .and_then(|v| v.as_str().parse().ok());
    Ok(Stored {
        sequence: sequence.ok_or_else(|| lost("a message without its sequence"))?,
        payload: message.payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_said_refused_or_not_to_be_read() {
        let said = parse::<Ack>(br#"{"stream":"S","seq":7}"#);
        assert!(matches!(said, Ok(Answer::Said(Ack { seq: 7 }))), "whatever else it says");
        let refused = parse::<Ack>(br#"{"seq":0,"error":{"code":503,"err_code":10077,"description":"no"}}"#);
        let Ok(Answer::Refused(refusal)) = refused else {
            panic!("beside an empty answer")
        };
        assert_eq!(
            refusal,
            Refusal {
                code: 503,
                err_code: 10077,
                description: "no".into()
            }
        );
        assert_eq!(refusal.to_string(), "no (error 10077)");
        assert!(matches!(parse::<Ack>(b"not JSON"), Err(Silence::Lost(_))));
    }

    fn message(sequence: Option<&str>) -> Message {
        let mut headers = HeaderMap::new();
        if let Some(sequence) = sequence {
            headers.insert("Nats-Sequence", sequence);
        }
        Message {
            subject: "s".into(),
            reply: None,
            payload: Bytes::from_static(b"frame"),
            headers: Some(headers),
            status: None,
            description: None,
            length: 5,
        }
    }

    #[test]
    fn a_stored_message_is_known_by_its_sequence() {
        let known = stored(message(Some("77"))).unwrap();
        assert_eq!((known.sequence, &known.payload[..]), (77, &b"frame"[..]));
        for unknown in [None, Some("x")] {
            assert_eq!(
                stored(message(unknown)).unwrap_err(),
                Silence::Lost("a message without its sequence".into())
            );
        }
        let last = NoConnection::last("refused");
        assert_eq!((last.again, last.detail.as_str()), (false, "refused"));
    }
}
