//! Blots secrets out of what a receiver sends back: some servers echo the request, in a spelling of their own.
//!
//! A secret is found in any mixture of these spellings: as it is, with JSON or string escapes (`\/`, `\u002f`, `\x2f`, also
//! escaped again), percent-encoded, as HTML entities, and inside of base64. A value that is base64 itself (`Basic …`) is also
//! found decoded.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD},
};
use quipu_schemas::limits::{BLOT_BACKSLASHES_MAX, BLOT_PERCENT_MAX, BLOT_SPELLING_MAX_BYTES};
use serde_json::Value;
use std::collections::BTreeSet;

/// What stands in the place of a secret.
const BLOT: &str = "[secret]";
/// Shorter pieces of base64 are met by chance.
const BASE64_MIN: usize = 8;
/// Shortest password whose base64 a secret is.
const DECODED_MIN: usize = 4;

/// The secrets of one attempt.
#[derive(Default)]
pub(crate) struct Blot {
    patterns: BTreeSet<String>,
}

impl Blot {
    /// For the secrets that a request carries.
    pub(crate) fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut patterns = BTreeSet::new();
        for secret in secrets {
            let secret = secret.as_ref().trim();
            if secret.is_empty() {
                continue;
            }
            add(&mut patterns, secret);
            if let Some(decoded) = decoded(secret) {
                if let Some((_, password)) = decoded.split_once(':').filter(|(_, p)| p.len() >= DECODED_MIN) {
                    add(&mut patterns, password);
                }
                add(&mut patterns, &decoded);
            }
        }
        Self { patterns }
    }

    /// The text without secrets.
    pub(crate) fn text(&self, text: &str) -> String {
        self.blot(text, false)
    }

    /// A text that was cut: what its end holds of a secret goes too.
    pub(crate) fn cut_text(&self, text: &str) -> String {
        self.blot(text, true)
    }

    /// A value without secrets: names of fields, texts and numbers.
    pub(crate) fn json(&self, value: Value) -> Value {
        if self.patterns.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Number(number) => {
                let text = number.to_string();
                let blotted = self.text(&text);
                if blotted == text {
                    Value::Number(number)
                } else {
                    Value::String(blotted)
                }
            }
            Value::Array(items) => items.into_iter().map(|item| self.json(item)).collect(),
            Value::Object(map) => Value::Object(map.into_iter().map(|(key, item)| (self.text(&key), self.json(item))).collect()),
            Value::Null | Value::Bool(_) => value,
        }
    }

    fn blot(&self, text: &str, cut: bool) -> String {
        let (mut clean, mut at) = (String::with_capacity(text.len()), 0);
        if self.patterns.is_empty() {
            return text.to_owned();
        }
        while let Some(c) = text[at..].chars().next() {
            // The longest, so that no secret's end survives another secret that it begins with.
            match self.patterns.iter().filter_map(|pattern| found(text, at, pattern, cut)).max() {
                Some(end) => {
                    clean.push_str(BLOT);
                    at = end;
                }
                None => {
                    clean.push(c);
                    at += c.len_utf8();
                }
            }
        }
        clean
    }
}

fn add(patterns: &mut BTreeSet<String>, secret: &str) {
    patterns.insert(secret.to_owned());
    // What base64 makes of a text depends on where in three bytes it begins; its first and last characters on its neighbours.
    for (shift, skip) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = [&[0; 2][..shift], secret.as_bytes()].concat();
        let whole = bytes.len() * 8 / 6;
        let encoded = STANDARD_NO_PAD.encode(&bytes);
        let Some(piece) = encoded.get(skip..whole).filter(|piece| piece.len() >= BASE64_MIN) else {
            continue;
        };
        patterns.insert(piece.to_owned());
        patterns.insert(piece.replace('+', "-").replace('/', "_"));
    }
}

/// What a secret says that is itself base64.
fn decoded(secret: &str) -> Option<String> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .filter_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(secret).ok())
        .filter_map(|bytes| String::from_utf8(bytes).ok())
        .find(|text| text.len() >= DECODED_MIN && !text.chars().any(char::is_control))
}

