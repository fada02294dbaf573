//! A response's body: read within bounds, decoded, cleared of secrets, and kept as JSON or text.

use super::blot::Blot;
use encoding_rs::{Encoding, UTF_8};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use quipu_schemas::{
    json::check,
    limits::{RESPONSE_COUNT_MAX_BYTES, RESPONSE_KEEP_BYTES, RESPONSE_READ_BYTES, TOOL_RESULT_MAX_BYTES},
};
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName},
};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::io::{self, Read};

/// A body, perhaps cut.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Its beginning, as it came.
    pub(crate) bytes: Vec<u8>,
    /// Whether there is more.
    pub(crate) cut: bool,
    /// Bytes of it that are read, and bytes of its text or JSON that are kept.
    bounds: Bounds,
    /// Bytes that came, and bytes that were announced.
    seen: u64,
    announced: Option<u64>,
    encoding: String,
    charset: String,
}

/// How much of a body is read and kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) read: usize,
    pub(crate) keep: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            read: RESPONSE_READ_BYTES,
            keep: RESPONSE_KEEP_BYTES,
        }
    }
}

impl Bounds {
    /// What is kept beside the log: a result for a model, an answer to a request.
    pub(crate) const VALUE: Self = Self {
        read: 2 * TOOL_RESULT_MAX_BYTES,
        keep: TOOL_RESULT_MAX_BYTES,
    };
}

/// What is kept of a body.
#[derive(Debug, PartialEq)]
pub(crate) enum Kept {
    /// JSON, whole.
    Json(Value),
    /// Text, whole.
    Text(String),
    /// The beginning of a text of so many bytes.
    CutText(String, u64),
    /// Nothing: it is JSON of so many bytes, and a part of JSON is not JSON.
    JsonTooLarge(u64),
}

/// Why a body cannot be read as text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the answer has the content encoding `{0}`, which is not decoded")]
    Encoding(String),
    #[error("the answer is not the {0} that it says it is")]
    Damaged(&'static str),
    #[error("the answer has the charset `{0}`, which is not known")]
    Charset(String),
}

impl Unreadable {
    /// An encoding of a stream, none of which is decoded.
    pub(crate) fn of_encoding(encoding: &str) -> Self {
        Self::Encoding(told(encoding))
    }

    /// Stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Unreadable::Encoding(_) => "encoding_unsupported",
            Unreadable::Damaged(_) => "encoding_damaged",
            Unreadable::Charset(_) => "charset_unsupported",
        }
    }
}

/// Reads a body: keeps its beginning, counts the rest, and drops what is beyond the count with its connection.
pub(crate) async fn read(response: &mut Response, bounds: Bounds) -> Result<Body, reqwest::Error> {
    let mut body = Body {
        bounds,
        ..Body::of(response.headers())
    };
    while let Some(chunk) = response.chunk().await? {
        if body.take(&chunk) == Reading::Enough {
            break;
        }
    }
    Ok(body)
}

/// Reads at most `max` bytes of a body that is looked at and not kept.
pub(crate) async fn peek(response: &mut Response, max: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk[..chunk.len().min(max - bytes.len())]);
        if bytes.len() == max {
            break;
        }
    }
    Ok(bytes)
}

/// The content encoding of an answer; empty where there is none.
pub(crate) fn content_encoding(headers: &HeaderMap) -> String {
    let word = word(headers, &CONTENT_ENCODING);
    if word == "identity" { String::new() } else { word }
}

#[derive(PartialEq)]
enum Reading {
    More,
    Enough,
}

/// A header's value, in a form that may be told.
fn word(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(", ").trim().to_ascii_lowercase()
}

fn told(word: &str) -> String {
    word.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.:, ".contains(*c))
        .take(40)
        .collect()
}

