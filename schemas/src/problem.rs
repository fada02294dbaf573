//! Errors as people and programs meet them: RFC 9457 problems with a stable code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that is wrong with what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// Path of the field.
    pub field: String,
    /// Stable code, of the same list as those of problems.
    pub code: String,
    /// What is wrong with it.
    pub detail: String,
}

/// Every field that is wrong, and the request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProblemContext {
    /// Everything that is wrong, where that is more than one field.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldError>,
    /// How many seconds ago somebody may have signed in at most (401 `insufficient_user_authentication`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_age: Option<u64>,
    /// The path that was asked for, without its query.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instance: Option<String>,
    /// The id of the request: `X-Request-Id` of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    /// When it was answered, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<String>,
    /// Where the node that answered explains the code, below its address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub docs: Option<String>,
}

/// RFC 9457 problem details. `code` is stable; `field` and `fix` say what to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `https://quipu.dev/problems/{code}`: an identifier that never changes and need not be fetched. `docs` is where the node
    /// explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Stable, machine-readable code.
    pub code: String,
    /// What this class of problem is.
    pub title: String,
    /// What happened here.
    pub detail: String,
    /// Path of the offending field, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The right that is lacking (403), where it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub right: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fix: Option<String>,
    /// The stream's current version (412).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current_version: Option<u64>,
    /// Depth of the queue that was full (429).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue_depth: Option<u64>,
    /// Seconds to wait before trying again (429, 503).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u32>,
    /// What else is told of it: what it is about, and of which request. Apart, so that a problem on its way stays small.
    #[serde(flatten)]
    pub context: Box<ProblemContext>,
}

impl Problem {
    /// A problem; the title is the code in words.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://quipu.dev/problems/{code}"),
            status,
            code: code.to_owned(),
            title: code.replace('_', " "),
            detail: detail.into(),
            field: None,
            right: None,
            fix: None,
            current_version: None,
            queue_depth: None,
            retry_after: None,
            context: Box::default(),
        }
    }
    /// Names the field.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
    /// Names the right that is lacking.
    pub fn right(mut self, right: impl fmt::Display) -> Self {
        self.right = Some(right.to_string());
        self
    }
    /// Says what to do.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
    /// Adds everything that is wrong.
    pub fn errors(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        self.context.errors = errors.into_iter().collect();
        self
    }
    /// Adds the current version.
    pub fn at_version(mut self, version: u64) -> Self {
        self.current_version = Some(version);
        self
    }
    /// Adds `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
    /// Whether trying the same command again can help.
    pub fn should_retry(&self) -> bool {
        matches!(self.status, 429 | 500 | 503 | 507)
    }
    /// Whether the node could not take the command, whatever the command says: too much waits, or something is out of order.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
    /// Whether the answer may be another one later, without anybody doing something about this entity or partition.
    pub fn passes_by_itself(&self) -> bool {
        (self.is_unavailable() || self.status == 507) && !UNTIL_REPAIRED.contains(&self.code.as_str())
    }
    /// Whether the next owner of the partition may answer otherwise, under the same command id.
    pub fn passes_with_its_owner(&self) -> bool {
        UNTIL_THE_NEXT_OWNER.contains(&self.code.as_str())
    }
}

/// Codes of what lasts until a person has repaired something.
const UNTIL_REPAIRED: [&str; 2] = ["stream_parked", "partition_stopped"];

/// Codes of what is said by an owner of a partition, or of one, when it may be one no longer.
const UNTIL_THE_NEXT_OWNER: [&str; 7] = [
    "partition_not_open",
    "owner_unreachable",
    "outcome_unknown",
    "not_stored",
    "stopping",
    "lease_ended",
    "authority_stale",
];

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)?;
        if let Some(field) = &self.field {
            write!(f, " (field {field})")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}
impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_person_does_not_pass_by_itself() {
        for code in UNTIL_REPAIRED {
            let problem = Problem::new(503, code, "");
            assert!(
                !problem.passes_by_itself() && problem.is_unavailable() && !problem.passes_with_its_owner(),
                "{code}"
            );
        }
    }

    #[test]
    fn what_a_leaving_owner_says_passes() {
        for code in UNTIL_THE_NEXT_OWNER {
            let problem = Problem::new(503, code, "");
            assert!(problem.passes_by_itself() && problem.passes_with_its_owner(), "{code}");
        }
    }

    #[test]
    fn context_stands_beside_the_rest_and_may_be_missing() {
        let bare = Problem::new(404, "not_found", "gone");
        let text = serde_json::to_string(&bare).unwrap();
        assert!(!text.contains("context") && !text.contains("errors"), "{text}");
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), bare);
        let mut whole = bare.at_version(7).retry_after(3).errors([FieldError {
            field: "a".into(),
            code: "b".into(),
            detail: "c".into(),
        }]);
        whole.context.instance = Some("/x".into());
        let value = serde_json::to_value(&whole).unwrap();
        assert_eq!((&value["instance"], &value["errors"][0]["code"]), (&"/x".into(), &"b".into()));
        assert_eq!(serde_json::from_value::<Problem>(value).unwrap(), whole);
    }

    #[test]
    fn status_tells_the_rest() {
        let answers = |status| {
            let problem = Problem::new(status, "any", "");
            (problem.is_unavailable(), problem.passes_by_itself(), problem.should_retry())
        };
        assert_eq!(answers(429), (true, true, true));
        assert_eq!(answers(503), (true, true, true));
        assert_eq!(answers(507), (false, true, true));
        assert_eq!(answers(500), (false, false, true));
        assert_eq!(answers(409), (false, false, false));
    }
}