/// Where `secret` ends if some spelling of it begins at `start`; the end of the text, if that was cut in the middle of one.
fn found(text: &str, start: usize, secret: &str, cut: bool) -> Option<usize> {
    let (mut ends, mut torn) = (vec![start], false);
    for (n, c) in secret.chars().enumerate() {
        let mut next = Vec::new();
        for &at in &ends {
            spellings(text, at, c, &mut next);
            torn |= cut && n > 0 && may_be_torn(&text[at..]);
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return torn.then_some(text.len());
        }
        ends = next;
    }
    ends.last().copied()
}

/// Whether the end of a cut text may be the beginning of a spelling.
fn may_be_torn(rest: &str) -> bool {
    let unfinished = |c: char| c.is_ascii_alphanumeric() || "\\%&#\u{fffd}".contains(c);
    rest.is_empty()
        || (rest.len() < BLOT_SPELLING_MAX_BYTES && rest.starts_with(['\\', '%', '&', '\u{fffd}']) && rest.chars().all(unfinished))
}

/// Where a spelling of `c` that begins at `at` ends.
fn spellings(text: &str, at: usize, c: char, ends: &mut Vec<usize>) {
    let rest = &text.as_bytes()[at..];
    let mut utf8 = [0; 4];
    let utf8 = c.encode_utf8(&mut utf8).as_bytes();
    if rest.starts_with(utf8) {
        ends.push(at + utf8.len());
    }
    match rest.first() {
        Some(b'+') if c == ' ' => ends.push(at + 1),
        Some(b'%') => ends.extend(percent(rest, utf8).into_iter().map(|len| at + len)),
        Some(b'&') => ends.extend(entity(rest, c).map(|len| at + len)),
        Some(b'\\') => escapes(rest, at, c, ends),
        _ => {}
    }
}

fn percent(rest: &[u8], utf8: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    for byte in utf8 {
        let mut next = Vec::new();
        for place in places {
            let Some(mut after) = rest[place..].strip_prefix(b"%").map(|_| place + 1) else {
                continue;
            };
            for _ in 0..BLOT_PERCENT_MAX {
                if hex(&rest[after..], 2) == Some(u32::from(*byte)) {
                    next.push(after + 2);
                }
                if !rest[after..].starts_with(b"25") {
                    break;
                }
                after += 2;
            }
        }
        places = next;
    }
    places
}

fn entity(rest: &[u8], c: char) -> Option<usize> {
    let end = rest.iter().take(BLOT_SPELLING_MAX_BYTES).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&rest[1..end]).ok()?;
    let meant = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    (meant == c).then_some(end + 1)
}

