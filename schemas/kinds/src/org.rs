//! Words of an org: the tenant, its members and their roles.

use quipu_schemas::{
    ids::{OrgId, PrincipalId},
    json::Json,
    personal::Personal,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrgCommand {
    /// Creates the org; the actor becomes its first owner.
    Create(CreateOrg),
    /// Changes the name.
    Rename(RenameOrg),
    /// Adds a member.
    AddMember(AddMember),
    /// Changes a member's role.
    SetRole(SetRole),
    /// Removes a member.
    RemoveMember(RemoveMember),
    /// Sets and unsets settings.
    ChangeSettings(ChangeSettings),
    /// Refuses all other commands until resumed.
    Suspend(SuspendOrg),
    /// Ends a suspension.
    Resume(ResumeOrg),
}

/// Creates an org.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrg {
    /// Display name, 1 to 200 characters.
    pub name: String,
    /// Parent org, for a workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OrgId>,
    /// First owner; the actor unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PrincipalId>,
}

/// Renames an org.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameOrg {
    /// New display name, 1 to 200 characters.
    pub name: String,
}

/// Adds a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// Who.
    pub principal: PrincipalId,
    /// As what.
    pub role: Role,
    /// A person's name (sealed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal<String>>,
    /// A person's e-mail address (sealed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Personal<String>>,
}

/// Changes a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// Whose.
    pub principal: PrincipalId,
    /// New role.
    pub role: Role,
}

/// Removes a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveMember {
    /// Who.
    pub principal: PrincipalId,
}

/// Sets settings; `null` unsets one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSettings {
    /// By name (`[a-z][a-z0-9_.]{0,63}`), at most 100 in all. `values.retention_days` (1 to 36,500) is the platform's: large
    /// values are deleted so many days after the newest record that names them.
    pub settings: BTreeMap<String, Json>,
}

/// Suspends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendOrg {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Resumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeOrg {}

/// Events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum OrgEvent {
    /// The org exists.
    #[serde(rename = "quipu.org.created.v1")]
    Created {
        /// Display name.
        name: String,
        /// Parent org.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<OrgId>,
    },
    /// It has another name.
    #[serde(rename = "quipu.org.renamed.v1")]
    Renamed {
        /// New name.
        name: String,
    },
    /// Somebody joined.
    #[serde(rename = "quipu.org.member_added.v1")]
    MemberAdded {
        /// Who.
        principal: PrincipalId,
        /// As what.
        role: Role,
        /// Their name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Personal<String>>,
        /// Their address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<Personal<String>>,
    },
    /// A role changed.
    #[serde(rename = "quipu.org.role_set.v1")]
    RoleSet {
        /// Whose.
        principal: PrincipalId,
        /// New role.
        role: Role,
    },
    /// Somebody left.
    #[serde(rename = "quipu.org.member_removed.v1")]
    MemberRemoved {
        /// Who.
        principal: PrincipalId,
    },
    /// Settings changed; `null` means unset.
    #[serde(rename = "quipu.org.settings_changed.v1")]
    SettingsChanged {
        /// What changed.
        settings: BTreeMap<String, Json>,
    },
    /// All other commands are refused from here.
    #[serde(rename = "quipu.org.suspended.v1")]
    Suspended {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// Commands are taken again.
    #[serde(rename = "quipu.org.resumed.v1")]
    Resumed {},
}
