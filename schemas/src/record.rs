//! A record: all events and reactions of one decision, in their stored form.
//!
//! ```text
//! format u8 = 1 · zero [u8; 3] · header_len u32 · body_len u32 · header_crc u32   (little endian)
//! header JSON · body JSON · previous hash of the stream [u8; 32] · hash [u8; 32]
//! ```
//! `header_crc` is the CRC-32 of the first twelve bytes and the header. `hash` is the SHA-256 of every
//! byte before it. Neither partition, offset, epoch nor generation is inside, so moving a log keeps every
//! digest.

use crate::{
    context::Millis,
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, CredentialId, Home, OrgId, PrincipalId, StreamId},
    limits::RECORD_MAX_BYTES,
    reaction::{Reaction, ReactionKey, Settlement},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const FORMAT: u8 = 1;
const PRELUDE: usize = 16;
const HASHES: usize = 64;

/// In whose name something is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acting {
    /// Who sends the command.
    pub principal: PrincipalId,
    /// The principal on whose behalf it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<PrincipalId>,
    /// The credential whose scope cuts what is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
}

/// What a reader needs without looking at events: identity, order, provenance, settlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The stream that the record belongs to.
    pub stream: StreamId,
    /// Version of the first event (of the next one, where there is none).
    pub first_version: u64,
    /// Number of events.
    pub events: u32,
    /// Number of reactions.
    pub reactions: u32,
    /// The id of the command that the record is of.
    pub command_id: CommandId,
    /// Keyed digest of the command's body.
    pub digest: Digest,
    /// Record time, never before that of the stream's previous record.
    pub time: Millis,
    /// Who sent the command.
    pub principal: PrincipalId,
    /// The principal on whose behalf it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<PrincipalId>,
    /// The org that the two and the credential belong to, where that is not the stream's. People belong to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<OrgId>,
    /// The credential that the sender showed, an entity of the same org; none where that was the node's own token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// In whose name this record's reactions are carried out, where that is not the sender's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Acting>,
    /// The environment that the command was labelled with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// How sensitive the data is.
    #[serde(default)]
    pub data_class: DataClass,
    /// Version of the org's stream that authority was read at.
    #[serde(default)]
    pub authority: u64,
    /// What the command shares with everything that the same request caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// What caused the command: a reaction's key, or a client's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Schema version of this header.
    pub schema: u16,
    /// What this record says about a reaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<Settlement>,
    /// What its events named, so that it is found again by those names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Header {
    /// Who is meant by a principal that this record names as its sender, or as the one for whom it was sent.
    pub fn home_of(&self, who: &PrincipalId) -> Home {
        Home::of(self.home.as_ref().unwrap_or(&self.stream.org), who)
    }

    /// Version after this record.
    pub fn last_version(&self) -> u64 {
        self.first_version + u64::from(self.events) - 1
    }
}

/// An event as stored: its name and its data, byte for byte.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Stored name, `quipu.<kind>.<event>.v<n>`.
    #[serde(rename = "type")]
    pub name: String,
    /// The event's data.
    pub data: Box<RawValue>,
}

impl PartialEq for StoredEvent {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.data.get() == other.data.get()
    }
}

/// A reaction with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredReaction {
    /// Version of the event that caused it.
    pub version: u64,
    /// Its place among that event's reactions.
    pub ordinal: u32,
    /// What must follow.
    pub reaction: Reaction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    events: Vec<StoredEvent>,
    #[serde(default)]
    reactions: Vec<StoredReaction>,
}

/// [`Body`] as it is written.
#[derive(Serialize)]
struct BodyRef<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    events: &'a [StoredEvent],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reactions: &'a [StoredReaction],
}

/// A decoded record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What readers need without looking at the events.
    pub header: Header,
    /// Events, in version order.
    pub events: Vec<StoredEvent>,
    /// Reactions, in event order.
    pub reactions: Vec<StoredReaction>,
    /// Hash of the stream's previous record.
    pub previous: Digest,
    /// This record's hash.
    pub hash: Digest,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Too short, or lengths that do not add up.
    #[error("record is cut short or its lengths disagree")]
    Truncated,
    /// A format that this release does not read.
    #[error("record format {0} is not known to this release")]
    Format(u8),
    /// The header's checksum is wrong.
    #[error("record header is damaged")]
    HeaderCrc,
    /// The hash is wrong.
    #[error("record of {0} is damaged: its hash does not match its bytes")]
    Hash(String),
    /// JSON that does not parse.
    #[error("record {part} cannot be decoded: {detail}")]
    Json {
        /// `header` or `body`.
        part: &'static str,
        /// The parser's words.
        detail: String,
    },
    /// Counts in the header disagree with the body.
    #[error("record of {0} has other counts than its header says")]
    Counts(String),
    /// Larger than a record may be.
    #[error("record of {0} bytes is over the limit of {RECORD_MAX_BYTES}")]
    TooLarge(usize),
}

/// An encoded record, whole and with its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// The stored bytes, hashes included.
    pub bytes: Vec<u8>,
    /// The hash at their end.
    pub hash: Digest,
}

