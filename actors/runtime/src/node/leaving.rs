//! The end of an orderly stop that model calls need: answers that are on their way are paid for.

use super::Node;
use quipu_schemas::limits;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

impl Node {
    /// Begins nothing new, and waits until every model call that is under way has ended and its outcome is recorded: at most
    /// `patience`, and at most [`limits::MODEL_CALL_STOP_MS`]. What is still under way then ends as
    /// [`NODE_STOPPED`](crate::performers::NODE_STOPPED), and that is recorded: no start asks again without anybody knowing.
    /// To be called while the node still owns its partitions.
    pub async fn finish_model_calls(&self, patience: Duration) {
        self.0.core.leaving.store(true, Ordering::Release);
        let longest = Duration::from_millis(limits::MODEL_CALL_STOP_MS);
        if self.model_calls_recorded(patience.min(longest)).await {
            return;
        }
        let calls = self.open_model_calls();
        tracing::warn!(
            calls,
            "model calls were still running when the node had to stop; they end as node_stopped"
        );
        self.0.performers.end_model_calls();
        if !self.model_calls_recorded(Duration::from_millis(limits::STOP_RECORD_MS)).await {
            let calls = self.open_model_calls();
            tracing::error!(calls, "the end of model calls could not be recorded; the next start asks again");
        }
    }

    /// Model calls that are under way, or whose end is not recorded yet.
    pub fn open_model_calls(&self) -> usize {
        self.0.core.vitals.lock().open_calls()
    }

    async fn model_calls_recorded(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut durable = self.0.core.durable.subscribe();
        while self.open_model_calls() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // An outcome is a record like any other. A partition that is lost meanwhile wakes nobody: looked at now and then.
            let _ = tokio::time::timeout(left.min(Duration::from_millis(50)), durable.changed()).await;
        }
        true
    }
}
