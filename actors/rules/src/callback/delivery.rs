//! One delivery: whether it is signed, which it is, and the command that it makes. Pure: secrets, time and bytes come in.

use super::Open;
use crate::{
    decider::Refusal,
    expression::{Budget, Expression, Variables},
};
use quipu_kinds::callback::{CallbackScheme, DeliveryId, HmacScheme, SignatureEncoding};
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{CommandId, EntityId, StreamId},
    json,
    limits::{CALLBACK_DELIVERY_ID_MAX_BYTES, CALLBACK_PICKED_MAX_BYTES, CALLBACK_SIGNATURES_MAX, CALLBACK_WINDOW_SECONDS},
    problem::Problem,
    signature::{is_signed, of_base64, of_hex},
};
use serde_json::{Map, Value};

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Headers as they came, their names in lower case.
    pub headers: &'a [(String, Vec<u8>)],
    /// The raw body.
    pub body: &'a [u8],
    /// Now.
    pub now: Millis,
}

impl Arrived<'_> {
    /// The text of a header that came once; one that came twice says two things, and nobody knows which was checked on its way.
    fn one(&self, name: &str) -> Option<&str> {
        let mut of_name = self.headers.iter().filter(|(found, _)| found == name);
        let (_, value) = of_name.next()?;
        let text = std::str::from_utf8(value).ok()?;
        of_name.next().is_none().then_some(text)
    }

    fn is_json(&self) -> bool {
        let kind = self
            .one("content-type")
            .map_or("application/json", |kind| kind.split(';').next().unwrap_or_default().trim());
        kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
    }
}

/// The name of a delivery: whoever knows it has seen a good signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered(String);

impl Delivered {
    /// The id of its command: the same each time that it arrives.
    pub fn command_id(&self, callback: &StreamId) -> CommandId {
        let digest = Digest::of(&[b"callback", callback.to_string().as_bytes(), &[0], self.0.as_bytes()]).to_string();
        CommandId::parse(format!("cb:{}", &digest[..40])).expect("hex is within the grammar")
    }
}

/// Which delivery this is, if it is signed by one of the secrets; `None` whatever is wrong with it.
pub fn verified(callback: &Open, secrets: &[String], arrived: &Arrived<'_>) -> Option<Delivered> {
    let is_good = match &callback.scheme {
        CallbackScheme::StandardWebhooks => is_standard(secrets, arrived),
        CallbackScheme::Github => is_of_body(secrets, arrived, "x-hub-signature-256", "sha256=", SignatureEncoding::Hex),
        CallbackScheme::Hmac(HmacScheme {
            header,
            algorithm: _,
            encoding,
            prefix,
        }) => is_of_body(secrets, arrived, &header.to_ascii_lowercase(), prefix, *encoding),
    };
    let named = match &callback.delivery_id {
        DeliveryId::Header(name) => arrived.one(&name.to_ascii_lowercase()).map(|id| format!("id:{id}")),
        DeliveryId::Signed => Some(format!("body:{}", Digest::of(&[arrived.body]))),
    };
    let named = named.filter(|id| id.len() > 3 && id.len() <= CALLBACK_DELIVERY_ID_MAX_BYTES)?;
    is_good.then_some(Delivered(named))
}

/// Compares as if there was a callback: an address that leads nowhere takes as long.
pub fn in_vain(arrived: &Arrived<'_>) {
    let signed = is_signed(&[0; 32], &[b"nobody.0.", arrived.body], &[0; 32]);
    std::hint::black_box(signed);
}

/// Standard Webhooks: `id.timestamp.body` under the decoded secret, one signature or several.
fn is_standard(secrets: &[String], arrived: &Arrived<'_>) -> bool {
    let (id, time, signatures) = match (
        arrived.one("webhook-id"),
        arrived.one("webhook-timestamp"),
        arrived.one("webhook-signature"),
    ) {
        // A full stop parts what is signed.
        (Some(id), Some(time), Some(signatures)) if !id.is_empty() && !id.contains('.') => (id, time, signatures),
        _ => return false,
    };
    let is_number = !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit());
    let Some(seconds) = time.parse::<u64>().ok().filter(|_| is_number) else {
        return false;
    };
    let head = format!("{id}.{time}.");
    let given: Vec<Vec<u8>> = signatures
        .split(' ')
        .take(CALLBACK_SIGNATURES_MAX)
        .filter_map(|one| of_base64(one.strip_prefix("v1,")?))
        .collect();
    let keys = secrets.iter().filter_map(|secret| {
        let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
        of_base64(encoded).filter(|key| !key.is_empty())
    });
    let mut is_good = false;
    for key in keys {
        for signature in &given {
            is_good |= is_signed(&key, &[head.as_bytes(), arrived.body], signature);
        }
    }
    is_good && (arrived.now / 1_000).abs_diff(seconds) <= CALLBACK_WINDOW_SECONDS
}

/// An HMAC of the body, by the secret as it is.
fn is_of_body(secrets: &[String], arrived: &Arrived<'_>, header: &str, prefix: &str, encoding: SignatureEncoding) -> bool {
    let written = arrived.one(header).and_then(|text| text.strip_prefix(prefix));
    let signature = written.and_then(|text| match encoding {
        SignatureEncoding::Hex => of_hex(text),
        SignatureEncoding::Base64 => of_base64(text),
    });
    let Some(signature) = signature else { return false };
    let mut is_good = false;
    for secret in secrets {
        is_good |= is_signed(secret.as_bytes(), &[arrived.body], &signature);
    }
    is_good
}

