//! Bytes of requests on their way in: they count against the node's bound on bytes of commands from the first one on.

use super::Node;
use quipu_schemas::problem::Problem;
use std::sync::atomic::Ordering;

/// The bytes of one request that have arrived, until it is dropped.
pub struct BodyHold {
    node: Node,
    bytes: usize,
}

impl Node {
    /// Begins to count a request's bytes.
    pub fn hold_body(&self) -> BodyHold {
        BodyHold {
            node: self.clone(),
            bytes: 0,
        }
    }
}

impl BodyHold {
    /// Counts so many more; refused where the node holds too many already.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let inner = &self.node.0;
        self.bytes += bytes;
        let held = inner.core.waiting_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if held <= inner.config.queue_max_bytes {
            return Ok(());
        }
        inner.core.counters.overloaded.fetch_add(1, Ordering::Relaxed);
        let most = inner.config.queue_max_bytes;
        let detail = format!("commands and request bodies hold {held} bytes; {most} is the limit (limits.queue_bytes)");
        Err(Problem::new(503, "overloaded", detail)
            .fix("try again later with the same Idempotency-Key")
            .retry_after(1))
    }
}

impl Drop for BodyHold {
    fn drop(&mut self) {
        self.node.0.core.waiting_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for BodyHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyHold").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// About how many bytes a body takes in memory.
pub(super) fn rough_size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len() + 16,
        serde_json::Value::Array(items) => 16 + items.iter().map(rough_size).sum::<usize>(),
        serde_json::Value::Object(map) => 16 + map.iter().map(|(k, v)| k.len() + rough_size(v)).sum::<usize>(),
        _ => 16,
    }
}
