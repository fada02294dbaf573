//! Shapes of what operators, whatever watches the node, and who asks the directory are told. The documents describe them from here.

use crate::{backups, views};
use quipu_events::leases::Member;
use quipu_kinds::{
    alias::AliasName,
    entity::{Binding, EntityStatus, EntityType},
    principal::PrincipalType,
};
use quipu_runtime::{
    api::{HealthPart, OutboxRow, Stopped, TreeNode},
    volatile::{Instance, InstanceStatus},
};
use quipu_schemas::{
    ids::{OrgId, StreamId},
    role::Role,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value;

/// Health of the node as a whole.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `degraded`: something that commands do not need fails. `failing`: the node cannot take commands.
    #[schemars(extend("enum" = ["ok", "degraded", "failing"]))]
    pub status: &'static str,
    /// What the node is made of, as far as it can fail by itself.
    pub parts: Vec<HealthPart>,
}

/// The process answers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Alive {
    /// `ok`: nothing in the process has ended that only a restart brings back.
    pub status: &'static str,
}

/// The effects that the outbox holds.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Outbox {
    /// The effects, by key.
    pub items: Vec<OutboxRow>,
}

/// The nodes that serve the log, as this one sees them.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ClusterSeen {
    /// This node; null where it serves the log alone.
    pub node: Option<Member>,
    /// All nodes, this one included; none where it serves the log alone.
    pub members: Vec<Member>,
    /// Every partition of the log.
    pub partitions: Vec<PartitionSeen>,
}

/// A partition of the log, as this node sees it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PartitionSeen {
    /// Its number, from 0.
    pub partition: u16,
    /// The id of the node that owns it, as last seen.
    pub owner: Option<String>,
    /// Whether this node takes its commands.
    pub here: bool,
    /// Its epoch: it rises with each change of owner.
    pub epoch: Option<u64>,
    /// How many of its records this node knows.
    pub records: u64,
    /// How many records the log has beyond them; null where the log's end is unknown.
    pub behind: Option<u64>,
    /// Why nobody serves it, if nobody does.
    pub trouble: Option<String>,
}

/// How far the views are.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ViewsSeen {
    /// Whether the views follow the log.
    pub ok: bool,
    /// The same in words, with what to do.
    pub detail: String,
    /// How many records the views have yet to read.
    pub lag: u64,
    /// How far the views are: an opaque cursor.
    pub position: String,
    /// The same by partition.
    pub partitions: Vec<PartitionLag>,
    /// The job under way, or the last one since the node started.
    pub job: Option<views::Job>,
}

/// How far the views are in one partition.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PartitionLag {
    /// The partition's number, from 0.
    pub partition: usize,
    /// The offset that the views read next.
    pub seen: Option<u64>,
    /// The offset that the log writes next.
    pub end: u64,
    /// How many records the views have yet to read.
    pub lag: u64,
    /// Where the log is damaged, if it is.
    pub stopped: Option<Stopped>,
}

/// Whom an address of the directory means.
#[derive(Serialize, JsonSchema)]
pub struct Resolved {
    /// The entity.
    pub id: String,
    /// What it is.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Display name.
    pub name: String,
    /// How it stands in the directory.
    pub status: EntityStatus,
    /// Its version.
    pub version: u64,
    /// The aliases that it has.
    pub aliases: Vec<AliasName>,
    /// What it is bound to.
    pub bindings: Vec<Binding>,
    /// The instance that the address names, or else the least loaded one that takes work; null where there is none at present.
    pub instance: Option<ResolvedInstance>,
    /// Its instances that were heard of in the last 90 seconds, the best one first. They are in no log: a node that has just started knows none.
    pub instances: Vec<ResolvedInstance>,
}

/// An instance of an entity.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ResolvedInstance {
    /// Its name among the entity's instances.
    pub id: String,
    /// How it is.
    pub status: InstanceStatus,
    /// How loaded it is, from 0 (idle) to 100 (full).
    pub load: u8,
}

impl From<Instance> for ResolvedInstance {
    fn from(instance: Instance) -> Self {
        Self {
            id: instance.id.to_string(),
            status: instance.status,
            load: instance.load,
        }
    }
}

/// A stream that takes commands again.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Unparked {
    /// The stream that was parked: `org/kind/id`.
    pub stream: StreamId,
    /// Whether all of the stream fits the views now; where not, it stays parked there.
    pub views_fit: bool,
}

/// An account that was made, or asked for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Registered {
    /// `registered`; `accepted` to whoever asks for themselves, whether or not there was such an account.
    #[schemars(extend("enum" = ["registered", "accepted"]))]
    pub status: &'static str,
    /// The person; told to operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// A session with what opens it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Tokens {
    /// Who: `usr_…`, or `org/id`.
    pub principal: String,
    /// The session.
    pub session: String,
    /// When the session ends by itself, RFC 3339.
    pub session_expires_at: String,
    /// How the access token is shown.
    pub token_type: &'static str,
    /// Seconds until the access token ends.
    pub expires_in: u64,
    /// The access token; in the cookie alone where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// For the next one, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// Sessions that have ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndedSessions {
    /// Their ids.
    pub ended: Vec<String>,
}

