//! What reads may hold in memory: bytes of a node, shared by all that are at work and all whose answers are not written yet.

use quipu_schemas::{limits::READ_WAIT_MS, problem::Problem};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget of a node.
#[derive(Debug, Clone)]
pub(crate) struct ReadBudget {
    free: Arc<Semaphore>,
    bytes: usize,
    wait: Duration,
}

/// Bytes that a read holds, until it is dropped.
#[derive(Debug)]
pub struct ReadPermit(OwnedSemaphorePermit);

/// What was read, and the bytes that it holds.
#[derive(Debug)]
pub struct Held<T> {
    /// What was read.
    pub value: T,
    /// To be kept as long as the value, or what is made from it.
    pub permit: ReadPermit,
}

impl ReadBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes)),
            bytes,
            wait: Duration::from_millis(READ_WAIT_MS),
        }
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.bytes.saturating_sub(self.free.available_permits())
    }

    /// Holds so many bytes (all there are, where that is more), waiting a little for others to end.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<ReadPermit, Problem> {
        let bytes = bytes.clamp(1, self.bytes) as u32;
        if let Ok(permit) = self.free.clone().try_acquire_many_owned(bytes) {
            return Ok(ReadPermit(permit));
        }
        let waiting = self.free.clone().acquire_many_owned(bytes);
        match tokio::time::timeout(self.wait, waiting).await {
            Ok(Ok(permit)) => Ok(ReadPermit(permit)),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

fn busy() -> Problem {
    let detail = "the memory for reads is in use: other reads are running, or their answers were not taken yet";
    Problem::new(503, "reads_busy", detail)
        .fix("try again later, or ask for smaller pages")
        .retry_after(1)
}

impl ReadPermit {
    /// Gives back what is held beyond so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let held = self.0.num_permits();
        if held > bytes {
            drop(self.0.split(held - bytes));
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.0.num_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_refused_to_others_and_comes_back() {
        let budget = ReadBudget {
            wait: Duration::from_millis(10),
            ..ReadBudget::new(100)
        };
        let mut one = budget.reserve(70).await.unwrap();
        let refused = budget.reserve(40).await.unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (503, "reads_busy"));
        assert!(refused.retry_after.is_some());
        one.shrink_to(50);
        assert_eq!((one.bytes(), budget.held()), (50, 50));
        let two = budget.reserve(40).await.unwrap();
        drop((one, two));
        assert_eq!(
            budget.reserve(1_000).await.unwrap().bytes(),
            100,
            "more than there is is all there is"
        );
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn a_read_that_waits_gets_what_another_gives_back() {
        let budget = ReadBudget::new(100);
        let one = budget.reserve(100).await.unwrap();
        let (waited, ()) = tokio::join!(budget.reserve(60), async move { drop(one) });
        assert_eq!(waited.unwrap().bytes(), 60);
    }
}
