//! What a callback is made of: headers, targets and mappings that deliveries can be held against.

use super::{CallbackRejection, delivery};
use quipu_kinds::callback::{CallbackScheme, CallbackTarget, DeliveryId, HmacScheme};
use quipu_schemas::{
    ids::{EntityId, Kind},
    json::Json,
    limits::CALLBACK_MAPPING_MAX_BYTES,
};

fn is_header(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(is_token)
}

/// What tells deliveries apart, where the scheme allows it.
pub(super) fn checked_scheme(scheme: &CallbackScheme, given: Option<&DeliveryId>) -> Result<DeliveryId, CallbackRejection> {
    let bad = |field, why| CallbackRejection::BadScheme { field, why };
    if let Some(DeliveryId::Header(name)) = given
        && !is_header(name)
    {
        return Err(bad("delivery_id", "a header has 1 to 64 characters of its grammar"));
    }
    match scheme {
        // Any other name of a delivery would not be signed, where this one is.
        CallbackScheme::StandardWebhooks if given.is_some() => {
            Err(bad("delivery_id", "Standard Webhooks name their deliveries themselves"))
        }
        CallbackScheme::StandardWebhooks => Ok(DeliveryId::Header("webhook-id".into())),
        CallbackScheme::Github => Ok(given.cloned().unwrap_or_else(|| DeliveryId::Header("x-github-delivery".into()))),
        CallbackScheme::Hmac(HmacScheme { header, .. }) if !is_header(header) => {
            Err(bad("scheme", "a header has 1 to 64 characters of its grammar"))
        }
        CallbackScheme::Hmac(HmacScheme { prefix, .. }) if prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(bad("scheme", "a prefix has at most 64 visible characters of ASCII"))
        }
        CallbackScheme::Hmac(_) => Ok(given.cloned().unwrap_or(DeliveryId::Signed)),
    }
}

pub(super) fn check_target(target: &CallbackTarget) -> Result<(), CallbackRejection> {
    let bad = |field, why: String| Err(CallbackRejection::BadTarget { field, why });
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !(1..=64).contains(&target.command.len()) || !target.command.bytes().all(is_word) {
        return bad("target.command", "a command has 1 to 64 of a-z 0-9 _".into());
    }
    if target.kind == Kind::APPROVAL {
        return bad("target.kind", "nobody agrees by a delivery".into());
    }
    let Some(id) = &target.id else {
        // Only what creates may leave out whom it creates.
        return match target.command.as_str() {
            "create" => Ok(()),
            _ => bad("target.id", "a command of an entity names it".into()),
        };
    };
    if let Some((_, why)) = delivery::flaw_of(&id.as_str().into(), "target.id") {
        return bad("target.id", why);
    }
    match id.starts_with('=') || EntityId::parse(id.as_str()).is_ok() {
        true => Ok(()),
        false => bad(
            "target.id",
            "an id has 1 to 64 of A-Z a-z 0-9 _ -, or is = and an expression".into(),
        ),
    }
}

pub(super) fn check_mapping(mapping: &Json) -> Result<(), CallbackRejection> {
    let bad = |field: &str, why: &str| {
        Err(CallbackRejection::BadMapping {
            field: field.to_owned(),
            why: why.to_owned(),
        })
    };
    if !mapping.0.is_object() {
        return bad("mapping", "a mapping is an object: the fields of the command");
    }
    if mapping.to_text().len() > CALLBACK_MAPPING_MAX_BYTES {
        return bad("mapping", "the mapping is too large");
    }
    match delivery::flaw_of(&mapping.0, "mapping") {
        Some((field, why)) => bad(&field, &why),
        None => Ok(()),
    }
}
