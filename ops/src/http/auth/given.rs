//! Fields of a body, read one by one: what is wrong is told by a field's name, and never by what stood in it.

use quipu_runtime::accounts::Password;
use quipu_schemas::{limits::PASSWORD_MAX_BYTES, problem::Problem};
use serde_json::{Map, Value};

/// The fields that are left.
pub(super) struct Given(Map<String, Value>);

impl Given {
    /// The fields of an object.
    pub(super) fn of(body: Value) -> Self {
        Self(match body {
            Value::Object(fields) => fields,
            _ => Map::new(),
        })
    }

    /// A text, where it is given.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= PASSWORD_MAX_BYTES => Ok(Some(text)),
            Some(_) => Err(wrong(name, format!("`{name}` is a text of 1 to {PASSWORD_MAX_BYTES} bytes"))),
        }
    }

    /// A text that must be there.
    pub(super) fn need(&mut self, name: &'static str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| wrong(name, format!("`{name}` is missing")))
    }

    /// What nobody else may see.
    pub(super) fn secret(&mut self, name: &'static str) -> Result<Option<Password>, Problem> {
        Ok(self.text(name)?.map(Password::new))
    }

    /// The same, which must be there.
    pub(super) fn need_secret(&mut self, name: &'static str) -> Result<Password, Problem> {
        self.need(name).map(Password::new)
    }

    /// Whether something is wanted.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(wanted)) => Ok(wanted),
            Some(_) => Err(wrong(name, format!("`{name}` is true or false"))),
        }
    }

    /// Refuses what nobody has asked for.
    pub(super) fn done(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(wrong(&name, format!("unknown field `{name}`")))
            }
        }
    }
}

/// A field that makes no sense.
pub(super) fn wrong(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(422, "invalid_command", detail)
        .field(field)
        .fix("see the operation in /docs/openapi.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_field_is_named_and_not_repeated() {
        let mut given = Given::of(json!({ "password": 424_242, "cookie": "yes", "more": 1 }));
        let told = given.need_secret("password").unwrap_err();
        assert_eq!((told.status, told.field.as_deref()), (422, Some("password")));
        assert!(!told.to_string().contains("424242"), "{told}");
        assert_eq!(given.flag("cookie").unwrap_err().field.as_deref(), Some("cookie"));
        assert_eq!(given.done().unwrap_err().field.as_deref(), Some("more"));
        let mut given = Given::of(json!({ "password": "x".repeat(PASSWORD_MAX_BYTES + 1), "a": null }));
        assert!(given.secret("password").is_err());
        assert_eq!(given.text("a"), Ok(None));
        assert_eq!(given.need("a").unwrap_err().detail, "`a` is missing");
        assert!(given.done().is_ok());
    }
}
