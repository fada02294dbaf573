//! Waiting: for a value that fits, and before another attempt, doubling up to a bound.

use quipu_events::pause::Pause;
use quipu_schemas::limits::BUS_PAUSE_MS;
use std::time::Duration;
use tokio::sync::watch;

/// Waits until a value fits; `false` where it never will again.
pub(super) async fn until<T>(value: &mut watch::Receiver<T>, fits: impl FnMut(&T) -> bool) -> bool {
    value.wait_for(fits).await.is_ok()
}

/// How long the next pause is.
#[derive(Debug)]
pub(super) struct Pace {
    own: Pause,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            own: Pause::new(BUS_PAUSE_MS),
        }
    }

    /// Waits before the next attempt, at least `hint`.
    pub(super) async fn wait(&mut self, hint: Option<u32>) {
        let hint = hint.map_or(0, |seconds| u64::from(seconds) * 1_000).min(BUS_PAUSE_MS.1);
        // A hint is for many clients; whoever waits in a queue of its own may ask sooner the first times.
        let own = self.own.next_ms();
        let pause = if own < 1_000 { own } else { own.max(hint) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
