//! Definitions as YAML: plain scalars by the core schema of YAML 1.2, everything else as the `serde-saphyr` reader says.
//!
//! That reader knows forms that are no YAML 1.2 (`1_000`, `0b11`) and reads `010` as a double. So a scalar that it takes
//! for anything but text is looked up in the source and read again here.

use quipu_schemas::limits::{DEFINITION_MAX_BYTES, JSON_MAX_DEPTH};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use std::fmt;

/// Fields of a definition that are text, whatever their plain scalar looks like: `version: 1.10` is not `1.1`.
const TEXTS: [&str; 2] = ["name", "version"];

/// Reads one document. Depth, size and aliases are bounded.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = JSON_MAX_DEPTH + 8;
    budget.flow_nesting_limit = JSON_MAX_DEPTH + 8;
    budget.max_events = 50_000;
    budget.max_nodes = 50_000;
    budget.max_aliases = 100;
    budget.max_anchors = 100;
    budget.max_total_scalar_bytes = 4 * DEFINITION_MAX_BYTES;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    // YAML 1.2: `yes`, `no`, `on` and `y` are texts, such as names of ports.
    options.strict_booleans = true;
    let root: Spanned<Node> =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string().chars().take(300).collect::<String>())?;
    let Node::Map(entries) = root.value else {
        return value(root, text);
    };
    let mut map = Map::new();
    for (key, item) in entries {
        let key = key_of(&key, text)?;
        let written = matches!(item.value, Node::Typed(_)) && TEXTS.contains(&key.as_str());
        let item = if written {
            Value::from(raw(&item, text)?)
        } else {
            value(item, text)?
        };
        insert(&mut map, key, item)?;
    }
    Ok(Value::Object(map))
}

/// A node as the reader gives it.
enum Node {
    /// Text: quoted, in a block, or plain and of no other type.
    Text(String),
    /// A scalar that the reader takes for something else.
    Typed(Value),
    Seq(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<Node>, Spanned<Node>)>),
}

fn value(node: Spanned<Node>, text: &str) -> Result<Value, String> {
    match node.value {
        Node::Text(text) => Ok(Value::String(text)),
        Node::Typed(ref read) => {
            let written = raw(&node, text)?;
            // With a tag of its own, as in `!!int "5"`, a scalar is what the tag says.
            if written.starts_with(['"', '\'', '|', '>']) {
                Ok(read.clone())
            } else {
                plain(written)
            }
        }
        Node::Seq(items) => items.into_iter().map(|item| value(item, text)).collect(),
        Node::Map(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                insert(&mut map, key_of(&key, text)?, value(item, text)?)?;
            }
            Ok(Value::Object(map))
        }
    }
}

/// Keys of JSON are text: a plain scalar is the key as it is written.
fn key_of(key: &Spanned<Node>, text: &str) -> Result<String, String> {
    match &key.value {
        Node::Text(key) => Ok(key.clone()),
        Node::Typed(_) => Ok(raw(key, text)?.trim_matches(['"', '\'']).to_owned()),
        Node::Seq(_) | Node::Map(_) => Err(format!("{}: a key must be a scalar", place(key))),
    }
}

fn insert(map: &mut Map<String, Value>, key: String, value: Value) -> Result<(), String> {
    if map.contains_key(&key) {
        let key: String = key.chars().take(80).collect();
        return Err(format!(
            "duplicate key `{key}`: write each key once (`1` and `\"1\"` are the same key)"
        ));
    }
    map.insert(key, value);
    Ok(())
}

fn place<T>(node: &Spanned<T>) -> String {
    format!("line {}, column {}", node.defined.line(), node.defined.column())
}

/// The scalar as it is written, at the place where it is defined (an alias leads there).
fn raw<'t>(node: &Spanned<Node>, text: &'t str) -> Result<&'t str, String> {
    let span = node.defined.span();
    let bytes = span.byte_offset().zip(span.byte_len()).and_then(|(at, len)| {
        let (at, len) = (usize::try_from(at).ok()?, usize::try_from(len).ok()?);
        text.get(at..at.checked_add(len)?)
    });
    bytes
        .map(str::trim)
        .ok_or_else(|| format!("{}: the scalar cannot be found in the text", place(node)))
}

