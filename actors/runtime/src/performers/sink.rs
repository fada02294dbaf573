//! Where the pieces of a model's answer go while they come.

use crate::{
    providers::Deltas,
    volatile::{Volatile, VolatileEvent},
};
use parking_lot::Mutex;
use quipu_schemas::reaction::StreamTo;
use std::sync::Arc;

/// The text of an attempt so far; outlives the attempt's future, so that a cancellation can tell it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partial(Arc<Mutex<String>>);

impl Partial {
    fn push(&self, text: &str) {
        self.0.lock().push_str(text);
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().clone()
    }
}

/// Publishes deltas in order on the volatile channel, and keeps the text so far.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    pub(crate) volatile: &'a Volatile,
    pub(crate) stream_to: Option<&'a StreamTo>,
    pub(crate) partial: &'a Partial,
    pub(crate) next_index: u64,
}

impl Deltas for Sink<'_> {
    fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.partial.push(text);
        if let Some(to) = self.stream_to {
            let (turn, agent, text) = (to.turn.clone(), to.agent.clone(), text.to_owned());
            self.volatile.publish(
                &to.conversation,
                VolatileEvent::Delta {
                    turn,
                    agent,
                    index: self.next_index,
                    text,
                },
            );
        }
        self.next_index += 1;
    }
}
