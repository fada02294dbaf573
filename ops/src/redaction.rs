//! Secrets in texts that people read: log lines, problems, what a panic says. The one place that knows how a secret looks.
//!
//! By its name (`password`, `client_secret`, `Authorization` and others, as a field of JSON, of a query or of a log line, however
//! deep JSON stands within JSON), and by its form (tokens and keys of a node, JWTs, `Bearer …`, private keys in PEM). A text that is
//! no secret may be taken for one; that a secret is missed is what the names and forms here are for.

use quipu_schemas::problem::Problem;
use serde_json::Value;
use std::{borrow::Cow, ops::Range};

/// What stands in place of a secret.
pub const MARK: &str = "[redacted]";

/// Names of secrets, also as the last words of a longer name: `old_password`, `x-api-key`, `clientSecret`.
const NAMES: &[&str] = &[
    "api_key",
    "apikey",
    "assertion",
    "authorization",
    "code_verifier",
    "cookie",
    "credential",
    "credentials",
    "device_code",
    "otp",
    "passphrase",
    "passwd",
    "password",
    "pepper",
    "private_key",
    "recovery_code",
    "recovery_codes",
    "secret",
    "secret_key",
    "token",
    "totp",
    "user_code",
];

/// Headers, whose values in a text go on to the end of the line.
const HEADERS: &[&str] = &["authorization", "proxy_authorization", "cookie", "set_cookie", "x_api_key"];

/// Begins of credentials, with the least number of characters behind each.
const FORMS: &[(&str, usize)] = &[
    ("qpk_", 20),
    ("qps_", 20),
    ("qpr_", 20),
    ("qpc_", 20),
    ("qpd_", 20),
    ("qpv_", 20),
    ("qpw_", 20),
    ("qpi_", 20),
    ("qp_", 20),
    ("whsec_", 8),
    ("sk-", 20),
    ("ghp_", 20),
    ("xoxb-", 20),
];

/// Whether a field of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = plain(name);
    NAMES.iter().any(|secret| {
        name.strip_suffix(secret)
            .is_some_and(|front| front.is_empty() || front.ends_with('_'))
    })
}

/// `clientSecret`, `Client-Secret` and `client_secret` are one name.
fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    let mut after_small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_small {
            out.push('_');
        }
        after_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    out
}

/// Whether a text holds what has the form of a credential, whatever stands before it.
pub fn holds_credential(text: &str) -> bool {
    (0..text.len()).any(|at| credential(text.as_bytes(), at).is_some())
}

