//! Kept whose records cannot be looked up by their ids, because an older release wrote them: a conversation keeps them in mind,
//! packed, so that a long one takes little memory and recovers quickly.
//!
//! Older messages are one sorted byte array, which is also their form in a snapshot: recovery copies the array and allocates nothing
//! per message. Newer messages are in a map, and are merged into the array once the map is large beside it.
//!
//! ```text
//! senders u32 · (len u8 · id) of each, sorted · messages u32 · end of each entry u32 …
//! entries: what u8 · sender u32 (of posted ones, else 0) · digest [u8; 32] · id        all little endian
//! ```

use quipu_kinds::conversation::ContentType;
use quipu_schemas::{
    digest::Digest,
    ids::{MessageId, PrincipalId},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Kept that stand in the map at the least before they move into the bytes.
const FRESH_MIN: usize = 512;
/// They are then a part of all of this size: moving them costs the same for each however many there are.
const FRESH_SHARE: usize = 4;
const ENTRY: usize = 1 + 4 + 32;

/// A message, without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Posted.
    Posted {
        /// By whom.
        sender: PrincipalId,
        /// Keyed digest of the posting command.
        digest: Digest,
        /// How its body is to be read.
        content_type: ContentType,
    },
    /// Imported from a transcript.
    Imported {
        /// Keyed digest of the importing command.
        digest: Digest,
    },
    /// Deleted.
    Deleted {
        /// Keyed digest of the command that brought it.
        digest: Digest,
    },
}

impl Message {
    /// Who said it, if that is known of it.
    pub fn sender(&self) -> Option<&PrincipalId> {
        match self {
            Message::Posted { sender, .. } => Some(sender),
            Message::Imported { .. } | Message::Deleted { .. } => None,
        }
    }

    /// The digest by which a repeated id is compared.
    pub fn digest(&self) -> Digest {
        match self {
            Message::Posted { digest, .. } | Message::Imported { digest } | Message::Deleted { digest } => *digest,
        }
    }
}

/// What is known of each, by id.
#[derive(Clone, Default)]
pub struct Kept {
    packed: Packed,
    fresh: BTreeMap<MessageId, Message>,
    /// Of the fresh ones, those that replace a packed one.
    replaced: usize,
}

impl Kept {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.packed.ends.len() / 4 + self.fresh.len() - self.replaced
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a message has this id.
    pub fn contains_key(&self, id: &MessageId) -> bool {
        self.fresh.contains_key(id) || self.packed.find(id).is_some()
    }

    /// What is known of a message.
    pub fn get(&self, id: &MessageId) -> Option<Message> {
        match self.fresh.get(id) {
            Some(message) => Some(message.clone()),
            None => self.packed.message(self.packed.find(id)?),
        }
    }

    /// Adds a message, or replaces what is known of it; whether its id was there.
    pub fn insert(&mut self, id: MessageId, message: Message) -> bool {
        let packed = self.packed.find(&id).is_some();
        let fresh = self.fresh.insert(id, message).is_some();
        self.replaced += usize::from(packed && !fresh);
        if self.fresh.len() >= FRESH_MIN.max(self.packed.ends.len() / 4 / FRESH_SHARE) {
            self.packed = Packed::of(self.iter());
            self.fresh.clear();
            self.replaced = 0;
        }
        packed || fresh
    }

    /// All of them, by id.
    fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, Message>)> {
        let mut fresh = self.fresh.iter().peekable();
        let mut packed = self.packed.iter().peekable();
        std::iter::from_fn(move || {
            let order = match (fresh.peek(), packed.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((new, _)), Some((old, _))) => new.as_str().cmp(old),
            };
            if order == Ordering::Equal {
                packed.next();
            }
            if order == Ordering::Greater {
                let (id, message) = packed.next()?;
                return Some((Cow::Borrowed(id), Cow::Owned(message)));
            }
            let (id, message) = fresh.next()?;
            Some((Cow::Borrowed(id.as_str()), Cow::Borrowed(message)))
        })
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// For people a map; in a snapshot the bytes, the same for the same messages.
impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_map(self.iter())
        } else if self.fresh.is_empty() {
            serializer.serialize_bytes(&self.packed.bytes())
        } else {
            serializer.serialize_bytes(&Packed::of(self.iter()).bytes())
        }
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let mut messages = Self::default();
            for (id, message) in BTreeMap::<MessageId, Message>::deserialize(deserializer)? {
                messages.insert(id, message);
            }
            return Ok(messages);
        }
        let bytes = deserializer.deserialize_bytes(Bytes)?;
        let packed = Packed::read(&bytes).ok_or_else(|| D::Error::custom("messages are damaged"))?;
        Ok(Self { packed, ..Self::default() })
    }
}

struct Bytes;

impl<'de> serde::de::Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packed messages")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

