//! The voice of a scene: what happens is told as it happens, and summed up in a table.

use crate::{
    failure::Failure,
    terminal::{Terminal, Tone, clean},
};
use serde_json::json;
use std::time::{Duration, Instant};

/// One row of the table at the end.
struct Shown {
    what: &'static str,
    result: String,
    took: Option<Duration>,
    good: bool,
}

/// The voice.
pub(crate) struct Story {
    terminal: Terminal,
    begun: Instant,
    shown: Vec<Shown>,
    /// A line is open: tokens are being written on it.
    open: bool,
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.0} ms", duration.as_secs_f64() * 1_000.0)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

impl Story {
    /// Begins now.
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self {
            terminal,
            begun: Instant::now(),
            shown: Vec::new(),
            open: false,
        }
    }

    fn say(&self, tone: Tone, mark: &str, text: &str) -> Result<(), Failure> {
        let at = self.begun.elapsed().as_secs_f64();
        if self.terminal.json {
            return self
                .terminal
                .line(&json!({ "at_s": (at * 1_000.0).round() / 1_000.0, "kind": mark.trim(), "text": text }).to_string());
        }
        let time = self.terminal.paint(Tone::Faint, &format!("{at:7.3}s"));
        self.terminal
            .line(&format!("{time} {} {}", self.terminal.paint(tone, mark), clean(text)))
    }

    /// A chapter begins.
    pub(crate) fn act(&self, title: &str) -> Result<(), Failure> {
        if self.terminal.json {
            return self.say(Tone::Strong, "act", title);
        }
        self.terminal.line("")?;
        self.terminal.line(&self.terminal.paint(Tone::Strong, &format!("── {title}")))
    }

    /// Something happened.
    pub(crate) fn tell(&self, text: &str) -> Result<(), Failure> {
        self.say(Tone::Notice, "·", text)
    }

    /// Something was shown to hold.
    pub(crate) fn proven(&self, text: &str) -> Result<(), Failure> {
        self.say(Tone::Good, "✓", text)
    }

    /// Something went wrong, or is about to on purpose.
    pub(crate) fn warn(&self, text: &str) -> Result<(), Failure> {
        self.say(Tone::Bad, "✗", text)
    }

    /// A token of an answer, as it comes; `speaker` opens the line.
    pub(crate) fn token(&mut self, speaker: &str, text: &str) -> Result<(), Failure> {
        if self.terminal.json {
            return self.say(Tone::Faint, "token", text);
        }
        if !self.open {
            self.write(&format!("          {} ", self.terminal.paint(Tone::Strong, &format!("{speaker}:"))))?;
            self.open = true;
        }
        self.write(&clean(text))
    }

    /// Ends the line of tokens.
    pub(crate) fn end_tokens(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.open) {
            self.terminal.line("")
        } else {
            Ok(())
        }
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of_write)
    }

    /// Notes a row for the table; `good` is false where what was promised did not hold.
    pub(crate) fn note(&mut self, what: &'static str, result: impl Into<String>, took: Option<Duration>, good: bool) {
        self.shown.push(Shown {
            what,
            result: result.into(),
            took,
            good,
        });
    }

    /// Whether everything held.
    pub(crate) fn all_good(&self) -> bool {
        self.shown.iter().all(|row| row.good)
    }

    /// The table.
    pub(crate) fn sum_up(&self) -> Result<(), Failure> {
        if self.terminal.json {
            let rows: Vec<_> = self
                .shown
                .iter()
                .map(|row| json!({ "shown": row.what, "result": row.result, "took_ms": row.took.map(|t| t.as_millis() as u64), "ok": row.good }))
                .collect();
            return self.terminal.line(
                &json!({ "kind": "summary", "ok": self.all_good(), "took_ms": self.begun.elapsed().as_millis() as u64, "shown": rows })
                    .to_string(),
            );
        }
        self.act("What was shown")?;
        let rows: Vec<Vec<String>> = self
            .shown
            .iter()
            .map(|row| {
                vec![
                    if row.good { "✓" } else { "✗" }.into(),
                    row.what.to_owned(),
                    clean(&row.result),
                    row.took.map(seconds).unwrap_or_default(),
                ]
            })
            .collect();
        self.terminal.table(&["", "shown", "result", "took"], &rows, "nothing")?;
        let text = format!(
            "{} in {}",
            if self.all_good() {
                "everything held"
            } else {
                "something did not hold"
            },
            seconds(self.begun.elapsed())
        );
        self.terminal
            .line(&self.terminal.paint(if self.all_good() { Tone::Good } else { Tone::Bad }, &text))
    }

    /// Free text, for people only.
    pub(crate) fn aside(&self, text: &str) -> Result<(), Failure> {
        if self.terminal.json { Ok(()) } else { self.terminal.line(text) }
    }
}
