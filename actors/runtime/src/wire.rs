//! Requests that leave the node: under the egress rule, with bounded answers, and without showing a secret.

pub(crate) mod blot;
pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod egress;
pub(crate) mod status;
