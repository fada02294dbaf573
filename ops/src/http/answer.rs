//! Answers that hold memory of the node's budget for reads until their last byte is written.

use super::{Answer, json_bytes, problem};
use axum::body::Bytes;
use quipu_runtime::node::ReadPermit;

/// The bytes of an answer, and what they hold: dropped by the connection when it has written them, or has closed.
struct HeldBytes {
    bytes: Vec<u8>,
    _permit: ReadPermit,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A JSON answer that holds its own size from here on, of what reading it was given.
pub(super) fn json_held(value: &impl serde::Serialize, mut permit: ReadPermit) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.shrink_to_fit();
            permit.shrink_to(bytes.len());
            Ok(json_bytes(Bytes::from_owner(HeldBytes { bytes, _permit: permit })))
        }
        Err(e) => Err(problem::internal(format!("the answer cannot be encoded: {e}")).into()),
    }
}
