//! What a member is told, and what it asks of the world.

use super::super::{appender::Ask, lessee::LeaseAsk};
use super::errands::ForwardAnswer;
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, StreamId},
    problem::Problem,
    reaction::{Effect, ReactionKey},
};
use std::sync::Arc;

/// What a node has to do later, by itself.
#[derive(Debug, Clone)]
pub(crate) enum Wake {
    Tick(u16),
    LookAgain { partition: u16, question: u64 },
    LeaseDeadline { flow: u64 },
    ReadToEnd { partition: u16, epoch: u64 },
    ReadBack { partition: u16, epoch: u64, batch: [u8; 16] },
    Drain { partition: u16, epoch: u64 },
    Handle,
    Submit(u64),
    ForwardTimeout { submission: u64, attempt: u32 },
    Relay { partition: u16, relay: u64 },
}

/// What a node gives to the world.
#[expect(clippy::large_enum_variant, reason = "few are in memory at a time, and each is moved once")]
pub(crate) enum Out {
    Later {
        after_ms: u64,
        wake: Wake,
    },
    Broker {
        partition: u16,
        question: u64,
        ask: Ask,
    },
    Lease {
        partition: u16,
        flow: u64,
        ask: LeaseAsk,
    },
    Forward {
        to: usize,
        submission: u64,
        attempt: u32,
        envelope: Arc<CommandEnvelope>,
    },
    Forwarded(ForwardAnswer),
    Answer {
        operation: u64,
        stream: StreamId,
        id: CommandId,
        result: Result<Receipt, Problem>,
    },
    Attempt {
        number: u64,
        key: ReactionKey,
        attempt: u32,
        effect: Effect,
    },
    Admitted {
        partition: u16,
        epoch: u64,
    },
    Lost {
        partition: u16,
    },
}
