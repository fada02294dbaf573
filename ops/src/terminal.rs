//! How answers look: tables and colours on a terminal, JSON elsewhere.

use crate::failure::Failure;
use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, TableComponent, Width, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quipu_schemas::{limits::TABLE_WORD_MAX_CHARS, text::steers_terminal};
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

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people: tables, colours, whole messages.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a row.
    Ndjson,
}

/// Where output goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// One JSON document (or lines of JSON) instead of text for people.
    pub json: bool,
    /// Of a list, one JSON document a row.
    pub rows: bool,
    /// Whether to colour.
    pub colour: bool,
    /// Whether a person watches standard error.
    pub watched: bool,
}

impl Terminal {
    /// The form that was asked for; else text for people where standard output is a terminal, and JSON elsewhere.
    /// Colours on a terminal unless `NO_COLOR` is set.
    pub fn detect(asked: Option<Output>) -> Self {
        let on_terminal = io::stdout().is_terminal();
        let output = asked.unwrap_or(if on_terminal { Output::Table } else { Output::Json });
        let (json, person) = (asked.is_some_and(|asked| asked != Output::Table), output == Output::Table);
        let colour = person
            && on_terminal
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self {
            json: !person,
            rows: output == Output::Ndjson,
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

    /// Characters in a line of the terminal; where nothing tells, what a page of text has room for.
    pub fn width(&self) -> usize {
        let known = Table::new().width().filter(|width| *width >= WIDTH_MIN);
        usize::from(known.unwrap_or(WIDTH_UNKNOWN))
    }

    /// Writes a piece of a line, at once.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        write!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::of_write)
    }

    /// Writes a value as JSON: pretty on a terminal, on one line elsewhere.
    pub fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if io::stdout().is_terminal() && !self.rows {
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

    /// Tells a person something beside the answer.
    pub fn note(&self, text: &str) {
        // If nobody reads the output, that is not a failure.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Tells a person how to see more.
    pub fn note_faint(&self, text: &str) -> Result<(), Failure> {
        if self.watched {
            self.note(&self.paint(Tone::Faint, text));
        }
        Ok(())
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
const PADDING: u16 = 2;

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
    // A cell wraps between words. What has no spaces, such as an id, stays whole.
    for (at, column) in table.column_iter_mut().enumerate() {
        let cells = rows.iter().filter_map(|row| row.get(at)).flat_map(|text| text.split_whitespace());
        let longest = cells.map(|word| word.chars().count()).max().unwrap_or(0).min(TABLE_WORD_MAX_CHARS);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(longest as u16 + PADDING)));
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
            Some(millis) => crate::clock::rfc3339(millis),
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
        let id = "cnv_01jd3x8q6vegk9g0t5b3x2m7ap";
        let rows = [vec![id.to_owned(), "many words ".repeat(40)]];
        let mut narrow = table(&["id", "body"], &rows);
        narrow.set_width(60);
        assert!(narrow.to_string().contains(id), "{narrow}");
        let value = json!({ "a\u{202e}": ["\u{9b}31m", "\u{7f}\u{200b}\u{2028}", "\u{e0041}", "é👍"] });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = escaped(&text);
            assert!(!shown.chars().any(|c| steers_terminal(c) && c != '\n'), "{shown}");
            assert!(shown.contains("\\u202e") && shown.contains("é👍"), "{shown}");
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
        let plain = Terminal {
            json: false,
            rows: false,
            colour: false,
            watched: false,
        };
        assert_eq!(plain.paint(Tone::Bad, "x"), "x");
    }
}