/// A plain scalar by the core schema. Two things differ, so that nothing is lost: a number with leading zeros is text,
/// and a number that JSON cannot hold exactly is refused.
fn plain(written: &str) -> Result<Value, String> {
    match written {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let text = || Ok(Value::from(written));
    let refused = || {
        let shown: String = written.chars().take(80).collect();
        Err(format!(
            "the number `{shown}` does not fit into 64 bits; quote it to keep it as text"
        ))
    };
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = written.strip_prefix(prefix) {
            if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
                return text();
            }
            return u64::from_str_radix(digits, radix).map(Value::from).or_else(|_| refused());
        }
    }
    let unsigned = written.strip_prefix(['-', '+']).unwrap_or(written);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    if whole > 1 && unsigned.starts_with('0') {
        return text();
    }
    let mut rest = &unsigned[whole..];
    if rest.is_empty() && whole > 0 {
        let number = written.strip_prefix('+').unwrap_or(written);
        let int = number.parse::<i64>().map(Value::from);
        return int.or_else(|_| number.parse::<u64>().map(Value::from)).or_else(|_| refused());
    }
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        fraction = digits(after);
        rest = &after[fraction..];
    }
    if whole + fraction == 0 {
        return text();
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if exponent.is_empty() || digits(exponent) < exponent.len() {
            return text();
        }
    } else if !rest.is_empty() {
        return text();
    }
    match written.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Ok(Value::Number(number)),
        None => refused(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a sequence or a mapping")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Typed(Value::Null))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Typed(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Typed(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Typed(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Typed(value.into()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::Seq(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(scalar: &str) -> Value {
        read(&format!("a: {scalar}\n")).unwrap_or_else(|e| panic!("{scalar}: {e}"))["a"].clone()
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (scalar, expected) in [
            ("7", json!(7)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("0", json!(0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("1.5", json!(1.5)),
            ("-.5", json!(-0.5)),
            ("1e3", json!(1000.0)),
            ("1.25E-2", json!(0.0125)),
            ("0.5", json!(0.5)),
            ("True", json!(true)),
            ("FALSE", json!(false)),
            ("~", json!(null)),
            ("", json!(null)),
            ("Null", json!(null)),
            // Text: forms of YAML 1.1, and what only looks like a number.
            ("01234", json!("01234")),
            ("0000123", json!("0000123")),
            ("010", json!("010")),
            ("-012", json!("-012")),
            ("01.5", json!("01.5")),
            ("1_000", json!("1_000")),
            ("0b11", json!("0b11")),
            ("0o8", json!("0o8")),
            ("tRuE", json!("tRuE")),
            ("yes", json!("yes")),
            ("off", json!("off")),
            ("12:30", json!("12:30")),
            ("2024-01-02", json!("2024-01-02")),
            ("1e", json!("1e")),
            ("'7'", json!("7")),
            ("\"true\"", json!("true")),
            // An explicit tag decides.
            ("!!int \"5\"", json!(5)),
            ("!!str 5", json!("5")),
            ("!!float 7", json!(7)),
        ] {
            assert_eq!(one(scalar), expected, "{scalar}");
        }
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_refused() {
        for scalar in ["123456789012345678901234567890", "-9223372036854775809", "1e999", ".inf", ".nan"] {
            assert!(read(&format!("a: {scalar}")).is_err(), "{scalar}");
        }
    }

    #[test]
    fn name_and_version_are_as_written() {
        for written in ["010", "1.10", "0123456", "1e3", "true", "2"] {
            let read = read(&format!("name: {written}\nversion: {written}\nother: x\n")).unwrap();
            assert_eq!(read, json!({"name": written, "version": written, "other": "x"}));
        }
        assert_eq!(
            read("nodes: [{version: 1.10}]").unwrap(),
            json!({"nodes": [{"version": 1.1}]}),
            "of the definition alone"
        );
    }

    #[test]
    fn keys_that_differ_in_type_alone_are_one_key() {
        for text in [
            "a: {\"1\": x, 1: y}",
            "a: {1: x, '1': y}",
            "a: {true: x, \"true\": y}",
            "a: {~: x, '~': y}",
            "a: x\n\"a\": y",
        ] {
            assert!(read(text).is_err_and(|e| e.contains("duplicate")), "{text}: {:?}", read(text));
        }
        assert_eq!(
            read("a: {1: x, 01: y, 1.0: z}").unwrap(),
            json!({"a": {"1": "x", "01": "y", "1.0": "z"}})
        );
        assert!(read("a: {[1]: x}").is_err());
    }

    #[test]
    fn aliases_lead_to_what_was_written() {
        let text = "é: &zip 01234\nb: *zip\nc: &n 0x10\nd: [*n, *n]\ne: &m {k: 007}\nf: *m\n";
        let expected = json!({"é": "01234", "b": "01234", "c": 16, "d": [16, 16], "e": {"k": "007"}, "f": {"k": "007"}});
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read(&format!("\u{feff}{text}")).unwrap(), expected, "with a byte order mark");
        assert_eq!(
            read("base: &b {x: 01, y: 2}\nmore: {<<: *b, y: 03}").unwrap()["more"],
            json!({"x": "01", "y": "03"})
        );
    }
}
