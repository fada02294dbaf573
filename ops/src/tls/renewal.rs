//! Certificates are replaced while the node runs: on SIGHUP, and when the files change. Their end is told before it comes.

use super::{Certificates, TlsError};
use crate::clock::rfc3339;
use quipu_schemas::{
    context::Millis,
    limits::{TLS_LOOK_MS, TLS_WARN_AGAIN_MS, TLS_WARN_BEFORE_MS},
};
use std::{sync::Arc, time::Duration};

/// Unix time at which the served certificate ends, in seconds.
pub const CERTIFICATE_END: &str = "quipu_tls_certificate_end_seconds";
/// Certificate files that could not be taken.
pub const RELOAD_ERRORS: &str = "quipu_tls_reload_errors_total";

/// Between two looks at the files of a node.
pub const LOOK_EVERY: Duration = Duration::from_millis(TLS_LOOK_MS);

/// What a look at the files came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing to say.
    Same,
    /// Another certificate is served from here on.
    Replaced,
    /// The files cannot be served.
    Refused(String),
    /// The served one ends soon.
    Ends(Millis),
}

/// What is told, and when it is told again.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    refused: Option<String>,
    warned: Option<Millis>,
}

impl Watch {
    /// What to say after a look. An error is told once for as long as it is the same, an end at most once a day.
    pub(crate) fn look(&mut self, reloaded: Result<bool, TlsError>, ends: Millis, now: Millis) -> Look {
        match reloaded {
            Err(error) => {
                let why = error.to_string();
                if self.refused.as_ref() != Some(&why) {
                    self.refused = Some(why.clone());
                    return Look::Refused(why);
                }
            }
            Ok(is_other) => {
                self.refused = None;
                if is_other {
                    self.warned = None;
                    return Look::Replaced;
                }
            }
        }
        let is_due = self.warned.is_none_or(|warned| now.saturating_sub(warned) >= TLS_WARN_AGAIN_MS);
        if is_due && ends_soon(ends, now) {
            self.warned = Some(now);
            return Look::Ends(ends);
        }
        Look::Same
    }
}

/// Whether a certificate has to be renewed by now.
pub fn ends_soon(ends: Millis, now: Millis) -> bool {
    ends.saturating_sub(now) < TLS_WARN_BEFORE_MS
}

/// SIGHUP, from the moment this exists: it does not end the process then.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    fn listen() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn heard(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// Looks at the files this often ([`LOOK_EVERY`]), and at once on SIGHUP. Ends only when it is aborted.
pub async fn watch(certificates: Arc<Certificates>, every: Duration, now: impl Fn() -> Millis) {
    let (mut hangup, mut watch) = (Hangup::listen(), Watch::default());
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = hangup.heard() => {}
        }
        let (reading, at) = (certificates.clone(), now());
        let reloaded = match tokio::task::spawn_blocking(move || reading.reload(at)).await {
            Ok(reloaded) => reloaded,
            // The runtime is shutting down.
            Err(ended) if ended.is_cancelled() => return,
            Err(crashed) => std::panic::resume_unwind(crashed.into_panic()),
        };
        let ends = certificates.ends();
        metrics::gauge!(CERTIFICATE_END).set(ends as f64 / 1_000.0);
        match watch.look(reloaded, ends, at) {
            Look::Same => {}
            Look::Replaced => tracing::info!(ends = %rfc3339(ends), "another certificate is served"),
            Look::Refused(why) => {
                metrics::counter!(RELOAD_ERRORS).increment(1);
                tracing::error!(
                    why,
                    "the certificate files cannot be used; the previous certificate is still served"
                );
            }
            Look::Ends(ends) => tracing::warn!(ends = %rfc3339(ends), "the certificate ends soon: renew it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 24 * 60 * 60 * 1_000;

    #[test]
    fn end_is_told_two_weeks_before_once_a_day() {
        let (mut watch, ends) = (Watch::default(), 100 * DAY);
        assert_eq!(watch.look(Ok(false), ends, 86 * DAY), Look::Same);
        assert_eq!(watch.look(Ok(false), ends, 86 * DAY + 1), Look::Ends(ends));
        assert_eq!(watch.look(Ok(false), ends, 87 * DAY), Look::Same);
        assert_eq!(watch.look(Ok(false), ends, 87 * DAY + 1), Look::Ends(ends));
        assert_eq!(watch.look(Ok(true), 200 * DAY, 87 * DAY + 2), Look::Replaced);
        assert_eq!(watch.look(Ok(false), 200 * DAY, 88 * DAY), Look::Same);
        assert_eq!(watch.look(Ok(false), ends, 101 * DAY), Look::Ends(ends), "also when it is over");
    }

    #[test]
    fn bad_files_are_told_once_for_as_long_as_they_are_bad() {
        let (mut watch, ends) = (Watch::default(), 100 * DAY);
        let bad = |name: &str| Err(TlsError::NoKey(name.into()));
        assert!(matches!(watch.look(bad("a"), ends, 1), Look::Refused(_)));
        assert_eq!(watch.look(bad("a"), ends, 2), Look::Same);
        assert!(matches!(watch.look(bad("b"), ends, 3), Look::Refused(_)));
        assert_eq!(watch.look(Ok(false), ends, 4), Look::Same);
        assert!(matches!(watch.look(bad("b"), ends, 5), Look::Refused(_)));
    }
}
