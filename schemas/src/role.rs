//! Roles of an org's members: what rights are decided by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A member's role; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads, and changes nothing.
    Viewer,
    /// Works: converses, starts runs.
    Member,
    /// Manages agents, members up to admin, settings.
    Admin,
    /// Everything, including other owners and suspension.
    Owner,
}
