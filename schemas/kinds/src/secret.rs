//! Words of a secret: a value of an org that performers use and nothing shows. The entity's id is the secret's name.

use quipu_schemas::{context::Millis, host::HostPattern, personal::SecretValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretCommand {
    /// Gives the secret a value; the one before is used no longer.
    Set(SetSecret),
    /// Gives the secret a new value, and uses the one before beside it for a while.
    Rotate(RotateSecret),
    /// Ends the secret, and destroys its values.
    Retire(RetireSecret),
}

/// What the kernel sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretWord {
    /// The time of the value before the last rotation may be over.
    EndOld(EndOldSecret),
    /// The key of values that are used no longer was destroyed.
    Shredded(SecretShredded),
}

/// Gives the secret a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// The value, which nothing shows.
    pub value: SecretValue,
    /// The only hosts that it may be sent to; any where the list is empty. As before unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<HostPattern>>,
}

/// Gives the secret a new value, and uses the one before beside it for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// The new value, which nothing shows.
    pub value: SecretValue,
    /// How long the value before is used as well: webhooks are signed with both, callbacks taken by either. 24 hours unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_hours: Option<u32>,
}

/// Ends the secret, and destroys its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireSecret {
    /// Why, at most 500 characters. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// The time of the value before the last rotation may be over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndOldSecret {}

/// The key of values that are used no longer was destroyed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretShredded {
    /// Whose key it was.
    pub subject: String,
}

/// What happened to a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum SecretEvent {
    /// It has this value now.
    #[serde(rename = "quipu.secret.set.v1")]
    Set {
        /// Counts the values that the secret has had.
        generation: u64,
        /// The value, sealed under a key of its own.
        value: SecretValue,
        /// The only hosts that it may be sent to; any where there are none.
        hosts: Vec<HostPattern>,
        /// Whose keys are destroyed: those of the values that are used no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// It has a new value, and the one before is used beside it for a while.
    #[serde(rename = "quipu.secret.rotated.v1")]
    Rotated {
        /// Counts the values that the secret has had.
        generation: u64,
        /// The new value, sealed under a key of its own.
        value: SecretValue,
        /// Until when the value before is used as well; not at all where it says nothing. The moment itself is outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_until: Option<Millis>,
        /// Whose keys are destroyed: those of the values that are used no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// The value before the last rotation is used no longer.
    #[serde(rename = "quipu.secret.old_ended.v1")]
    OldEnded {
        /// Whose keys are destroyed.
        shreds: Vec<String>,
    },
    /// It was ended, and its values are destroyed.
    #[serde(rename = "quipu.secret.retired.v1")]
    Retired {
        /// Why.
        reason: String,
        /// Whose keys are destroyed.
        shreds: Vec<String>,
    },
    /// The key of values that are used no longer was destroyed: nobody opens them any more.
    #[serde(rename = "quipu.secret.shredded.v1")]
    Shredded {
        /// Whose key it was.
        subject: String,
    },
}
