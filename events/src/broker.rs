//! What the logs on brokers share: the frames of a partition as messages, which message holds which offset, and what an
//! acknowledgement is worth.

pub(crate) mod durability;
pub(crate) mod frames;
pub(crate) mod job;
pub(crate) mod marks;