/// Something of an account was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// `changed`.
    pub status: &'static str,
}

/// An address was added.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AddressAdded {
    /// The address, adr_….
    pub id: String,
    /// Whether a letter with a code goes to it.
    pub letter: bool,
}

/// Something was asked for, and is answered alike whether or not anything comes of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Sent {
    /// `accepted`.
    pub status: &'static str,
}

/// An address was seen to be its person's.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Verified {
    /// `verified`.
    pub status: &'static str,
    /// The person.
    pub principal: String,
}

/// Somebody who was asked into an org joins it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Joining {
    /// `accepted`: the org is told. The invite says what it answered.
    pub status: &'static str,
    /// Who.
    pub principal: String,
    /// The org.
    pub org: OrgId,
    /// As what.
    pub role: Role,
}

/// A code for whoever operates the node to hand on.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CodeShown {
    /// The code, good once.
    pub code: String,
    /// Where whoever has it goes.
    pub link: String,
}

/// A secret for codes that follow from the time.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Enrolled {
    /// The secret in base 32, shown this once.
    pub secret: String,
    /// The same as programs for codes read it.
    pub uri: String,
}

/// Codes for whoever has lost what makes the others.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewRecoveryCodes {
    /// The codes, shown this once; each opens once.
    pub recovery_codes: Vec<String>,
}

/// Who somebody is here.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Me {
    /// Who: `usr_…`, or `org/id`.
    pub principal: String,
    /// A person, an agent or a service.
    #[schemars(with = "Option<String>")]
    pub kind: Option<PrincipalType>,
    /// Whether they operate the platform, and may by this session.
    pub operator: bool,
    /// The orgs of which they are a member, as far as the views know them; null where the views cannot tell.
    pub orgs: Option<Vec<OrgOfMe>>,
    /// What is known of a person, where a session of their own that is not cut asks; null otherwise.
    pub account: Option<AccountOfMe>,
    /// The session that was shown.
    pub session: SessionOfMe,
}

/// What is known of a person, for them alone.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AccountOfMe {
    /// Their name.
    pub name: Option<String>,
    /// Their addresses, the oldest first.
    pub addresses: Vec<AddressOfMe>,
    /// Whether there is a password.
    pub has_password: bool,
    /// Whether a code is asked for at login.
    pub has_totp: bool,
    /// How many recovery codes were not used.
    pub recovery_codes: usize,
}

/// An address of somebody.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AddressOfMe {
    /// Its id, adr_….
    pub id: String,
    /// The address.
    pub address: String,
    /// Whether they were seen to have it.
    pub verified: bool,
}

/// An org of somebody.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OrgOfMe {
    /// The org.
    pub org: OrgId,
    /// The role there.
    pub role: Role,
}

/// The open sessions of somebody.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SessionsOfMe {
    /// The sessions.
    pub items: Vec<SessionOfMe>,
}

/// A session of somebody.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SessionOfMe {
    /// Its id.
    pub id: String,
    /// Whether it is the one that was shown.
    pub current: bool,
    /// The client that began it.
    pub client: Option<String>,
    /// What it is cut to; null where it is not.
    pub scope: Option<String>,
    /// Who acts by it, the nearest first.
    pub act: Vec<String>,
    /// How they proved who they are, in the words of RFC 8176.
    pub amr: Vec<String>,
    /// When they did, RFC 3339.
    pub auth_time: String,
    /// When it ends by itself, RFC 3339.
    pub expires_at: String,
}

fn schema_of<T: JsonSchema>() -> Value {
    // As it is written: what is always there is required, though it may be null.
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// The schemas, by name.
pub(crate) fn schemas() -> [(&'static str, Value); 23] {
    [
        ("Health", schema_of::<Health>()),
        ("Alive", schema_of::<Alive>()),
        ("Outbox", schema_of::<Outbox>()),
        ("ClusterSeen", schema_of::<ClusterSeen>()),
        ("TreeNode", schema_of::<TreeNode>()),
        ("ViewsSeen", schema_of::<ViewsSeen>()),
        ("ViewsJob", schema_of::<views::Job>()),
        ("Unparked", schema_of::<Unparked>()),
        ("BackupJob", schema_of::<backups::Job>()),
        ("Resolved", schema_of::<Resolved>()),
        ("Registered", schema_of::<Registered>()),
        ("Tokens", schema_of::<Tokens>()),
        ("EndedSessions", schema_of::<EndedSessions>()),
        ("Changed", schema_of::<Changed>()),
        ("AddressAdded", schema_of::<AddressAdded>()),
        ("Sent", schema_of::<Sent>()),
        ("Verified", schema_of::<Verified>()),
        ("CodeShown", schema_of::<CodeShown>()),
        ("Joining", schema_of::<Joining>()),
        ("Enrolled", schema_of::<Enrolled>()),
        ("NewRecoveryCodes", schema_of::<NewRecoveryCodes>()),
        ("Me", schema_of::<Me>()),
        ("SessionsOfMe", schema_of::<SessionsOfMe>()),
    ]
}
