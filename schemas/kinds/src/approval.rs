//! Words of an approval: a command that somebody else has to agree to before it is sent.

use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{EntityId, Kind, PrincipalId, StreamId},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;
use std::borrow::Cow;

/// A command in the stored form of its own kind, `{"<command>": {…}}`, personal fields sealed. It is made where the command enters.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried(pub Value);

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            self.0.serialize(s)
        } else {
            s.serialize_str(&self.0.to_string())
        }
    }
}

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            Value::deserialize(d).map(Self)
        } else {
            serde_json::from_str(&String::deserialize(d)?).map(Self).map_err(D::Error::custom)
        }
    }
}

impl JsonSchema for Carried {
    fn schema_name() -> Cow<'static, str> {
        "Carried".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalCommand {
    /// Asks for a command to be approved. It is sent in the name of whoever asks, when enough people have agreed.
    Create(CreateApproval),
    /// Agrees. With enough of these the command is sent.
    Approve(ApproveCommand),
    /// Refuses for good.
    Reject(RejectCommand),
    /// Takes the request back, by whoever made it.
    Withdraw(WithdrawApproval),
}

/// Asks for a command to be approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApproval {
    /// The kind of the entity that is to get the command.
    pub kind: Kind,
    /// The entity.
    pub id: EntityId,
    /// The command's name.
    pub command: String,
    /// The command's fields, as they would be sent to the entity. Personal ones are sealed.
    #[serde(default = "no_fields")]
    pub body: Carried,
    /// How many people have to agree, 1 or 2; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<u8>,
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
    /// Keyed digest of the command as it was sent. Made where the command enters, never by a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub digest: Option<Digest>,
}

fn no_fields() -> Carried {
    Carried(Value::Object(Default::default()))
}

/// Agrees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveCommand {}

/// Refuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectCommand {
    /// Why, for people to read. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Takes the request back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawApproval {}

/// What the kernel sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalWord {
    /// The time to agree may be over.
    Expire(ExpireApproval),
    /// The entity has answered the command.
    Answered(CommandAnswered),
}

/// Notes that the time is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireApproval {}

/// What became of the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandAnswered {
    /// The code of the refusal; `None`: the entity took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What happened to an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
#[expect(clippy::large_enum_variant, reason = "few are alive at a time")]
pub enum ApprovalEvent {
    /// It was asked for.
    #[serde(rename = "quipu.approval.created.v1")]
    Created {
        /// The entity that is to get the command.
        to: StreamId,
        /// The command, in the form in which it will be sent.
        command: Carried,
        /// Keyed digest of the command as it was sent.
        digest: Digest,
        /// How many people have to agree.
        needs: u8,
        /// Why. Stored unencrypted: no personal data.
        reason: String,
        /// When the time to agree is over; the moment itself is outside.
        expires_at: Millis,
        /// Who asked.
        by: PrincipalId,
        /// For whom they asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<PrincipalId>,
        /// By which credential, `KIND/ID`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credential: Option<String>,
        /// Who answers for whoever asked, where that is an agent or a service: they do not agree.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<PrincipalId>,
    },
    /// Somebody agreed.
    #[serde(rename = "quipu.approval.agreed.v1")]
    Agreed {
        /// Who.
        by: PrincipalId,
    },
    /// Enough people have agreed: the command is sent.
    #[serde(rename = "quipu.approval.approved.v1")]
    Approved {},
    /// The entity has answered the command.
    #[serde(rename = "quipu.approval.executed.v1")]
    Executed {
        /// The code of the refusal; the entity took it where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// Somebody refused.
    #[serde(rename = "quipu.approval.rejected.v1")]
    Rejected {
        /// Who.
        by: PrincipalId,
        /// Why. Stored unencrypted: no personal data.
        reason: String,
    },
    /// Whoever asked for it took it back.
    #[serde(rename = "quipu.approval.withdrawn.v1")]
    Withdrawn {},
    /// Nobody, or too few, agreed in time.
    #[serde(rename = "quipu.approval.expired.v1")]
    Expired {},
}
