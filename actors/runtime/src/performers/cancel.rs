//! Cancelling an attempt that is under way.

use tokio::sync::watch;

/// The end that cancels. Dropping it without cancelling leaves the attempt alone.
#[derive(Debug)]
pub struct CancelSource(watch::Sender<bool>);

/// The end that an attempt watches.
#[derive(Debug, Clone)]
pub struct CancelToken(watch::Receiver<bool>);

/// A connected pair.
pub fn cancel_pair() -> (CancelSource, CancelToken) {
    let (sender, receiver) = watch::channel(false);
    (CancelSource(sender), CancelToken(receiver))
}

impl CancelSource {
    /// Cancels, once and for good.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Another token of the same source.
    pub fn token(&self) -> CancelToken {
        CancelToken(self.0.subscribe())
    }
}

impl CancelToken {
    /// A token that is never cancelled.
    pub fn never() -> Self {
        cancel_pair().1
    }

    /// Whether it is cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is cancelled; never, if the source is gone. Cancel-safe.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_token_hears_its_source_and_not_its_sources_end() {
        let (source, token) = cancel_pair();
        assert!(!token.is_cancelled() && token.cancelled().now_or_never().is_none());
        source.cancel();
        assert!(token.is_cancelled() && token.cancelled().now_or_never().is_some());
        assert!(source.token().is_cancelled());
        let never = CancelToken::never();
        assert!(!never.is_cancelled() && never.cancelled().now_or_never().is_none());
    }
}
