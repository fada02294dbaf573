//! Words of a grant: what one principal of an org holds beside their role. The entity's id is the principal's.

use quipu_schemas::{
    context::Millis,
    rights::{Pattern, Target},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantCommand {
    /// Gives a right, or changes until when it holds.
    Give(GiveGrant),
    /// Takes a right back.
    Take(TakeGrant),
}

/// Gives a right to the principal whose id the entity has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveGrant {
    /// A capability, a family of them, or a role.
    pub right: Pattern,
    /// On what; the whole org unless given.
    #[serde(default = "whole_org")]
    pub on: Target,
    /// Until when, in milliseconds since the Unix epoch; for good unless given. The moment itself is outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

/// Takes a right back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeGrant {
    /// The right, as it was given.
    pub right: Pattern,
    /// On what it was given; the whole org unless given.
    #[serde(default = "whole_org")]
    pub on: Target,
}

fn whole_org() -> Target {
    Target::Org
}

/// What happened to what a principal holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum GrantEvent {
    /// A right was given, or holds until another time.
    #[serde(rename = "quipu.grant.given.v1")]
    Given {
        /// A capability, a family of them, or a role.
        right: Pattern,
        /// On what.
        on: Target,
        /// Until when; for good where it says nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
    },
    /// A right was taken back.
    #[serde(rename = "quipu.grant.taken.v1")]
    Taken {
        /// The right, as it was given.
        right: Pattern,
        /// On what it was given.
        on: Target,
    },
}