/// Encodes a record onto its stream's chain.
pub fn encode(
    header: &Header,
    events: impl AsRef<[StoredEvent]>,
    reactions: impl AsRef<[StoredReaction]>,
    previous: Digest,
) -> Result<EncodedRecord, RecordError> {
    let json = |part, e: serde_json::Error| RecordError::Json {
        part,
        detail: e.to_string(),
    };
    let (events, reactions) = (events.as_ref(), reactions.as_ref());
    let mut bytes = Vec::with_capacity(1024 + events.iter().map(|event| event.data.get().len()).sum::<usize>());
    bytes.resize(PRELUDE, 0);
    serde_json::to_writer(&mut bytes, header).map_err(|e| json("header", e))?;
    let header_len = bytes.len() - PRELUDE;
    serde_json::to_writer(&mut bytes, &BodyRef { events, reactions }).map_err(|e| json("body", e))?;
    let body_len = bytes.len() - PRELUDE - header_len;
    let total = bytes.len() + HASHES;
    if total > RECORD_MAX_BYTES {
        return Err(RecordError::TooLarge(total));
    }
    bytes[0] = FORMAT;
    bytes[4..8].copy_from_slice(&(header_len as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&(body_len as u32).to_le_bytes());
    let crc = header_crc(&bytes, header_len);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&previous.0);
    let hash = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&hash.0);
    Ok(EncodedRecord { bytes, hash })
}

fn header_crc(bytes: &[u8], header_len: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&bytes[PRELUDE..PRELUDE + header_len]);
    crc.finalize()
}

struct Parts<'a> {
    header: &'a [u8],
    body: &'a [u8],
    previous: Digest,
    hash: Digest,
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn split(bytes: &[u8]) -> Result<Parts<'_>, RecordError> {
    if bytes.len() > RECORD_MAX_BYTES {
        return Err(RecordError::TooLarge(bytes.len()));
    }
    if bytes.len() < PRELUDE + HASHES {
        return Err(RecordError::Truncated);
    }
    if bytes[0] != FORMAT {
        return Err(RecordError::Format(bytes[0]));
    }
    let (header_len, body_len) = (u32_at(bytes, 4), u32_at(bytes, 8));
    if header_len.checked_add(body_len).and_then(|n| n.checked_add(PRELUDE + HASHES)) != Some(bytes.len()) {
        return Err(RecordError::Truncated);
    }
    if header_crc(bytes, header_len) as usize != u32_at(bytes, 12) {
        return Err(RecordError::HeaderCrc);
    }
    let hashes = bytes.len() - HASHES;
    let digest = |at: usize| Digest(bytes[at..at + 32].try_into().expect("32 bytes"));
    Ok(Parts {
        header: &bytes[PRELUDE..PRELUDE + header_len],
        body: &bytes[PRELUDE + header_len..hashes],
        previous: digest(hashes),
        hash: digest(hashes + 32),
    })
}

/// Decodes the header alone, checking its CRC but not the record's hash.
pub fn decode_header(bytes: &[u8]) -> Result<Header, RecordError> {
    header_of(&split(bytes)?)
}

/// Versions count from 1 and have an end; a header that says otherwise was never written by us.
fn header_of(parts: &Parts<'_>) -> Result<Header, RecordError> {
    let header: Header = serde_json::from_slice(parts.header).map_err(|e| RecordError::Json {
        part: "header",
        detail: e.to_string(),
    })?;
    if header.first_version == 0 || header.first_version.checked_add(u64::from(header.events)).is_none() {
        return Err(RecordError::Counts(header.stream.to_string()));
    }
    Ok(header)
}

/// The hash that the bytes claim, unchecked.
pub fn claimed_hash(bytes: &[u8]) -> Result<Digest, RecordError> {
    Ok(split(bytes)?.hash)
}

/// The previous hash that the bytes claim, unchecked.
pub fn claimed_previous(bytes: &[u8]) -> Result<Digest, RecordError> {
    Ok(split(bytes)?.previous)
}

/// Whether the record's hash matches its bytes.
pub fn check_hash(bytes: &[u8]) -> Result<(), RecordError> {
    let parts = split(bytes)?;
    if Digest::of(&[&bytes[..bytes.len() - 32]]) == parts.hash {
        Ok(())
    } else {
        let stream = decode_header(bytes).map_or_else(|_| "an unknown stream".into(), |h| h.stream.to_string());
        Err(RecordError::Hash(stream))
    }
}

/// Decodes a whole record, checking its CRC, hash and counts (not its place in the chain).
pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
    check_hash(bytes)?;
    let parts = split(bytes)?;
    let header = header_of(&parts)?;
    let body: Body = serde_json::from_slice(parts.body).map_err(|e| RecordError::Json {
        part: "body",
        detail: e.to_string(),
    })?;
    if body.events.len() != header.events as usize || body.reactions.len() != header.reactions as usize {
        return Err(RecordError::Counts(header.stream.to_string()));
    }
    Ok(Record {
        header,
        events: body.events,
        reactions: body.reactions,
        previous: parts.previous,
        hash: parts.hash,
    })
}

impl Record {
    /// The keys of this record's reactions, with them.
    pub fn keyed_reactions(&self) -> impl Iterator<Item = (ReactionKey, &Reaction)> {
        self.reactions.iter().map(|r| {
            (
                ReactionKey {
                    stream: self.header.stream.clone(),
                    version: r.version,
                    ordinal: r.ordinal,
                },
                &r.reaction,
            )
        })
    }
}

#[cfg(test)]
mod tests;
