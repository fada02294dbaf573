//! Words of an org's own roles: names for sets of capabilities. One entity of an org, `all`, holds them all.

use quipu_schemas::rights::Pattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleCommand {
    /// Makes a role, or changes what it holds.
    Set(SetOwnRole),
    /// Removes a role; whoever was granted it, or inherits from it, holds that part no longer.
    Remove(RemoveOwnRole),
}

/// Makes a role, or changes what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetOwnRole {
    /// Its name, lower-case words parted by `:`. `owner`, `admin`, `member` and `viewer` are taken.
    pub name: String,
    /// Capabilities, families of them, and the roles that it inherits from; at most 256.
    pub holds: Vec<Pattern>,
}

/// Removes a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveOwnRole {
    /// Its name.
    pub name: String,
}

/// What happened to an org's own roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum RoleEvent {
    /// A role holds this from here on.
    #[serde(rename = "quipu.role.set.v1")]
    Set {
        /// Its name.
        name: String,
        /// Capabilities, families of them, and the roles that it inherits from.
        holds: Vec<Pattern>,
    },
    /// A role was removed.
    #[serde(rename = "quipu.role.removed.v1")]
    Removed {
        /// Its name.
        name: String,
    },
}