/// A text without its secrets.
pub fn text(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let (mut out, mut done, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        let found = credential(bytes, at).or_else(|| {
            if begins_word(bytes, at) {
                spoken(bytes, at).or_else(|| named(text, at))
            } else {
                None
            }
        });
        match found {
            Some(Range { start, end }) if end > start => {
                out.push_str(&text[done..start]);
                out.push_str(MARK);
                (done, at) = (end, end);
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// JSON without its secrets.
pub fn json(value: &mut Value) {
    match value {
        Value::String(string) => {
            if let Cow::Owned(clean) = text(string) {
                *string = clean;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(json),
        Value::Object(fields) => {
            for (name, value) in fields {
                if is_secret_name(name) && !value.is_null() {
                    *value = MARK.into();
                } else {
                    json(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a problem repeats of a request, without secrets.
pub fn problem(problem: &mut Problem) {
    let fixed = [
        Some(&mut problem.detail),
        problem.field.as_mut(),
        problem.fix.as_mut(),
        problem.context.instance.as_mut(),
    ];
    let listed = problem
        .context
        .errors
        .iter_mut()
        .flat_map(|error| [&mut error.field, &mut error.detail]);
    for told in fixed.into_iter().flatten().chain(listed) {
        if let Cow::Owned(clean) = text(told) {
            *told = clean;
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Bytes of tokens: base64url, dots, and what else credentials are written with.
fn is_token(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}

/// A word begins behind anything else, and behind `\n` as it is written within JSON.
fn begins_word(bytes: &[u8], at: usize) -> bool {
    let is_escape = |at: usize| at > 1 && bytes[at - 2] == b'\\' && matches!(bytes[at - 1], b'n' | b'r' | b't');
    at == 0 || !is_word(bytes[at - 1]) || is_escape(at)
}

fn run(bytes: &[u8], from: usize, is: impl Fn(u8) -> bool) -> usize {
    bytes[from..]
        .iter()
        .position(|byte| !is(*byte))
        .map_or(bytes.len(), |length| from + length)
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes
        .get(from..)?
        .windows(what.len())
        .position(|window| window == what)
        .map(|at| from + at)
}

/// What has the form of a credential here, wherever it stands.
fn credential(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = &bytes[at..];
    match rest.first()? {
        b'e' if rest.starts_with(b"eyJ") => {
            let end = run(bytes, at, |byte| is_word(byte) || byte == b'.');
            let dots = bytes[at..end].iter().filter(|byte| **byte == b'.').count();
            (dots >= 1 && end - at >= 20).then_some(at..end)
        }
        b'-' if rest.starts_with(b"-----BEGIN ") => {
            let label = find(bytes, at + 11, b"-----")?;
            if !bytes[at..label].ends_with(b"PRIVATE KEY") {
                return None;
            }
            let end = find(bytes, label, b"PRIVATE KEY-----").map_or(bytes.len(), |end| end + 16);
            // The label's own end is the first that is found.
            let end = if end <= label + 5 {
                find(bytes, label + 5, b"PRIVATE KEY-----").map_or(bytes.len(), |end| end + 16)
            } else {
                end
            };
            Some(at..end)
        }
        _ => {
            let (form, least) = FORMS.iter().find(|(form, _)| rest.starts_with(form.as_bytes()))?;
            // A word that only ends like one: `task-…`.
            let is_apart = at == 0 || !bytes[at - 1].is_ascii_alphanumeric() || form.ends_with('_');
            let end = run(bytes, at, |byte| is_word(byte) || byte == b'.');
            (is_apart && end - at >= form.len() + least).then_some(at..end)
        }
    }
}

/// `Bearer …`, `Basic …`: the scheme stays.
fn spoken(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let scheme = ["bearer ", "basic ", "digest ", "negotiate "].into_iter().find(|scheme| {
        bytes
            .get(at..at + scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    let start = run(bytes, at + scheme.len(), |byte| byte == b' ');
    let end = run(bytes, start, is_token);
    // "no bearer token is given" holds none.
    let is_plain_word = bytes[start..end].iter().all(u8::is_ascii_lowercase);
    (end - start >= 4 && !is_plain_word).then_some(start..end)
}

/// The value of a field whose name begins here and is a secret's.
fn named(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let end = run(bytes, at, is_word);
    if end == at || !is_secret_name(&text[at..end]) {
        return None;
    }
    let quoted = quote(bytes, end);
    let mark = run(bytes, quoted.unwrap_or(end), |byte| byte == b' ');
    let is_header = HEADERS.contains(&plain(&text[at..end]).as_str());
    let sign = *bytes.get(mark)?;
    if !matches!(sign, b'=' | b':') {
        return None;
    }
    let mut value = run(bytes, mark + 1, |byte| byte == b' ');
    if bytes[value..].starts_with(b"Some(") {
        value += 5;
    }
    if let Some(opened) = quote(bytes, value) {
        let delimiter = &bytes[value..opened];
        let close = close(bytes, opened, delimiter);
        return Some(opened..close);
    }
    match bytes.get(value)? {
        b'{' | b'[' if quoted.is_some() => Some(value..nested(bytes, value)),
        // A placeholder says what to send.
        _ if is_header && bytes[value..].starts_with(b"Bearer <") => None,
        // A header in a text: all of its line.
        _ if is_header && quoted.is_none() => Some(value..run(bytes, value, |byte| !matches!(byte, b'\n' | b'\r' | b'"' | b'\\' | b'`'))),
        _ if sign == b'=' || quoted.is_some() => {
            let is_value =
                |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b',' | b'&' | b';' | b')' | b'}' | b']' | b'"' | b'`' | b'\\');
            Some(value..run(bytes, value, is_value))
        }
        _ => None,
    }
}

/// Behind a quotation mark that stands here, with the backslashes before it.
fn quote(bytes: &[u8], at: usize) -> Option<usize> {
    let mark = run(bytes, at, |byte| byte == b'\\');
    (bytes.get(mark) == Some(&b'"')).then_some(mark + 1)
}

/// Where a text ends that was opened by this: at the same mark, with no more backslashes before it.
fn close(bytes: &[u8], from: usize, delimiter: &[u8]) -> usize {
    let mut at = from;
    while let Some(found) = find(bytes, at, delimiter) {
        let more = bytes[from..found].iter().rev().take_while(|byte| **byte == b'\\').count();
        if more % 2 == 0 {
            return found;
        }
        at = found + 1;
    }
    bytes.len()
}

/// Behind the bracket that closes the one here.
fn nested(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
