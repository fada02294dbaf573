//! A source file as tokens: enough to see which paths it writes.

/// Names, `::` and single marks, without comments, texts, numbers and lifetimes.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(&c) = chars.get(at) {
        at = if starts(at, "//") {
            until(&chars, at, |at| chars[at] == '\n')
        } else if starts(at, "/*") {
            until(&chars, at + 2, |at| starts(at, "*/")) + 2
        } else if c == '"' {
            text_end(&chars, at)
        } else if let Some(end) = raw_end(&chars, at) {
            end
        } else if c == '\'' {
            // A character, or else a lifetime or label.
            match (chars.get(at + 1), chars.get(at + 2)) {
                (Some('\\'), _) => until(&chars, at + 3, |at| chars[at] == '\'') + 1,
                (Some(_), Some('\'')) => at + 3,
                _ => at + 1,
            }
        } else if c.is_alphanumeric() || c == '_' {
            let end = until(&chars, at, |at| !(chars[at].is_alphanumeric() || chars[at] == '_'));
            out.push(chars[at..end].iter().collect());
            end
        } else if starts(at, "::") {
            out.push("::".into());
            at + 2
        } else {
            if !c.is_whitespace() {
                out.push(c.into());
            }
            at + 1
        };
    }
    out
}

fn until(chars: &[char], from: usize, is_end: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(*at)).unwrap_or(chars.len())
}

fn text_end(chars: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of a raw text (`r"…"`, `br#"…"#`) that begins here.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let is_inside_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let r = if chars[at] == 'b' { at + 1 } else { at };
    if is_inside_name || chars.get(r) != Some(&'r') {
        return None;
    }
    let open = until(chars, r + 1, |at| chars[at] != '#');
    let hashes = open - r - 1;
    let closes = |at: usize| chars[at] == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'));
    (chars.get(open) == Some(&'"')).then(|| until(chars, open + 1, closes) + 1 + hashes)
}

/// Leaves out what is compiled for tests alone.
pub(crate) fn without_tests(tokens: &[String]) -> Vec<String> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at] != "#" || tokens.get(at + 1).is_none_or(|token| token != "[") {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = closing(tokens, at + 1, "[", "]");
        let words = &tokens[at..end];
        let has = |word: &str| words.iter().any(|token| token == word);
        at = if (has("cfg") && has("test") && !has("not")) || (words.len() == 4 && has("test")) {
            item_end(tokens, end)
        } else {
            end
        };
    }
    out
}

/// Behind the item that begins here: its `;`, or the brace that closes it.
fn item_end(tokens: &[String], from: usize) -> usize {
    let mut at = from;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => return closing(tokens, at, "{", "}"),
            ";" => return at + 1,
            "(" => at = closing(tokens, at, "(", ")"),
            "[" => at = closing(tokens, at, "[", "]"),
            _ => at += 1,
        }
    }
    at
}

fn closing(tokens: &[String], open: usize, opens: &str, closes: &str) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token == opens {
            depth += 1;
        } else if token == closes {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    tokens.len()
}
