//! What the logs on brokers share: the frames of a partition as messages, which message holds which offset, what an
//! acknowledgement is worth, and the newest records in memory.

pub(crate) mod durability;
pub(crate) mod frames;
pub(crate) mod job;
pub(crate) mod marks;
pub(crate) mod recent;
