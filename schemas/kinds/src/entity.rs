//! Words of an entity of the directory: somebody or something of the org under one id, with its aliases and what it is bound to.

use crate::alias::AliasName;
use quipu_schemas::ids::{EntityId, StreamId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DirectoryType")]
pub enum EntityType {
    /// A person.
    User,
    /// An agent.
    Assistant,
    /// A service of the org.
    Service,
    /// A connection to another system.
    Integration,
    /// A place in which code runs.
    Sandbox,
}

/// How an entity stands in the directory. What it is bound to has a state of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DirectoryStatus")]
pub enum EntityStatus {
    /// Can be addressed.
    #[default]
    Active,
    /// Not in use.
    Inactive,
    /// Not to be used for now.
    Suspended,
}

/// What an entity is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoundTo {
    /// The principal that it acts as; one at a time.
    Principal,
    /// A participant of a conversation, `CONVERSATION/PRINCIPAL`; at most 64.
    Participant,
    /// The agent that it is; one at a time.
    Agent,
    /// The node at which it is at present; one at a time.
    Node,
    /// The name under which its secrets are kept; one at a time.
    SecretOwner,
}

/// A binding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// To what.
    pub to: BoundTo,
    /// Its id: 1 to 64 of A-Z a-z 0-9 _ -; two of them parted by `/` for a participant.
    pub id: String,
}

impl Binding {
    /// Whether its id is within the grammar of what it is bound to.
    pub fn is_valid(&self) -> bool {
        let is_id = |text: &str| EntityId::parse(text).is_ok();
        match self.to {
            BoundTo::Participant => self.id.split_once('/').is_some_and(|(talk, who)| is_id(talk) && is_id(who)),
            BoundTo::Principal | BoundTo::Agent | BoundTo::Node | BoundTo::SecretOwner => is_id(&self.id),
        }
    }
}

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityCommand {
    /// Enters an entity into the directory.
    Create(CreateEntity),
    /// Changes the name.
    Rename(RenameEntity),
    /// Changes how it stands.
    SetStatus(SetEntityStatus),
    /// Claims an alias. The alias decides: whether the entity has it is told by the view `handles`.
    AddAlias(AddAlias),
    /// Gives an alias up.
    RemoveAlias(RemoveAlias),
    /// Binds it to something.
    Bind(BindEntity),
    /// Ends a binding.
    Unbind(UnbindEntity),
    /// Moves it into a project, or out of all.
    Move(MoveEntity),
    /// Says what the entity is like; what differs from that is changed, and a new one is entered.
    Sync(SyncEntity),
}

/// Enters an entity into the directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEntity {
    /// What it is.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
    /// The project that it belongs to: rights on the project hold for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<EntityId>,
    /// Aliases that it claims, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<AliasName>,
    /// What it is bound to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
}

/// Changes the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameEntity {
    /// New display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
}

/// Changes how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEntityStatus {
    /// From here on.
    pub status: EntityStatus,
}

/// Claims an alias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAlias {
    /// The alias.
    pub alias: AliasName,
}

/// Gives an alias up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveAlias {
    /// The alias.
    pub alias: AliasName,
}

/// Binds an entity to something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BindEntity {
    /// To what.
    pub binding: Binding,
}

/// Ends a binding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnbindEntity {
    /// The binding.
    pub binding: Binding,
}

/// Moves an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveEntity {
    /// The project that it belongs to from here on; none unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<EntityId>,
}

/// Says what an entity is like. What is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncEntity {
    /// What it is; fixed once it is entered.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<EntityStatus>,
    /// All its aliases, at most 32: others are given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<AliasName>>,
    /// All its bindings: others end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings: Option<Vec<Binding>>,
}

/// What the kernel and aliases send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityWord {
    /// The alias has answered a claim.
    AliasAnswered(AliasAnswered),
    /// The sending alias was taken from the entity.
    LoseAlias(LoseAlias),
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasAnswered {
    /// The number of the claim.
    pub claim: u64,
    /// Why the entity does not have it; `None`: it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Tells that an alias was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoseAlias {
    /// The claim by which the entity had it.
    pub claim: u64,
}

/// What happened to an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum EntityEvent {
    /// It is in the directory.
    #[serde(rename = "quipu.entity.created.v1")]
    Created {
        /// What it is.
        #[serde(rename = "type")]
        entity_type: EntityType,
        /// The display name. Stored unencrypted: no personal data.
        name: String,
    },
    /// It has another name.
    #[serde(rename = "quipu.entity.renamed.v1")]
    Renamed {
        /// The display name from here on.
        name: String,
    },
    /// It stands otherwise.
    #[serde(rename = "quipu.entity.status_set.v1")]
    StatusSet {
        /// From here on.
        status: EntityStatus,
    },
    /// It claims an alias.
    #[serde(rename = "quipu.entity.alias_asked.v1")]
    AliasAsked {
        /// The alias.
        alias: AliasName,
        /// The stream that decides who has it.
        of: StreamId,
        /// The number of the claim.
        claim: u64,
    },
    /// It has an alias.
    #[serde(rename = "quipu.entity.alias_held.v1")]
    AliasHeld {
        /// The alias.
        alias: AliasName,
        /// The number of the claim.
        claim: u64,
    },
    /// It does not have an alias that it claimed.
    #[serde(rename = "quipu.entity.alias_refused.v1")]
    AliasRefused {
        /// The alias.
        alias: AliasName,
        /// The number of the claim.
        claim: u64,
        /// Why: the code of the refusal.
        why: String,
    },
    /// It gave an alias up.
    #[serde(rename = "quipu.entity.alias_removed.v1")]
    AliasRemoved {
        /// The alias.
        alias: AliasName,
        /// The stream that decides who has it.
        of: StreamId,
        /// The number of the claim.
        claim: u64,
    },
    /// An alias was taken from it.
    #[serde(rename = "quipu.entity.alias_lost.v1")]
    AliasLost {
        /// The alias.
        alias: AliasName,
        /// The number of the claim.
        claim: u64,
        /// Whether it had it; otherwise it had only claimed it.
        was_held: bool,
    },
    /// It belongs to another project.
    #[serde(rename = "quipu.entity.moved.v1")]
    Moved {
        /// The project from here on; none where it says nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<EntityId>,
    },
    /// It is bound to something.
    #[serde(rename = "quipu.entity.bound.v1")]
    Bound {
        /// The binding.
        binding: Binding,
    },
    /// A binding ended.
    #[serde(rename = "quipu.entity.unbound.v1")]
    Unbound {
        /// The binding.
        binding: Binding,
    },
}
