//! Words of a project: a part of an org, with the applications that are of it.

use quipu_schemas::ids::EntityId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectCommand {
    /// Begins a project.
    Create(CreateProject),
    /// Changes the name.
    Rename(RenameProject),
    /// Lists an application as one of the project's.
    AddApplication(AddApplication),
    /// Takes an application off the list.
    RemoveApplication(RemoveApplication),
    /// Ends the project; it stays to be read.
    Archive(ArchiveProject),
}

/// Begins a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// Display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
}

/// Changes the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameProject {
    /// New display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
}

/// Lists an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddApplication {
    /// The application's id.
    pub application: EntityId,
}

/// Takes an application off the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveApplication {
    /// The application's id.
    pub application: EntityId,
}

/// Ends a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveProject {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// What happened to a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ProjectEvent {
    /// The project exists.
    #[serde(rename = "quipu.project.created.v1")]
    Created {
        /// The display name. Stored unencrypted: no personal data.
        name: String,
    },
    /// It has another name.
    #[serde(rename = "quipu.project.renamed.v1")]
    Renamed {
        /// The display name from here on.
        name: String,
    },
    /// An application is listed.
    #[serde(rename = "quipu.project.application_added.v1")]
    ApplicationAdded {
        /// The application's id.
        application: EntityId,
    },
    /// An application is listed no longer.
    #[serde(rename = "quipu.project.application_removed.v1")]
    ApplicationRemoved {
        /// The application's id.
        application: EntityId,
    },
    /// The project ended.
    #[serde(rename = "quipu.project.archived.v1")]
    Archived {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
}