impl JsonSchema for Kept {
    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<MessageId, Message>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<MessageId, Message>::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The bytes, apart from each other for looking things up.
#[derive(Clone, Default)]
struct Packed {
    senders: Vec<PrincipalId>,
    ends: Vec<u8>,
    entries: Vec<u8>,
}

fn what(message: &Message) -> u8 {
    match message {
        Message::Deleted { .. } => 0,
        Message::Imported { .. } => 1,
        Message::Posted { content_type, .. } => match content_type {
            ContentType::Text => 2,
            ContentType::Markdown => 3,
            ContentType::Html => 4,
            ContentType::Json => 5,
            ContentType::Event => 6,
        },
    }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// Sizes are far below this: a state is as large as its conversation, which is bounded.
fn number(size: usize) -> [u8; 4] {
    u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes()
}

impl Packed {
    fn of<'a>(messages: impl Iterator<Item = (Cow<'a, str>, Cow<'a, Message>)>) -> Self {
        let messages: Vec<_> = messages.collect();
        let senders: BTreeSet<&PrincipalId> = messages.iter().filter_map(|(_, message)| message.sender()).collect();
        let senders: Vec<PrincipalId> = senders.into_iter().cloned().collect();
        let mut packed = Self {
            ends: Vec::with_capacity(4 * messages.len()),
            entries: Vec::with_capacity(messages.iter().map(|(id, _)| ENTRY + id.len()).sum()),
            senders,
        };
        for (id, message) in &messages {
            let sender = message.sender().and_then(|sender| packed.senders.binary_search(sender).ok());
            packed.entries.push(what(message));
            packed.entries.extend(number(sender.unwrap_or_default()));
            packed.entries.extend(message.digest().0);
            packed.entries.extend(id.as_bytes());
            packed.ends.extend(number(packed.entries.len()));
        }
        packed
    }

    fn bytes(&self) -> Vec<u8> {
        let senders: usize = self.senders.iter().map(|sender| 1 + sender.as_str().len()).sum();
        let mut bytes = Vec::with_capacity(8 + senders + self.ends.len() + self.entries.len());
        bytes.extend(number(self.senders.len()));
        for sender in &self.senders {
            // Ids have at most 255 characters of one byte.
            bytes.push(u8::try_from(sender.as_str().len()).unwrap_or(u8::MAX));
            bytes.extend(sender.as_str().as_bytes());
        }
        bytes.extend(number(self.ends.len() / 4));
        bytes.extend(&self.ends);
        bytes.extend(&self.entries);
        bytes
    }

    /// Takes bytes apart; `None` if they do not fit together.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut at = 4;
        let mut senders = Vec::new();
        for _ in 0..word(bytes, 0)? {
            let len = usize::from(*bytes.get(at)?);
            let id = std::str::from_utf8(bytes.get(at + 1..at + 1 + len)?).ok()?;
            senders.push(PrincipalId::parse(id).ok()?);
            at += 1 + len;
        }
        let ends_at = at + 4;
        let entries_at = ends_at.checked_add(word(bytes, at)?.checked_mul(4)?)?;
        let packed = Self {
            senders,
            ends: bytes.get(ends_at..entries_at)?.to_vec(),
            entries: bytes.get(entries_at..)?.to_vec(),
        };
        packed.is_whole().then_some(packed)
    }

    /// Whether each entry is readable, and after the one before it.
    fn is_whole(&self) -> bool {
        let mut last: &[u8] = &[];
        let mut end = 0;
        for index in 0..self.ends.len() / 4 {
            let Some(entry) = self.entry(index) else { return false };
            let (what, id) = (entry[0], &entry[ENTRY..]);
            let known = word(entry, 1).is_some_and(|sender| if what > 1 { sender < self.senders.len() } else { sender == 0 });
            if what > 6 || !known || id <= last || !id.is_ascii() {
                return false;
            }
            (last, end) = (id, end + entry.len());
        }
        end == self.entries.len()
    }

    fn entry(&self, index: usize) -> Option<&[u8]> {
        let begin = if index == 0 { 0 } else { word(&self.ends, 4 * (index - 1))? };
        let entry = self.entries.get(begin..word(&self.ends, 4 * index)?)?;
        (entry.len() > ENTRY).then_some(entry)
    }

    fn find(&self, id: &MessageId) -> Option<usize> {
        let (mut low, mut high) = (0, self.ends.len() / 4);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle)?[ENTRY..].cmp(id.as_str().as_bytes()) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn message(&self, index: usize) -> Option<Message> {
        let entry = self.entry(index)?;
        let digest = Digest(entry[5..ENTRY].try_into().ok()?);
        let content_type = match entry[0] {
            0 => return Some(Message::Deleted { digest }),
            1 => return Some(Message::Imported { digest }),
            2 => ContentType::Text,
            3 => ContentType::Markdown,
            4 => ContentType::Html,
            5 => ContentType::Json,
            _ => ContentType::Event,
        };
        Some(Message::Posted {
            sender: self.senders.get(word(entry, 1)?)?.clone(),
            digest,
            content_type,
        })
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Message)> {
        (0..self.ends.len() / 4).filter_map(|index| {
            let id = std::str::from_utf8(&self.entry(index)?[ENTRY..]).ok()?;
            Some((id, self.message(index)?))
        })
    }
}
