//! Log lines on standard error. A line that cannot be written is counted and forgotten: a full disk or a collector that ended is
//! no reason for a node to do less than its work.

use crate::redaction;
use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicU64, Ordering},
};
use tracing_subscriber::{
    EnvFilter, fmt,
    fmt::MakeWriter,
    util::{SubscriberInitExt, TryInitError},
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// JSON.
    Json,
    /// For people.
    Pretty,
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines of this process that could not be written.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Writes whole lines to `W`, without the secrets that somebody may have put into what they tell, and never fails.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A part of it may be out: what follows is then on the same line, which JSON readers skip.
        let text = String::from_utf8_lossy(line);
        if self.0.write_all(redaction::text(&text).as_bytes()).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Each line was written without a buffer.
        Ok(())
    }
}

/// Makes [`Lines`] over what `make` gives.
struct Forgiving<F>(F);

impl<'a, W: Write, F: Fn() -> W> MakeWriter<'a> for Forgiving<F> {
    type Writer = Lines<W>;

    fn make_writer(&'a self) -> Lines<W> {
        Lines((self.0)())
    }
}

/// What panics say is a log line as any other.
fn record_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let trace = std::backtrace::Backtrace::capture();
        let trace = (trace.status() == std::backtrace::BacktraceStatus::Captured).then(|| trace.to_string());
        tracing::error!(panic = text.unwrap_or("no text"), at, trace, "panicked");
    }));
}

/// Sends the log lines of this process to standard error, and what its panics say with them.
pub fn record(filter: EnvFilter, format: LogFormat) -> Result<(), TryInitError> {
    record_panics();
    let is_pretty = match format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    // Without its own words about lines that failed: they go to the same place, and panic there.
    let builder = fmt().log_internal_errors(false).with_env_filter(filter);
    let builder = builder.with_writer(Forgiving(io::stderr));
    if is_pretty {
        builder.with_ansi(colour).finish().try_init()
    } else {
        builder.json().flatten_event(true).finish().try_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    /// What takes nothing, as a full disk or a pipe without a reader.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn log_to<W: Write + 'static>(make: impl Fn() -> W + Send + Sync + 'static) -> u64 {
        let before = lost();
        let lines = fmt().log_internal_errors(false).json().with_writer(Forgiving(make)).finish();
        tracing::subscriber::with_default(lines, || tracing::error!(partition = 3, "append failed"));
        lost() - before
    }

    #[test]
    fn line_holds_no_secret_whoever_wrote_it() {
        let lines = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        struct Seen(std::sync::Arc<std::sync::atomic::AtomicBool>);
        impl Write for Seen {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                let line = String::from_utf8_lossy(line);
                assert!(!line.contains("Swordfish") && line.contains(redaction::MARK), "{line}");
                self.0.store(true, Ordering::Relaxed);
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let seen = lines.clone();
        let subscriber = fmt().json().with_writer(Forgiving(move || Seen(seen.clone()))).finish();
        let body = r#"{"user":"ada","password":"Swordfish"}"#;
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(body, "refused");
            tracing::error!(password = "Swordfish", "refused");
            tracing::error!("GET /x?api_key=Swordfish");
        });
        assert!(lines.load(Ordering::Relaxed));
    }

    #[test]
    fn line_that_cannot_be_written_is_counted() {
        assert_eq!(log_to(Vec::new), 0);
        assert_eq!(log_to(|| Gone), 1);
        let full = || OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        assert_eq!(log_to(full), 1);
    }
}
