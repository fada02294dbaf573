//! A command as a face is asked for it: its fields, labels and preconditions, each parsed once.

use crate::{
    caller::InOrg,
    headers::{label, one},
    json,
    problems::{self, bad_header, clip},
    redaction::holds_credential,
    request_id::{self, RequestId},
};
use axum::http::HeaderMap;
use quipu_runtime::api::CommandRequest;
use quipu_schemas::{
    envelope::DataClass,
    idempotency,
    ids::{BadId, CommandId, EntityId, Kind, PrincipalId},
    problem::Problem,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A kind with its stored name parsed.
#[derive(Debug, Clone)]
pub struct KnownKind {
    /// The kind.
    pub kind: Kind,
    /// Its plural, as in paths.
    pub plural: Arc<str>,
    /// Names of the commands that clients may send.
    pub commands: Arc<[String]>,
}

impl KnownKind {
    /// Whether clients may send a command of this name.
    pub fn has_command(&self, name: &str) -> bool {
        self.commands.iter().any(|command| command == name)
    }
}

/// A command as a face was asked for it, over HTTP or the bus.
pub(crate) struct Asked<'a> {
    pub(crate) by: &'a InOrg,
    pub(crate) kind: &'a KnownKind,
    pub(crate) id: Option<EntityId>,
    pub(crate) command: &'a str,
    pub(crate) labels: Labels,
    pub(crate) correlation: Correlation,
    pub(crate) fields: Value,
}

impl Asked<'_> {
    /// What the node is asked for, if the kind has such a command.
    pub(crate) fn into_request(self) -> Result<CommandRequest, Problem> {
        let kind = self.kind;
        if !kind.has_command(self.command) {
            return Err(problems::unknown_command(
                kind.kind.as_str(),
                self.command,
                &kind.commands.join(", "),
            ));
        }
        Ok(CommandRequest {
            org: self.by.org().clone(),
            kind: kind.kind.clone(),
            id: self.id,
            command: self.command.to_owned(),
            body: self.fields,
            command_id: self.labels.command_id,
            principal: self.by.caller().principal()?.clone(),
            on_behalf_of: self.by.caller().for_whom().cloned().or(self.labels.on_behalf_of),
            credential: self.by.caller().credential_id(),
            expected_version: self.labels.expected_version,
            environment: self.labels.environment,
            data_class: self.labels.data_class,
            correlation: Some(self.correlation.0),
            traceparent: self.labels.traceparent,
        })
    }
}

/// The fields of a command, from a body of this media type.
pub(crate) fn fields(content_type: Option<&str>, bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    let essence = content_type
        .unwrap_or("none")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence != "application/json" && !(essence.starts_with("application/") && essence.ends_with("+json")) {
        return Err(
            Problem::new(415, "unsupported_media_type", format!("the content type is `{}`", clip(&essence)))
                .field("Content-Type")
                .fix("send application/json"),
        );
    }
    let value = json::parse(json::without_mark(bytes)).map_err(|e| e.problem())?;
    if !value.is_object() {
        return Err(Problem::new(400, "body_not_object", "the body is JSON, but no object")
            .field("body")
            .fix("send the fields in one JSON object"));
    }
    Ok(value)
}

/// The labels and preconditions that come in headers.
#[derive(Debug)]
pub struct Labels {
    /// `Idempotency-Key`.
    pub command_id: Option<CommandId>,
    /// `Quipu-On-Behalf-Of`.
    pub on_behalf_of: Option<PrincipalId>,
    /// `If-Match`, or 0 for `If-None-Match: *`.
    pub expected_version: Option<u64>,
    /// `X-Env`.
    pub environment: Option<String>,
    /// `X-Data-Class`.
    pub data_class: DataClass,
    /// `traceparent`, where it is well formed.
    pub traceparent: Option<String>,
}

impl Labels {
    /// Reads them, refusing what does not parse by the header's name.
    pub fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            command_id: command_id(headers)?,
            on_behalf_of: on_behalf_of(headers)?,
            expected_version: expected_version(headers)?,
            environment: label(headers, "X-Env")?,
            data_class: data_class(headers)?,
            traceparent: one(headers, "traceparent")
                .ok()
                .flatten()
                .filter(|t| is_traceparent(t))
                .map(str::to_owned),
        })
    }
}

