//! What is refused before the parser sees the source.
//!
//! The parser recurses with brackets, ternaries and chains of operators, and its macros nest. Bounding bytes, tokens,
//! brackets and nested macros first bounds its time, its memory and its stack.

use super::{ExpressionCode, ExpressionError};
use quipu_schemas::limits::{EXPRESSION_MAX_BYTES, EXPRESSION_MAX_COMPREHENSIONS, EXPRESSION_MAX_DEPTH, EXPRESSION_MAX_TOKENS};

const COMPREHENSIONS: &[&str] = &["all", "exists", "exists_one", "existsOne", "map", "filter"];

/// Scans the source once.
pub(super) fn check(source: &str) -> Result<(), ExpressionError> {
    if source.len() > EXPRESSION_MAX_BYTES {
        return Err(ExpressionError::new(
            ExpressionCode::TooLarge,
            format!(
                "the expression has {} bytes, at most {EXPRESSION_MAX_BYTES} are allowed",
                source.len()
            ),
        ));
    }
    let bytes = source.as_bytes();
    // For each open bracket, whether it is a comprehension's.
    let mut open: Vec<bool> = Vec::new();
    let (mut at, mut tokens, mut ternaries) = (0, 0usize, 0usize);
    let mut word = "";
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        tokens += 1;
        if tokens > EXPRESSION_MAX_TOKENS {
            return Err(ExpressionError::new(
                ExpressionCode::TooLarge,
                format!("the expression has more than {EXPRESSION_MAX_TOKENS} tokens"),
            ));
        }
        let start = at;
        let before = std::mem::take(&mut word);
        match byte {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'"' | b'\'' => at = string_end(bytes, at, raw_prefix(before))?,
            b'(' | b'[' | b'{' => {
                let comprehension = byte == b'(' && COMPREHENSIONS.contains(&before);
                open.push(comprehension);
                if open.len() > EXPRESSION_MAX_DEPTH {
                    return Err(too_deep(&format!("brackets are nested deeper than {EXPRESSION_MAX_DEPTH} levels")));
                }
                if open.iter().filter(|c| **c).count() > EXPRESSION_MAX_COMPREHENSIONS {
                    return Err(too_deep(&format!(
                        "comprehensions are nested deeper than {EXPRESSION_MAX_COMPREHENSIONS} levels"
                    )));
                }
                at += 1;
            }
            b')' | b']' | b'}' => {
                if open.pop().is_none() {
                    return Err(ExpressionError::new(
                        ExpressionCode::Syntax,
                        format!("byte {at}: a bracket closes that was never opened"),
                    ));
                }
                at += 1;
            }
            b'?' => {
                ternaries += 1;
                if ternaries > EXPRESSION_MAX_DEPTH {
                    return Err(too_deep(&format!("more than {EXPRESSION_MAX_DEPTH} conditionals")));
                }
                at += 1;
            }
            _ if byte.is_ascii_alphanumeric() || byte == b'_' => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                word = &source[start..at];
            }
            _ => at += source[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    Ok(())
}

fn too_deep(detail: &str) -> ExpressionError {
    ExpressionError::new(ExpressionCode::TooDeep, detail)
}

fn raw_prefix(before: &str) -> bool {
    matches!(before, "r" | "R" | "br" | "bR" | "Br" | "BR" | "rb" | "rB" | "Rb" | "RB")
}

fn string_end(bytes: &[u8], start: usize, raw: bool) -> Result<usize, ExpressionError> {
    let quote = bytes[start];
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let mut at = start + if triple { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if triple && bytes[at..].starts_with(&[quote; 3]) {
            return Ok(at + 3);
        } else if !triple && bytes[at] == quote {
            return Ok(at + 1);
        } else if !triple && bytes[at] == b'\n' {
            break;
        } else {
            at += 1;
        }
    }
    Err(ExpressionError::new(
        ExpressionCode::Syntax,
        format!("byte {start}: a string does not end"),
    ))
}
