//! Which columns of a list fit a terminal, and how wide each is. Ids are shown whole or not at all; prose gives way first.

use quipu_schemas::limits::TABLE_PROSE_MAX_CHARS;

/// Columns that hold prose: they shrink to what is left, and end in `…`.
const PROSE: [&str; 12] = [
    "body",
    "content",
    "title",
    "why",
    "reason",
    "detail",
    "last_error",
    "data",
    "description",
    "name",
    "summary",
    "value",
];
/// Prose is not shown in less than this.
const PROSE_MIN_CHARS: usize = 12;
/// Spaces around a cell.
const PADDING: usize = 2;

/// A column of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    /// Characters of its widest cell; a cell of prose may be cut to it.
    pub(super) width: usize,
}

/// The columns that fit into `width` characters, taken in the order given. `widest` is the longest cell of a column.
/// The first column is always shown.
pub(super) fn fitting<'a>(names: &[&'a str], widest: &dyn Fn(&str) -> usize, width: usize) -> Vec<Column<'a>> {
    let mut chosen: Vec<Column<'a>> = Vec::new();
    let mut left = width;
    for name in names {
        let whole = widest(name).max(name.chars().count());
        let wanted = if is_prose(name) { whole.min(TABLE_PROSE_MAX_CHARS) } else { whole };
        let least = if is_prose(name) { wanted.min(PROSE_MIN_CHARS) } else { wanted };
        let room = left.saturating_sub(PADDING);
        if room < least && !chosen.is_empty() {
            continue;
        }
        let given = wanted.min(room.max(least));
        left = left.saturating_sub(given + PADDING);
        chosen.push(Column { name, width: given });
    }
    // What is left over goes to the prose that was cut.
    for column in chosen.iter_mut().filter(|column| is_prose(column.name)) {
        let more = widest(column.name).saturating_sub(column.width).min(left);
        column.width += more;
        left -= more;
    }
    chosen
}

pub(super) fn is_prose(name: &str) -> bool {
    PROSE.contains(&name)
}

/// Breaks a text into lines of at most `width` characters, between words. A longer word has a line of its own.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
        lines.push(line);
    }
    while lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(name: &str) -> usize {
        match name {
            "id" => 30,
            "body" => 400,
            "state" => 9,
            _ => 24,
        }
    }

    #[test]
    fn ids_are_whole_and_prose_takes_what_is_left() {
        let names = ["id", "state", "body", "created_at"];
        let chosen = fitting(&names, &widths, 80);
        assert_eq!(
            chosen,
            [
                Column { name: "id", width: 30 },
                Column { name: "state", width: 9 },
                Column { name: "body", width: 35 }
            ]
        );
        let total: usize = chosen.iter().map(|column| column.width + PADDING).sum();
        assert!(total <= 80, "{total}");
    }

    #[test]
    fn wide_terminal_shows_every_column() {
        let chosen = fitting(&["id", "state", "body", "created_at"], &widths, 600);
        assert_eq!(chosen.len(), 4);
        assert_eq!(chosen[2].width, 400);
    }

    #[test]
    fn first_column_is_shown_even_where_it_does_not_fit() {
        assert_eq!(fitting(&["id", "state"], &widths, 20), [Column { name: "id", width: 30 }]);
    }

    #[test]
    fn prose_wraps_between_words_and_keeps_paragraphs() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a\n\nb\n", 10), ["a", "", "b"]);
        assert_eq!(
            wrapped("https://example.org/long is kept", 10),
            ["https://example.org/long", "is kept"]
        );
        assert_eq!(wrapped("", 10), [""]);
    }
}