fn escapes(rest: &[u8], at: usize, c: char, ends: &mut Vec<usize>) {
    let run = rest.iter().take(BLOT_BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count();
    if c == '\\' {
        ends.extend([2, 4, 8].into_iter().filter(|len| *len <= run).map(|len| at + len));
    }
    let after = &rest[run..];
    let Some((kind, digits)) = after.split_first() else { return };
    let short = match c {
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        c if c.is_ascii_punctuation() => c as u8,
        _ => 0,
    };
    if *kind == short {
        ends.push(at + run + 1);
    }
    if *kind == b'x' && hex(digits, 2) == Some(u32::from(c)) {
        ends.push(at + run + 3);
    }
    let mut units = [0; 2];
    let mut place = run;
    for unit in c.encode_utf16(&mut units) {
        let escaped = rest[place..]
            .strip_prefix(b"u")
            .filter(|digits| hex(digits, 4) == Some(u32::from(*unit)));
        let Some(left) = escaped.map(|digits| &digits[4..]) else { return };
        place = rest.len() - left.len();
        // The backslashes before a second unit.
        place += left.iter().take(BLOT_BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count()
            * usize::from(c.len_utf16() == 2 && *unit < 0xdc00);
    }
    ends.push(at + place);
}

fn hex(bytes: &[u8], digits: usize) -> Option<u32> {
    let text = std::str::from_utf8(bytes.get(..digits)?).ok()?;
    text.bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;
    use serde_json::json;

    const SECRET: &str = "sk/live+\"7\\ö 🌍=&x";

    /// One way to write a character.
    fn spelt(c: char, way: u8) -> String {
        let mut utf8 = [0; 4];
        let mut utf16 = [0; 2];
        match way {
            0 => c.to_string(),
            1 => c.encode_utf16(&mut utf16).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            2 => c.encode_utf16(&mut utf16).iter().map(|unit| format!("\\\\u{unit:04X}")).collect(),
            3 => c.encode_utf8(&mut utf8).bytes().map(|byte| format!("%{byte:02x}")).collect(),
            4 => c.encode_utf8(&mut utf8).bytes().map(|byte| format!("%25{byte:02X}")).collect(),
            5 => format!("&#{};", u32::from(c)),
            6 => format!("&#x{:X};", u32::from(c)),
            7 if c.is_ascii_punctuation() => format!("\\{c}"),
            8 if c == ' ' => "+".into(),
            _ => {
                let json = serde_json::to_string(&c).unwrap();
                json[1..json.len() - 1].to_owned()
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        /// Each character in a spelling of its own: nothing of the secret is left, nor of what it is cut to.
        #[test]
        fn a_secret_is_found_in_any_mixture_of_spellings(ways in prop::collection::vec(0u8..10, 32), before in "[.,]{0,6}", after in "[.,]{0,6}", kept in 2usize..64) {
            let blot = Blot::new([SECRET]);
            let pieces: Vec<String> = SECRET.chars().zip(&ways).map(|(c, way)| spelt(c, *way)).collect();
            let echoed = pieces.concat();
            prop_assert_eq!(blot.text(&format!("{before}{echoed}{after}")), format!("{before}[secret]{after}"));
            let cut: String = echoed.chars().take(kept.max(pieces[0].chars().count())).collect();
            prop_assert_eq!(blot.cut_text(&format!("{before}{cut}")), format!("{before}[secret]"), "{}", cut);
        }

        #[test]
        fn texts_without_a_secret_stay(text in "[^s]{0,40}") {
            prop_assert_eq!(Blot::new([SECRET]).text(&text), text.clone());
        }

        #[test]
        fn any_text_is_read(text in "(\\\\|%|&|#|x|u|2|5|;|s|k|/|🌍){0,40}") {
            let blot = Blot::new(["sk/%\\25", "🌍"]);
            blot.text(&text);
            blot.cut_text(&text);
        }
    }

    #[test]
    fn base64_is_found_around_and_inside() {
        let blot = Blot::new(["hunter2-hunter2"]);
        for before in ["", "a", "ab", "user:"] {
            for engine in [&STANDARD, &URL_SAFE] {
                let echoed = engine.encode(format!("{before}hunter2-hunter2"));
                let clean = blot.text(&echoed);
                assert!(clean.contains(BLOT) && clean.len() < BLOT.len() + 12, "{clean}");
            }
        }
        let basic = Blot::new([STANDARD.encode("ada:pass/word")]);
        assert_eq!(
            basic.json(json!({"user": "ada", "password": "pass/word"})),
            json!({"user": "ada", "password": "[secret]"})
        );
        assert_eq!(basic.text("ada:pass\\/word"), "[secret]");
    }

    #[test]
    fn values_are_blotted_in_names_texts_and_numbers() {
        let blot = Blot::new(["12345", "a/b", "a/b/c", ""]);
        let echoed = json!({"a/b": [12345, -12345.5, true, null, "x a/b/c y"], "json": "{\"k\":\"a\\/b\"}"});
        let clean = json!({"[secret]": ["[secret]", "-[secret].5", true, null, "x [secret] y"], "json": "{\"k\":\"[secret]\"}"});
        assert_eq!(blot.json(echoed.clone()), clean);
        assert_eq!(Blot::default().json(echoed.clone()), echoed);
    }

    #[test]
    fn hostile_texts_cost_little() {
        let blot = Blot::new(["\\".repeat(64), "%25".repeat(64), "a".repeat(64) + "b"]);
        for text in ["\\", "%25", "a", "&#"] {
            let text = text.repeat(500);
            blot.text(&text);
        }
    }
}