impl Body {
    fn of(headers: &HeaderMap) -> Self {
        let content_type = word(headers, &CONTENT_TYPE);
        let charset = content_type
            .split(';')
            .skip(1)
            .find_map(|parameter| parameter.trim().strip_prefix("charset="));
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            announced,
            encoding: content_encoding(headers),
            charset: charset.unwrap_or_default().trim_matches(['"', '\'', ' ']).to_owned(),
            ..Self::default()
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Reading {
        let room = self.bounds.read - self.bytes.len();
        self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.cut |= chunk.len() > room;
        self.seen += chunk.len() as u64;
        // An announced size need not be counted.
        let known = self.announced.is_some() || self.seen > RESPONSE_COUNT_MAX_BYTES.max(self.bounds.read as u64);
        if self.cut && known { Reading::Enough } else { Reading::More }
    }

    /// The body without its content encoding, as far as it is read, with the size of all of it.
    fn plain(&self) -> Result<(Vec<u8>, bool, u64), Unreadable> {
        let unpack = |reader: &mut dyn Read, name| unpack(reader, self.cut, self.bounds.read).ok_or(Unreadable::Damaged(name));
        match self.encoding.as_str() {
            _ if self.bytes.is_empty() => Ok((Vec::new(), false, 0)),
            "" => Ok((self.bytes.clone(), self.cut, self.seen.max(self.announced.unwrap_or(0)))),
            "gzip" | "x-gzip" => unpack(&mut MultiGzDecoder::new(&self.bytes[..]), "gzip"),
            // Named after zlib's form; some servers send what is inside of it.
            "deflate" => unpack(&mut ZlibDecoder::new(&self.bytes[..]), "deflate")
                .or_else(|_| unpack(&mut DeflateDecoder::new(&self.bytes[..]), "deflate")),
            other => Err(Unreadable::Encoding(told(other))),
        }
    }

    /// Bytes that came.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// What is kept of it: JSON or text whose JSON form is within its bound, without secrets.
    pub(crate) fn keep(&self, blot: &Blot) -> Result<Kept, Unreadable> {
        let (text, cut, full) = self.text()?;
        if !cut {
            let value = serde_json::from_str::<Value>(&text).ok().filter(|value| check(value).is_ok());
            if let Some(value) = value.map(|value| blot.json(value)) {
                let fits = value.to_string().len() <= self.bounds.keep;
                return Ok(if fits { Kept::Json(value) } else { Kept::JsonTooLarge(full) });
            }
            if text.is_empty() {
                return Ok(Kept::Json(Value::Null));
            }
        } else if begins_json(&text) {
            return Ok(Kept::JsonTooLarge(full));
        }
        Ok(keep_text(&text, cut, full, blot, self.bounds.keep))
    }

    /// The same as text, whatever it is.
    pub(crate) fn keep_text(&self, blot: &Blot) -> Result<Kept, Unreadable> {
        let (text, cut, full) = self.text()?;
        Ok(keep_text(&text, cut, full, blot, self.bounds.keep))
    }

    fn text(&self) -> Result<(String, bool, u64), Unreadable> {
        let (bytes, cut, full) = self.plain()?;
        let encoding = match self.charset.as_str() {
            "" => UTF_8,
            label => Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| Unreadable::Charset(told(label)))?,
        };
        Ok((encoding.decode(&bytes).0.into_owned(), cut, full))
    }
}

/// Unpacks the beginning, and counts the rest. `None` where the bytes are not what they should be.
fn unpack(reader: &mut dyn Read, packed_cut: bool, most: usize) -> Option<(Vec<u8>, bool, u64)> {
    let mut bytes = Vec::new();
    let first = (&mut *reader).take(most as u64).read_to_end(&mut bytes);
    let rest = match first {
        Ok(_) => io::copy(&mut reader.take(RESPONSE_COUNT_MAX_BYTES), &mut io::sink()),
        Err(error) => Err(error),
    };
    let full = bytes.len() as u64;
    match rest {
        Ok(more) => Some((bytes, packed_cut || more > 0, full + more)),
        // The end is missing because we left it out.
        Err(_) if packed_cut => Some((bytes, true, full)),
        Err(_) => None,
    }
}

/// Whether a text could go on to become JSON.
fn begins_json(text: &str) -> bool {
    // The last character may have been cut.
    let text = text.trim_end_matches('\u{fffd}');
    serde_json::from_str::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

fn keep_text(text: &str, cut: bool, full: u64, blot: &Blot, most: usize) -> Kept {
    let clean = if cut { blot.cut_text(text) } else { blot.text(text) };
    let kept = cut_encoded(&clean, most);
    if cut || kept.len() < clean.len() {
        Kept::CutText(kept, full)
    } else {
        Kept::Text(kept)
    }
}

/// Cuts so that the JSON string of the rest takes at most `max` bytes.
pub(crate) fn cut_encoded(text: &str, max: usize) -> String {
    let mut encoded = 2;
    text.chars()
        .take_while(|c| {
            encoded += match c {
                '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
                c if u32::from(*c) < 0x20 => 6,
                c => c.len_utf8(),
            };
            encoded <= max
        })
        .collect()
}

#[cfg(test)]
#[path = "body/tests.rs"]
mod tests;