/// Why a good delivery makes no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmapped {
    /// The body is not what its type says.
    BadBody(String),
    /// An expression came to an error.
    Expression {
        /// Where in the mapping.
        field: String,
        /// Why.
        why: String,
    },
    /// The target's expression did not give an id.
    BadId,
    /// What was picked is too large.
    TooLarge(usize),
}

impl Refusal for Unmapped {
    fn problem(&self) -> Problem {
        match self {
            Self::BadBody(why) => Problem::new(422, "callback_body", format!("the body cannot be read: {why}"))
                .field("body")
                .fix("deliver JSON"),
            Self::Expression { field, why } => Problem::new(422, "callback_mapping", format!("{field}: {why}"))
                .field(field.clone())
                .fix("make the mapping of the callback fit what is delivered"),
            Self::BadId => Problem::new(
                422,
                "callback_mapping",
                "the target's expression came to something that is not an id",
            )
            .field("target.id")
            .fix("make the mapping of the callback fit what is delivered"),
            Self::TooLarge(bytes) => Problem::new(
                413,
                "callback_too_large",
                format!("the mapping picks {bytes} bytes; {CALLBACK_PICKED_MAX_BYTES} are the most"),
            )
            .fix("pick less of the body"),
        }
    }
}

/// What a delivery comes to: the entity, where it is named, and the command's fields.
pub type Mapped = (Option<EntityId>, Value);

/// The command of a delivery.
pub fn mapped(callback: &Open, arrived: &Arrived<'_>, delivered: &Delivered) -> Result<Mapped, Unmapped> {
    let mut budget = Budget::default();
    let variables = variables(arrived, delivered)?;
    let id = match callback.target.id.as_deref() {
        None => None,
        Some(text) => match rendered(&Value::from(text), "target.id", &variables, &mut budget)? {
            Value::String(id) => Some(EntityId::parse(id).map_err(|_| Unmapped::BadId)?),
            _ => return Err(Unmapped::BadId),
        },
    };
    let fields = rendered(&callback.mapping.0, "mapping", &variables, &mut budget)?;
    let bytes = fields.to_string().len();
    if bytes > CALLBACK_PICKED_MAX_BYTES {
        return Err(Unmapped::TooLarge(bytes));
    }
    Ok((id, fields))
}

/// Names of what expressions may look at.
pub(super) const NAMES: &[&str] = &["body", "headers", "delivery"];

fn variables(arrived: &Arrived<'_>, Delivered(id): &Delivered) -> Result<Variables, Unmapped> {
    let body = if arrived.is_json() {
        let body = serde_json::from_slice(arrived.body).map_err(|error| Unmapped::BadBody(error.to_string()))?;
        json::check(&body).map_err(Unmapped::BadBody)?;
        body
    } else {
        Value::String(String::from_utf8_lossy(arrived.body).into_owned())
    };
    // What changes with each attempt of one delivery would make another command of it.
    let is_kept = |name: &str| !matches!(name, "authorization" | "cookie") && !name.contains("signature") && !name.contains("timestamp");
    let headers: Map<String, Value> = arrived
        .headers
        .iter()
        .filter(|(name, _)| is_kept(name))
        .filter_map(|(name, _)| Some((name.clone(), arrived.one(name)?.into())))
        .collect();
    let id = id.split_once(':').map_or(id.as_str(), |(_, id)| id);
    let delivery = serde_json::json!({ "id": id });
    Ok([("body", body), ("headers", Value::Object(headers)), ("delivery", delivery)]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
}

/// A template with its expressions evaluated; what they come to is looked into no further.
fn rendered(template: &Value, field: &str, variables: &Variables, budget: &mut Budget) -> Result<Value, Unmapped> {
    Ok(match template {
        Value::String(text) => match text.strip_prefix('=') {
            None => template.clone(),
            Some(source) => {
                let failed = |error: crate::expression::ExpressionError| Unmapped::Expression {
                    field: field.to_owned(),
                    why: error.to_string(),
                };
                let expression = Expression::parse(source).map_err(failed)?;
                expression.evaluate_within(variables, budget).map_err(failed)?
            }
        },
        Value::Array(items) => {
            let each = items.iter().enumerate();
            let items = each.map(|(at, item)| rendered(item, &format!("{field}[{at}]"), variables, budget));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let each = map.iter();
            let fields = each.map(|(name, item)| Ok((name.clone(), rendered(item, &format!("{field}.{name}"), variables, budget)?)));
            Value::Object(fields.collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

/// The first flaw of a template: where it is, and what.
pub(super) fn flaw_of(template: &Value, field: &str) -> Option<(String, String)> {
    match template {
        Value::String(text) => {
            let source = text.strip_prefix('=')?;
            let checked = Expression::parse(source).and_then(|expression| expression.check_names(NAMES));
            checked.err().map(|error| (field.to_owned(), error.to_string()))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| flaw_of(item, &format!("{field}[{at}]"))),
        Value::Object(map) => map.iter().find_map(|(name, item)| flaw_of(item, &format!("{field}.{name}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
