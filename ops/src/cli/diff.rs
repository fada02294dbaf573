//! What is different between two JSON values, path by path.

use serde::Serialize;
use serde_json::Value;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Change {
    /// Only the second has it.
    Added {
        /// Where: names joined by dots, places of lists in brackets.
        path: String,
        /// What.
        to: Value,
    },
    /// Only the first has it.
    Removed {
        /// Where.
        path: String,
        /// What.
        from: Value,
    },
    /// Both have it, and not the same.
    Changed {
        /// Where.
        path: String,
        /// In the first.
        from: Value,
        /// In the second.
        to: Value,
    },
}

/// Every difference, in the order of the first value's fields. Lists are compared place by place.
pub(super) fn between(from: &Value, to: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk("", from, to, &mut changes);
    changes
}

fn walk(path: &str, from: &Value, to: &Value, out: &mut Vec<Change>) {
    let root = |path: &str| if path.is_empty() { "(state)".to_owned() } else { path.to_owned() };
    match (from, to) {
        (Value::Object(a), Value::Object(b)) => {
            let at = |name: &str| {
                if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                }
            };
            for (name, from) in a {
                match b.get(name) {
                    Some(to) => walk(&at(name), from, to, out),
                    None => out.push(Change::Removed {
                        path: at(name),
                        from: from.clone(),
                    }),
                }
            }
            out.extend(b.iter().filter(|(name, _)| !a.contains_key(*name)).map(|(name, to)| Change::Added {
                path: at(name),
                to: to.clone(),
            }));
        }
        (Value::Array(a), Value::Array(b)) => {
            for (place, (from, to)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}[{place}]"), from, to, out);
            }
            let rest = |from: &[Value], after: usize| {
                from.iter()
                    .enumerate()
                    .skip(after)
                    .map(|(n, v)| (format!("{path}[{n}]"), v.clone()))
                    .collect::<Vec<_>>()
            };
            out.extend(rest(a, b.len()).into_iter().map(|(path, from)| Change::Removed { path, from }));
            out.extend(rest(b, a.len()).into_iter().map(|(path, to)| Change::Added { path, to }));
        }
        (from, to) if from == to => {}
        (from, to) => out.push(Change::Changed {
            path: root(path),
            from: from.clone(),
            to: to.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_located() {
        let a = json!({ "phase": "idle", "members": ["ada", "bob"], "gone": 1, "same": { "x": null } });
        let b = json!({ "phase": "ai_active", "members": ["ada", "cy", "dan"], "same": { "x": null }, "new": {} });
        let text: Vec<String> = between(&a, &b)
            .into_iter()
            .map(|change| match change {
                Change::Added { path, to } => format!("+{path}={to}"),
                Change::Removed { path, from } => format!("-{path}={from}"),
                Change::Changed { path, from, to } => format!("~{path}={from}>{to}"),
            })
            .collect();
        assert_eq!(
            text,
            [
                "-gone=1",
                "~members[1]=\"bob\">\"cy\"",
                "+members[2]=\"dan\"",
                "~phase=\"idle\">\"ai_active\"",
                "+new={}"
            ]
        );
        assert_eq!(between(&a, &a), []);
        assert_eq!(between(&json!(1), &json!(2)).len(), 1);
    }
}
