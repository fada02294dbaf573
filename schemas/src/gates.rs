//! The settings of an org that say which commands take an approval, and which a recent sign-in.

use crate::{
    context::Millis,
    json::Json,
    limits::{GATES_MAX, STEP_UP_MAX_SECONDS, STEP_UP_MIN_SECONDS},
    rights::Pattern,
};

/// Name of the setting: a list of capabilities and families of them.
pub const APPROVALS_SETTING: &str = "approvals.required";

/// Name of the setting that lists what takes a recent sign-in with a second factor, in the same form.
pub const STEP_UP_SETTING: &str = "step_up.required";
/// Name of the setting that says how long ago that may be at most, in seconds.
pub const STEP_UP_AGE_SETTING: &str = "step_up.max_age_s";

/// How long ago a sign-in may be, by the value of [`STEP_UP_AGE_SETTING`], in milliseconds; `None` where it is not such an age.
pub fn step_up_age_ms(value: &Json) -> Option<Millis> {
    let seconds = value.0.as_u64()?;
    (STEP_UP_MIN_SECONDS..=STEP_UP_MAX_SECONDS)
        .contains(&seconds)
        .then_some(seconds * 1_000)
}

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
    fn ages_are_seconds_within_bounds() {
        assert_eq!(step_up_age_ms(&Json(json!(300))), Some(300_000));
        for bad in [json!(0), json!(29), json!(86_401), json!(-5), json!("300"), json!(1.5), json!(null)] {
            assert_eq!(step_up_age_ms(&Json(bad.clone())), None, "{bad}");
        }
    }

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
