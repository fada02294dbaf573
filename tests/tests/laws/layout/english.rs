//! Texts for people are plain English.

use super::{files, shown};
use std::fs;

/// A phrase that reads as translated: "`x` is no address", "made anew", "events of before".
fn stilted(text: &str) -> Option<&'static str> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let whole = |at: usize, phrase: &str| !is_word(text[..at].chars().next_back()) && !is_word(text[at + phrase.len()..].chars().next());
    // Spaces are written so that this file does not speak like that itself.
    for (phrase, open) in [
        ("is\u{20}no\u{20}", true),
        ("are\u{20}no\u{20}", true),
        ("an\u{65}w", false),
        ("of\u{20}before", false),
    ] {
        let found = text.match_indices(phrase).any(|(at, _)| {
            if open {
                // Not "is no longer", nor "is no more than", nor "there is no TLS".
                let next = &text[at + phrase.len()..];
                let named = next.starts_with(|c: char| c.is_ascii_uppercase()) && !text[..at].to_lowercase().ends_with("there ");
                !is_word(text[..at].chars().next_back())
                    && (named || next.starts_with(|c: char| c.is_ascii_lowercase()))
                    && !["longer", "more", "less", "fewer", "larger", "older"]
                        .iter()
                        .any(|word| next.starts_with(word))
            } else {
                whole(at, phrase)
            }
        });
        if found {
            return Some(phrase);
        }
    }
    None
}

/// The texts of string literals with their lines, and what `///` says where it is the help of the command line.
fn literals(source: &str, with_help: bool) -> Vec<(usize, String)> {
    let (mut out, mut line, mut rest) = (Vec::new(), 1, source);
    let lines = |text: &str| text.matches('\n').count();
    while let Some(c) = rest.chars().next() {
        let raw = rest
            .strip_prefix('r')
            .map(|tail| tail.trim_start_matches('#'))
            .filter(|tail| tail.starts_with('"'));
        let taken = if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            if with_help && rest.starts_with("///") {
                out.push((line, rest[..end].to_owned()));
            }
            end
        } else if let Some(tail) = raw {
            let hashes = rest.len() - tail.len() - 1;
            let close = format!("\"{}", "#".repeat(hashes));
            let length = tail[1..].find(&close).unwrap_or(tail.len() - 1);
            out.push((line, tail[1..1 + length].to_owned()));
            (hashes + 2 + length + close.len()).min(rest.len())
        } else if c == '"' {
            let mut escaped = false;
            let close = rest[1..].find(|c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let length = close.unwrap_or(rest.len() - 1);
            out.push((line, rest[1..1 + length].to_owned()));
            (length + 2).min(rest.len())
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find("'").map_or(1, |at| at + 2)
        } else if c.is_alphanumeric() || c == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        line += lines(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// Errors, help, log lines and documents are read by people: they say things as people do.
#[test]
fn texts_for_people_are_plain_english() {
    let mut found = Vec::new();
    for path in files(".rs") {
        let name = shown(&path);
        let texts = literals(
            &fs::read_to_string(&path).unwrap(),
            name.starts_with("ops/src/cli/") || name == "ops/src/cli.rs",
        );
        found.extend(
            texts
                .iter()
                .filter_map(|(line, text)| Some(format!("{name}:{line}: \"{}\": {text}", stilted(text)?))),
        );
    }
    // Decisions are dated, and stay as they were written.
    for path in files(".md").into_iter().filter(|path| !shown(path).starts_with("ops/docs/adr/")) {
        for (place, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            found.extend(stilted(line).map(|phrase| format!("{}:{}: \"{phrase}\": {line}", shown(&path), place + 1)));
        }
    }
    assert!(found.is_empty(), "say it plainly, see the examples:\n{}", found.join("\n"));
}

#[test]
fn stilted_phrases_in_literals_are_found() {
    let source = "let a = \"`x` is\u{20}no address\"; // is\u{20}no comment\nlet b = r#\"made an\u{65}w\"#; let c = '\"'; let d = \"it is no longer\"; \
                  let e = \"it is\u{20}no JSON\"; let f = \"there is\u{20}no TLS\";";
    let texts = literals(source, false);
    assert_eq!(texts.len(), 5, "{texts:?}");
    let found: Vec<_> = texts.iter().filter_map(|(line, text)| Some((*line, stilted(text)?))).collect();
    assert_eq!(found, [(1, "is\u{20}no\u{20}"), (2, "an\u{65}w"), (2, "is\u{20}no\u{20}")]);
}
