//! Characters that nobody sees, or that change how other characters are shown.

/// Whether a character reorders the text around it on a screen: embeddings, overrides and isolates.
///
/// The marks that right-to-left scripts need inside words (LRM, RLM, ALM) are not among them.
pub fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character leaves no mark on a screen: zero-width ones, fillers, separators of lines, marks of direction,
/// variation selectors and tags. White space and control characters are asked about elsewhere.
pub fn is_invisible(c: char) -> bool {
    reorders(c)
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{2029}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether a terminal must not be given this character of somebody else's text as it is.
///
/// Variation selectors pass: they stand behind characters that are seen, emoji above all.
pub fn steers_terminal(c: char) -> bool {
    c.is_control() || (is_invisible(c) && !matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{2800}'))
}

/// Whether a text has something to see on one line, and shows it in the order in which it is written.
pub fn is_printable_line(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !is_invisible(c))
        && !text
            .chars()
            .any(|c| c.is_control() || reorders(c) || matches!(c, '\u{2028}' | '\u{2029}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_script_are_printable() {
        for name in [
            "Acme",
            "Zoë",
            "株式会社",
            "شرکت\u{200c}ها",
            "\u{200f}שלום",
            "👩\u{200d}🚀",
            "☎\u{fe0f}",
            "a b",
        ] {
            assert!(is_printable_line(name), "{name}");
        }
    }

    #[test]
    fn invisible_reordered_and_broken_names_are_not() {
        for name in [
            "",
            "  ",
            "\u{200b}",
            "\u{feff} \u{2060}",
            "\u{3164}",
            "\u{e0041}",
            "\u{ad}\u{fe0f}",
            "\u{202e}abc",
            "a\u{2066}b\u{2069}",
            "a\u{2028}b",
            "a\nb",
            "a\u{9b}b",
        ] {
            assert!(!is_printable_line(name), "{}", name.escape_unicode());
        }
    }

    #[test]
    fn terminals_are_kept_from_what_they_obey() {
        for c in [
            '\u{1b}',
            '\u{9b}',
            '\u{7f}',
            '\u{202e}',
            '\u{200b}',
            '\u{2028}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            assert!(steers_terminal(c), "{}", c.escape_unicode());
        }
        for c in ['a', ' ', 'é', '\u{fe0f}', '👩', 'ש'] {
            assert!(!steers_terminal(c), "{c}");
        }
    }
}