/// `Idempotency-Key`. It is stored, so a credential in its place is refused.
fn command_id(headers: &HeaderMap) -> Result<Option<CommandId>, Problem> {
    const NAME: &str = "Idempotency-Key";
    if one(headers, NAME)?.is_some_and(holds_credential) {
        return Err(bad_header(
            NAME,
            "the key has the form of a credential",
            "send an id that tells no secret",
        ));
    }
    id(headers, NAME, idempotency::command_id)
}

/// `Quipu-On-Behalf-Of`.
pub(crate) fn on_behalf_of(headers: &HeaderMap) -> Result<Option<PrincipalId>, Problem> {
    id(headers, "Quipu-On-Behalf-Of", PrincipalId::parse)
}

fn id<T>(headers: &HeaderMap, name: &str, parse: impl Fn(String) -> Result<T, BadId>) -> Result<Option<T>, Problem> {
    one(headers, name)?
        .map(|text| parse(text.to_owned()).map_err(|e| bad_header(name, e.to_string(), "use an id within the grammar")))
        .transpose()
}

fn data_class(headers: &HeaderMap) -> Result<DataClass, Problem> {
    match one(headers, "X-Data-Class")? {
        None | Some("none") => Ok(DataClass::None),
        Some("pii") => Ok(DataClass::Pii),
        Some("phi") => Ok(DataClass::Phi),
        Some("secret") => Ok(DataClass::Secret),
        Some(other) => Err(bad_header(
            "X-Data-Class",
            format!("unknown data class `{}`", clip(other)),
            "use none, pii, phi or secret",
        )),
    }
}

/// `If-Match: "<version>"`, or `If-None-Match: *` for an entity that must not exist.
fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let fix = "send If-Match: \"<version>\" with the ETag you were given, or If-None-Match: * for a new entity";
    match (one(headers, "If-Match")?, one(headers, "If-None-Match")?) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(0)),
        (None, Some(other)) => Err(bad_header(
            "If-None-Match",
            format!("`{}` cannot be a condition of a command", clip(other)),
            fix,
        )),
        (Some(tag), None) => tag
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Some)
            .ok_or_else(|| bad_header("If-Match", format!("not a version: `{}`", clip(tag)), fix)),
        (Some(_), Some(_)) => Err(bad_header("If-Match", "If-Match and If-None-Match exclude each other", fix)),
    }
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let parts: Vec<_> = text.split('-').collect();
    matches!(parts[..], [version, trace, span, flags]
        if version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && !zero(trace) && !zero(span))
}

/// The correlation id of a request: the client's, its trace, or the id of the request itself. Set by the guard.
#[derive(Debug, Clone)]
pub struct Correlation(pub String);

