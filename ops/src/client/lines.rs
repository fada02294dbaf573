//! Answers that arrive line by line: NDJSON feeds and server-sent events.

use super::ClientError;
use quipu_schemas::limits::FEED_LINE_MAX_BYTES;
use reqwest::Response;
use serde_json::Value;

/// Lines of a response, without their ends.
#[derive(Debug)]
pub(super) struct Lines {
    response: Response,
    url: String,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that were handed out.
    taken: usize,
    /// Bytes after `taken` that hold no line end.
    searched: usize,
}

impl Lines {
    pub(super) fn new(response: Response, url: &str) -> Self {
        Self {
            response,
            url: url.to_owned(),
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
        }
    }

    fn foreign(&self, detail: &str) -> ClientError {
        ClientError::Foreign {
            url: self.url.clone(),
            status: self.response.status().as_u16(),
            detail: detail.to_owned(),
        }
    }

    /// The next line; `None` at the end. A last line without an end was cut off and is dropped. Cancel-safe.
    async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            let rest = &self.buffer[self.taken..];
            if let Some(end) = rest[self.searched..].iter().position(|b| *b == b'\n').map(|at| at + self.searched) {
                let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
                let line = std::str::from_utf8(line)
                    .map(str::to_owned)
                    .map_err(|_| self.foreign("a line is not valid UTF-8"))?;
                (self.taken, self.searched) = (self.taken + end + 1, 0);
                return Ok(Some(line));
            }
            self.searched = rest.len();
            if self.searched > FEED_LINE_MAX_BYTES {
                return Err(self.foreign("a line is longer than any event can be"));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(e) => {
                    return Err(ClientError::Unreachable {
                        url: self.url.clone(),
                        detail: format!("the stream broke off: {e}"),
                    });
                }
            }
        }
    }
}

/// One line of a feed.
#[derive(Debug, Clone)]
pub struct FeedLine {
    /// The line as it came: of an event, always the same bytes.
    pub text: String,
    /// What it says.
    pub value: Value,
}

impl FeedLine {
    /// The name of a control line; `None` for an event.
    pub fn control(&self) -> Option<&str> {
        self.value.get("control").and_then(Value::as_str)
    }

    /// What cannot be had, where the line says so: the rest of a partition or of a stream.
    pub fn missing(&self) -> Option<String> {
        let detail = self.value["detail"].as_str().unwrap_or_default();
        match self.control()? {
            "stopped" => Some(detail.to_owned()),
            "parked" => Some(format!(
                "{} is parked at {}: {detail}",
                self.value["stream"].as_str().unwrap_or_default(),
                self.value["position"].as_str().unwrap_or_default()
            )),
            _ => None,
        }
    }

    /// The event's stored name.
    pub fn event(&self) -> &str {
        self.value.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// The event's data.
    pub fn data(&self) -> &Value {
        &self.value["data"]
    }
}

/// An org's feed.
#[derive(Debug)]
pub struct Feed {
    lines: Lines,
    /// The first thing that the feed said it cannot give.
    missing: Option<String>,
}

impl Feed {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, missing: None }
    }

    /// The next event or control line; `None` when the feed has ended. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<FeedLine>, ClientError> {
        loop {
            let Some(text) = self.lines.next().await? else { return Ok(None) };
            if text.is_empty() {
                continue;
            }
            let value =
                serde_json::from_str(&text).map_err(|e| self.lines.foreign(&format!("a line of the feed is not valid JSON: {e}")))?;
            return Ok(Some(FeedLine { text, value }));
        }
    }

    /// The next event; `None` once caught up or ended. A partition or stream that cannot be read to its end is an error,
    /// never silence, and comes after everything that could be read.
    pub async fn next_event(&mut self) -> Result<Option<FeedLine>, ClientError> {
        loop {
            let Some(line) = self.next().await? else { return self.complete() };
            match line.control() {
                None => return Ok(Some(line)),
                Some("caught_up" | "end") => return self.complete(),
                Some(_) => self.missing = self.missing.take().or(line.missing()),
            }
        }
    }

    fn complete(&self) -> Result<Option<FeedLine>, ClientError> {
        self.missing
            .clone()
            .map_or(Ok(None), |missing| Err(ClientError::Incomplete(missing)))
    }
}

/// A message of a live channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMessage {
    /// `delta`, `typing`, `presence`, `dropped`.
    pub event: String,
    /// Its data, JSON.
    pub data: String,
}

/// An entity's volatile channel.
#[derive(Debug)]
pub struct Live {
    lines: Lines,
    event: String,
    data: Vec<String>,
}

impl Live {
    /// The first line is a greeting that is sent once the subscription stands.
    pub(super) async fn begin(mut lines: Lines) -> Result<Self, ClientError> {
        lines.next().await?;
        Ok(Self {
            lines,
            event: String::new(),
            data: Vec::new(),
        })
    }

    /// The next message; `None` when the node has ended the channel. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<LiveMessage>, ClientError> {
        loop {
            let Some(line) = self.lines.next().await? else { return Ok(None) };
            if line.is_empty() {
                let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
                if !data.is_empty() {
                    return Ok(Some(LiveMessage {
                        event,
                        data: data.join("\n"),
                    }));
                }
            } else if let Some(text) = line.strip_prefix("event:") {
                self.event = text.trim_start().to_owned();
            } else if let Some(text) = line.strip_prefix("data:") {
                self.data.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
            }
        }
    }
}
