//! How answers look: tables and colours on a terminal, JSON elsewhere.

use super::failure::Failure;
use comfy_table::{Cell, ContentArrangement, Table, TableComponent, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quipu_schemas::text::steers_terminal;
use serde::Serialize;
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

/// What a text means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
    /// Done, equal, added.
    Good,
    /// Failed, damaged, removed.
    Bad,
    /// Changed, waiting.
    Notice,
}

/// Where output goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// One JSON document (or lines of JSON) instead of text for people.
    pub json: bool,
    /// Whether to colour.
    pub colour: bool,
    /// Whether a person watches standard error.
    pub watched: bool,
}

impl Terminal {
    /// Text for people where standard output is a terminal and `--json` is not given; colours unless `NO_COLOR` is set.
    pub fn detect(json: bool) -> Self {
        let person = io::stdout().is_terminal() && !json;
        let colour =
            person && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self {
            json: !person,
            colour,
            watched: io::stderr().is_terminal() && !json,
        }
    }

    /// Colours a text.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Notice => "33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Writes a line. A reader that has gone (`| head`) ends the program in peace.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::of_write)
    }

    /// Writes a value as JSON: pretty on a terminal, on one line elsewhere.
    pub fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.json_text(&text.map_err(|e| Failure::Failed(format!("the answer cannot be shown: {e}")))?)
    }

    /// Writes a text that is JSON: as it is into a file or pipe, with escapes for what could steer a terminal on one.
    pub fn json_text(&self, text: &str) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            self.line(&escaped(text))
        } else {
            self.line(text)
        }
    }

    /// Tells a person something that is no part of the answer.
    pub fn note(&self, text: &str) {
        // Nobody to tell is no failure.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Writes a table, or a note where it has no rows.
    pub fn table(&self, headers: &[&str], rows: &[Vec<String>], empty: &str) -> Result<(), Failure> {
        if rows.is_empty() {
            return self.line(&self.paint(Tone::Faint, empty));
        }
        self.line(&table(headers, rows).to_string())
    }

    /// A progress bar over `total` (a spinner without one); invisible where nobody watches.
    pub fn progress(&self, total: Option<u64>, template: &str) -> ProgressBar {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(if self.watched {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar
    }
}

const WIDTH_MIN: u16 = 40;
const WIDTH_UNKNOWN: u16 = 120;

/// A plain table that fits the terminal.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    for part in [TableComponent::HeaderLines, TableComponent::MiddleHeaderIntersections] {
        table.set_style(part, '─');
    }
    // Some terminals do not know how wide they are, and say 0.
    if table.width().is_some_and(|width| width < WIDTH_MIN) {
        table.set_width(WIDTH_UNKNOWN);
    }
    table.set_header(headers.iter().map(|h| Cell::new(h.to_uppercase())));
    for row in rows {
        table.add_row(row.iter().map(|text| clean(text)));
    }
    table
}

/// Text of strangers without what could steer a terminal, or show it otherwise than it is.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if steers_terminal(c) && c != '\n' { '·' } else { c })
        .collect()
}

/// JSON with escapes in the place of what could steer a terminal: the same value.
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Between tokens there are only spaces and line breaks; everything else of the kind is inside a string.
        if steers_terminal(c) && !matches!(c, '\n' | '\r' | '\t') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string never fails.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// A value in a table's cell: text bare, times as dates, the rest as JSON.
pub fn cell(name: &str, value: &Value) -> String {
    let is_time = name == "time" || name == "due" || name.ends_with("_at");
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(n) => match n.as_u64().filter(|_| is_time) {
            Some(millis) => crate::http::params::rfc3339(millis),
            None => n.to_string(),
        },
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}

/// At most `most` characters of a text, on one line.
pub fn short(text: &str, most: usize) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(most) {
        Some((cut, _)) => format!("{}…", &one_line[..cut]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_show_times_as_dates_and_nothing_steers_the_terminal() {
        assert_eq!(cell("created_at", &json!(1_700_000_000_123u64)), "2023-11-14T22:13:20.123Z");
        assert_eq!(cell("version", &json!(1_700_000_000_123u64)), "1700000000123");
        assert_eq!(cell("bids", &json!([1])), "[1]");
        assert_eq!(clean("a\u{1b}[31mb\u{7}"), "a·[31mb·");
        assert_eq!(clean("\u{202e}a\u{200b}b\u{2028}c\u{9b}d\ne👍\u{fe0f}"), "·a·b·c·d\ne👍\u{fe0f}");
        assert_eq!(short("a  b\nc d", 5), "a b c…");
        let value = json!({ "a\u{202e}": ["\u{9b}31m", "\u{7f}\u{200b}\u{2028}", "\u{e0041}", "é👍"] });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = escaped(&text);
            assert!(!shown.chars().any(|c| steers_terminal(c) && c != '\n'), "{shown}");
            assert!(shown.contains("\\u202e") && shown.contains("é👍"), "{shown}");
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
        let plain = Terminal {
            json: false,
            colour: false,
            watched: false,
        };
        assert_eq!(plain.paint(Tone::Bad, "x"), "x");
    }
}