impl Correlation {
    /// Reads it. It is advice, often given by something between client and node: one of another form, or given twice, is passed
    /// over and never a reason to refuse. The request's own id comes before its trace where the client gave it.
    pub fn of(headers: &HeaderMap, request: &RequestId) -> Self {
        for name in ["X-Correlation-Id", "X-Trace-Id", request_id::HEADER] {
            if let Ok(Some(given)) = label(headers, name)
                && !holds_credential(&given)
            {
                return Self(given);
            }
        }
        let trace = one(headers, "traceparent")
            .ok()
            .flatten()
            .filter(|t| is_traceparent(t))
            .map(|t| t[3..35].to_owned());
        Self(trace.unwrap_or_else(|| request.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        map
    }

    #[test]
    fn bodies_are_json_objects_or_nothing() {
        assert_eq!(fields(None, b"  ").unwrap(), serde_json::json!({}));
        let marked = fields(Some("application/json"), b"\xef\xbb\xbf{}");
        assert_eq!(marked.unwrap(), serde_json::json!({}), "a byte order mark says nothing");
        assert_eq!(
            fields(Some("application/json; charset=utf-8"), br#"{"a":1}"#).unwrap(),
            serde_json::json!({"a": 1})
        );
        let code = |kind, body: &[u8]| fields(kind, body).map_err(|p| (p.status, p.code)).unwrap_err();
        assert_eq!(code(Some("text/plain"), b"{}"), (415, "unsupported_media_type".into()));
        assert_eq!(code(None, b"{}"), (415, "unsupported_media_type".into()));
        assert_eq!(code(Some("application/json"), b"[]"), (400, "body_not_object".into()));
        assert_eq!(code(Some("application/json"), b"{\"a\":\xff}"), (400, "malformed_json".into()));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(code(Some("application/json"), deep.as_bytes()), (400, "malformed_json".into()));
        let problem = fields(Some("application/json"), b"{\n \"a\": ,}").unwrap_err();
        assert!(problem.detail.contains("line 2, column"), "{}", problem.detail);
    }

    #[test]
    fn preconditions_and_labels_are_read_or_refused_by_name() {
        let read = |pairs: &[(&'static str, &str)]| Labels::read(&headers(pairs));
        assert_eq!(read(&[("If-Match", "\"7\"")]).unwrap().expected_version, Some(7));
        assert_eq!(read(&[("If-None-Match", "*")]).unwrap().expected_version, Some(0));
        assert_eq!(read(&[("X-Data-Class", "phi")]).unwrap().data_class, DataClass::Phi);
        for (pairs, field) in [
            (&[("If-Match", "7")][..], "If-Match"),
            (&[("If-Match", "\"+7\"")], "If-Match"),
            (&[("If-Match", "*")], "If-Match"),
            (&[("If-None-Match", "\"1\"")], "If-None-Match"),
            (&[("If-Match", "\"1\""), ("If-None-Match", "*")], "If-Match"),
            (&[("Idempotency-Key", "a b")], "Idempotency-Key"),
            (&[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], "Idempotency-Key"),
            (&[("Quipu-On-Behalf-Of", "a/b")], "Quipu-On-Behalf-Of"),
            (&[("X-Data-Class", "top")], "X-Data-Class"),
            (&[("X-Env", "")], "X-Env"),
        ] {
            let problem = read(pairs).unwrap_err();
            assert_eq!(
                (problem.status, problem.code.as_str(), problem.field.as_deref()),
                (400, "bad_header", Some(field))
            );
        }
    }

    fn correlation(headers: &HeaderMap) -> String {
        Correlation::of(headers, &RequestId("r-1".into())).0
    }

    #[test]
    fn given_request_id_correlates_before_a_trace() {
        let trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(correlation(&headers(&[("X-Request-Id", "req-7"), trace])), "req-7");
        let both = [("X-Request-Id", "req-7"), ("X-Correlation-Id", "c-1"), trace];
        assert_eq!(correlation(&headers(&both)), "c-1");
    }

    #[test]
    fn a_malformed_traceparent_is_ignored_and_a_good_one_correlates() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(
            Labels::read(&headers(&[("traceparent", good)])).unwrap().traceparent.as_deref(),
            Some(good)
        );
        assert_eq!(correlation(&headers(&[("traceparent", good)])), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "00-xyz",
            &good.to_uppercase(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            assert_eq!(Labels::read(&headers(&[("traceparent", bad)])).unwrap().traceparent, None);
        }
        assert_eq!(correlation(&headers(&[("X-Correlation-Id", "c-1"), ("traceparent", good)])), "c-1");
        assert_eq!(correlation(&HeaderMap::new()), "r-1");
    }

    #[test]
    fn foreign_correlation_ids_are_passed_over() {
        for foreign in ["{0f8fad5b-d9cb}", "Zm9v+w==", "Root=1-67891233-abc", "", "a b"] {
            for name in ["X-Correlation-Id", "X-Trace-Id"] {
                assert_eq!(correlation(&headers(&[(name, foreign)])), "r-1", "{name}: {foreign}");
            }
        }
        let twice = [("X-Correlation-Id", "a"), ("X-Correlation-Id", "b")];
        assert_eq!(correlation(&headers(&twice)), "r-1");
        assert_eq!(correlation(&headers(&[("X-Correlation-Id", "{a}"), ("X-Trace-Id", "t-1")])), "t-1");
    }
}
