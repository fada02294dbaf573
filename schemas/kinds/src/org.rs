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

/// What clients may send.
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
    /// The principal to add.
    pub principal: PrincipalId,
    /// The role that the member gets.
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
    /// The member whose role changes.
    pub principal: PrincipalId,
    /// The role that the member gets.
    pub role: Role,
}

/// Removes a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveMember {
    /// The member to remove.
    pub principal: PrincipalId,
}

/// Sets settings; `null` unsets one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSettings {
    /// By name (`[a-z][a-z0-9_.]{0,63}`), at most 100 in all. `values.retention_days` (1 to 36,500) is the platform's: large
    /// values are deleted so many days after the newest record that names them. So is `commands.require_idempotency_key` (true or
    /// false): commands without an `Idempotency-Key` are refused. `approvals.required` (a list of
    /// capabilities and families) says which commands take an approval; `step_up.required`, in the same form, which take a sign-in
    /// with a second factor, `step_up.max_age_s` (30 to 86,400; 300 unless set) seconds ago at most.
    pub settings: BTreeMap<String, Json>,
}

/// Suspends the org.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendOrg {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Ends the suspension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeOrg {}

/// What happened to an org.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum OrgEvent {
    /// The org exists.
    #[serde(rename = "quipu.org.created.v1")]
    Created {
        /// The org's display name.
        name: String,
        /// The org that this one is a workspace of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<OrgId>,
    },
    /// It has another name.
    #[serde(rename = "quipu.org.renamed.v1")]
    Renamed {
        /// The display name from here on.
        name: String,
    },
    /// Somebody joined.
    #[serde(rename = "quipu.org.member_added.v1")]
    MemberAdded {
        /// Who was added.
        principal: PrincipalId,
        /// The role that they got.
        role: Role,
        /// The person's name (sealed).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Personal<String>>,
        /// The person's e-mail address (sealed).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<Personal<String>>,
    },
    /// A role changed.
    #[serde(rename = "quipu.org.role_set.v1")]
    RoleSet {
        /// The member whose role changed.
        principal: PrincipalId,
        /// The role from here on.
        role: Role,
    },
    /// Somebody left.
    #[serde(rename = "quipu.org.member_removed.v1")]
    MemberRemoved {
        /// Who was removed.
        principal: PrincipalId,
    },
    /// Settings changed; `null` means unset.
    #[serde(rename = "quipu.org.settings_changed.v1")]
    SettingsChanged {
        /// The settings that changed, by name.
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
