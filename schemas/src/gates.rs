//! The setting of an org that says which commands take an approval.

use crate::{json::Json, limits::GATES_MAX, rights::Pattern};

/// Name of the setting: a list of capabilities and families of them.
pub const APPROVALS_SETTING: &str = "approvals.required";

/// What takes an approval, by the value of [`APPROVALS_SETTING`]; `None` where it is not such a list.
pub fn gates(value: &Json) -> Option<Vec<Pattern>> {
    let texts = value.0.as_array().filter(|texts| texts.len() <= GATES_MAX)?;
    let parsed = texts.iter().map(|text| text.as_str()?.parse::<Pattern>().ok());
    let patterns: Vec<Pattern> = parsed.collect::<Option<_>>()?;
    let is_role = |pattern: &Pattern| matches!(pattern, Pattern::Role(_));
    (!patterns.iter().any(is_role)).then_some(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gates_are_capabilities_and_families_and_nothing_else() {
        let count = |value| gates(&Json(value)).map(|all| all.len());
        assert_eq!(count(json!(["cap:org.suspend", "cap:grant.*"])), Some(2));
        assert_eq!(count(json!([])), Some(0));
        for bad in [
            json!("cap:grant.*"),
            json!(["role:admin"]),
            json!(["grant"]),
            json!([1]),
            json!(vec!["cap:a.b"; GATES_MAX + 1]),
        ] {
            assert_eq!(count(bad.clone()), None, "{bad}");
        }
    }
}
