//! Directives by digest: a text never changes, so what was read once is kept, within a bound of bytes.

use super::unavailable;
use crate::{
    core::Core,
    library::{Cancel, Placed},
    performers::PromptError,
};
use parking_lot::Mutex;
use quipu_events::index::{PageBefore, PageFrom, RecordKey};
use quipu_kinds::agent::AgentEvent;
use quipu_schemas::{codec, digest::Digest, ids::StreamId, limits::DIRECTIVES_KEPT_BYTES};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

type Key = (StreamId, Digest);

#[derive(Default)]
struct Kept {
    texts: BTreeMap<Key, Arc<str>>,
    /// In the order in which they came.
    order: VecDeque<Key>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, key: Key, text: Arc<str>, most: usize) {
        if self.texts.contains_key(&key) {
            return;
        }
        self.bytes += text.len();
        self.order.push_back(key.clone());
        self.texts.insert(key, text);
        while self.bytes > most
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.texts.remove(&oldest) {
                self.bytes -= gone.len();
            }
        }
    }
}

/// The directives that a node has read.
#[derive(Default)]
pub(super) struct Directives(Mutex<Kept>);

impl Directives {
    /// The text of an agent's directive.
    pub(super) fn text(&self, core: &Core, agent: &StreamId, digest: &Digest, cancel: &Cancel) -> Result<Arc<str>, PromptError> {
        let key = (agent.clone(), *digest);
        if let Some(text) = self.0.lock().texts.get(&key) {
            return Ok(text.clone());
        }
        let text: Arc<str> = find(core, agent, digest, cancel)?.into();
        self.0.lock().keep(key, text.clone(), DIRECTIVES_KEPT_BYTES);
        Ok(text)
    }
}

/// Looks from both ends of the stream: agents get directives when they are made, and when they are changed.
fn find(core: &Core, agent: &StreamId, digest: &Digest, cancel: &Cancel) -> Result<String, PromptError> {
    let mut forward = core.read_on(agent, PageFrom::Version(0), cancel).map_err(unavailable)?;
    let (mut begun, mut before, mut end) = (0, PageBefore::End, u64::MAX);
    while begun < end {
        let page: Vec<Placed> = forward.by_ref().take(PAGE).collect();
        let Some((last, _)) = page.last() else { break };
        begun = last.offset + 1;
        if let Some(text) = page.iter().find_map(|(_, record)| added(record, digest)) {
            return Ok(text);
        }
        if begun >= end {
            break;
        }
        let page = core.read_back(agent, before).map_err(unavailable)?;
        if let Some(text) = page.iter().find_map(|(_, record)| added(record, digest)) {
            return Ok(text);
        }
        let Some((first, record)) = page.last() else { break };
        end = first.offset;
        before = PageBefore::Key(RecordKey {
            first_version: record.header.first_version,
            offset: first.offset,
        });
    }
    forward.end().map_err(unavailable)?;
    Err(PromptError::Gone(format!("directive {digest} of {agent}")))
}

/// Records that are looked at from the beginning before some are from the end.
const PAGE: usize = 64;

fn added(record: &quipu_schemas::record::Record, digest: &Digest) -> Option<String> {
    record.events.iter().find_map(|stored| match codec::decode_event(stored) {
        Ok(AgentEvent::DirectiveAdded { digest: found, text }) if found == *digest => Some(text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_texts_make_room() {
        let mut kept = Kept::default();
        let key = |n: u8| -> Key { ("acme/agent/a".parse().unwrap(), Digest([n; 32])) };
        for n in 0..4 {
            kept.keep(key(n), "0123456789".into(), 25);
        }
        assert_eq!((kept.bytes, kept.texts.len(), kept.order.len()), (20, 2, 2));
        assert!(kept.texts.contains_key(&key(3)) && !kept.texts.contains_key(&key(1)));
    }
}
