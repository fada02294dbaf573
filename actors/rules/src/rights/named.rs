//! What a command names of rights: capabilities, families of them, and what they are to hold on.

use super::Charter;
use crate::decider::Refusal;
use quipu_schemas::{
    ids::Kind,
    problem::Problem,
    rights::{Pattern, Target},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Scopes of tokens that are no rights in an org, of which an application may ask for some.
const OPENID: &str = "openid";

/// A right that a command names and that no kind or view of the node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownRight {
    /// No such capability.
    Capability {
        /// Where it is named.
        field: String,
        /// What is named.
        named: String,
        /// What is known instead: of its family, where there is one, else the families.
        known: Vec<String>,
    },
    /// No such kind.
    Target {
        /// Where it is named.
        field: String,
        /// What is named.
        named: Kind,
        /// The kinds.
        known: Vec<String>,
    },
}

impl Refusal for UnknownRight {
    fn problem(&self) -> Problem {
        match self {
            Self::Capability { field, named, known } => Problem::new(422, "unknown_capability", format!("no such capability: {named}"))
                .field(field.clone())
                .fix(format!("use one of {}", known.join(", "))),
            Self::Target { field, named, known } => Problem::new(422, "unknown_target", format!("no such kind: {named}"))
                .field(field.clone())
                .fix(format!("use `org`, or KIND/ID with one of {}", known.join(", "))),
        }
    }
}

/// Refuses a command that names a capability or a kind that the node does not know: it would hold nothing, or guard nothing, without
/// anybody being told. What is outside its grammar is refused by the rules of its kind.
pub fn known_rights(charter: &Charter, kind: &Kind, command: &str, body: &Value) -> Result<(), UnknownRight> {
    let places = charter.command(kind, command).map_or(&[][..], |right| right.names_rights);
    for place in places {
        let field = place.trim_start_matches('/').replace('/', ".");
        let named = body.pointer(place);
        let list = named.and_then(Value::as_array).map(Vec::as_slice);
        let texts = list.unwrap_or(named.map(std::slice::from_ref).unwrap_or_default());
        for text in texts.iter().filter_map(Value::as_str) {
            known_text(charter, kind, text, &field)?;
        }
    }
    Ok(())
}

fn known_text(charter: &Charter, kind: &Kind, text: &str, field: &str) -> Result<(), UnknownRight> {
    if let Ok(Target::Entity(of, _)) = text.parse::<Target>()
        && !charter.kinds().any(|known| *known == of)
    {
        return Err(UnknownRight::Target {
            field: field.to_owned(),
            named: of,
            known: charter.kinds().map(Kind::to_string).collect(),
        });
    }
    let Ok(pattern) = text.parse::<Pattern>() else { return Ok(()) };
    let family = match &pattern {
        Pattern::One(capability) => capability.family(),
        Pattern::Family(family) => family,
        Pattern::Role(_) => return Ok(()),
    };
    if charter.catalogue().knows(&pattern) || (*kind == Kind::APPLICATION && family == OPENID) {
        return Ok(());
    }
    let all: Vec<_> = charter.catalogue().all().map(|(capability, _)| capability).collect();
    let is_family = all.iter().any(|known| known.family() == family);
    let known: BTreeSet<String> = match is_family {
        true => all
            .iter()
            .filter(|known| known.family() == family)
            .map(ToString::to_string)
            .collect(),
        false => all.iter().map(|known| format!("cap:{}.*", known.family())).collect(),
    };
    Err(UnknownRight::Capability {
        field: field.to_owned(),
        named: pattern.to_string(),
        known: known.into_iter().collect(),
    })
}
