//! What other systems deliver: a signed message becomes a command of the principal that its callback names.

use super::Node;
use crate::{
    api::CommandRequest,
    core::Core,
    secrets::{NodeSecrets, Secret, SecretError, SecretSource},
};
use quipu_kinds::callback::CallbackSecret;
use quipu_rules::{
    callback::{
        Callback, CallbackState, Open,
        delivery::{Arrived, in_vain, mapped, verified},
    },
    decider::Refusal,
};
use quipu_schemas::{
    envelope::{DataClass, Receipt},
    ids::{EntityId, Kind, OrgId, StreamId},
    limits::CALLBACK_PAUSED_RETRY_SECONDS,
    personal::Opened,
    problem::Problem,
};

/// A message as it arrived. Nothing of it is believed yet.
#[derive(Debug)]
pub struct Delivery {
    /// The org of the address.
    pub org: OrgId,
    /// The callback of the address.
    pub id: EntityId,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The raw body.
    pub body: Vec<u8>,
}

/// What everybody is told whose delivery is not taken, whatever is wrong with it: whether there is such a callback is nobody's business.
fn refused() -> Problem {
    Problem::new(401, "callback_refused", "the delivery is not signed for this address")
        .fix("sign the raw body with the secret of the callback, and send it at once")
}

impl Node {
    /// Has the command of a delivery decided, if that is signed. The receipt of its command is its receipt: a second arrival gets the
    /// first answer.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Receipt, Problem> {
        let node = self.clone();
        let admitting = move || admitted(&node.0.core, &node.0.secrets, &delivery);
        let request = tokio::task::spawn_blocking(admitting)
            .await
            .unwrap_or_else(|_| Err(Problem::new(500, "internal", "reading the delivery crashed")))?;
        if self.carries_secret(&request.kind, &request.command) {
            let detail = format!("{} of {} brings a secret or makes one", request.command, request.kind);
            return Err(Problem::new(422, "bad_target", detail)
                .field("target")
                .fix("let the callback send another command"));
        }
        let receipt = self.command(request).await?;
        Ok(Receipt { shown: None, ..receipt })
    }
}

/// The command of a delivery. Blocks.
fn admitted(core: &Core, secrets: &NodeSecrets, delivery: &Delivery) -> Result<CommandRequest, Problem> {
    let stream = StreamId::new(delivery.org.clone(), Kind::CALLBACK, delivery.id.clone());
    let arrived = Arrived {
        headers: &delivery.headers,
        body: &delivery.body,
        now: core.now(),
    };
    let state = core.followed_state::<Callback>(&stream)?;
    let Some(callback) = state.callback() else {
        in_vain(&arrived);
        return Err(refused());
    };
    let texts = texts(core, secrets, callback, &arrived, &stream.org)?;
    let delivered = verified(callback, &texts, &arrived).ok_or_else(refused)?;
    if let CallbackState::Paused { .. } = &state {
        return Err(Problem::new(503, "callback_paused", "the callback takes no deliveries for now")
            .fix("deliver it again later")
            .retry_after(CALLBACK_PAUSED_RETRY_SECONDS));
    }
    let (id, fields) = mapped(callback, &arrived, &delivered).map_err(|unmapped| unmapped.problem())?;
    Ok(CommandRequest {
        org: stream.org.clone(),
        kind: callback.target.kind.clone(),
        id,
        command: callback.target.command.clone(),
        body: fields,
        command_id: Some(delivered.command_id(&stream)),
        principal: callback.principal.clone(),
        on_behalf_of: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: Some(stream.to_string()),
        traceparent: None,
    })
}

/// The secrets that are taken now, in the clear. One that is gone signs nothing; one that cannot be had for now may sign later.
fn texts(core: &Core, secrets: &NodeSecrets, callback: &Open, arrived: &Arrived<'_>, org: &OrgId) -> Result<Vec<String>, Problem> {
    let mut texts = Vec::new();
    for secret in callback.secrets(arrived.now) {
        match secret {
            CallbackSecret::Value(value) => match value.open(&*core.keys) {
                Ok(Opened::Value(text)) => texts.push(text),
                Ok(Opened::Erased) => {}
                Err(error) if error.is_lasting() => {}
                Err(error) => return Err(error.problem()),
            },
            CallbackSecret::Name(name) => match secrets.all_of_org(org, name.as_str(), None) {
                Ok(found) => texts.extend(found.iter().map(Secret::expose).map(str::to_owned)),
                Err(SecretError::Unavailable(detail)) => {
                    return Err(Problem::new(503, "secret_unavailable", detail)
                        .fix("deliver it again")
                        .retry_after(1));
                }
                Err(
                    SecretError::NotFound(_)
                    | SecretError::Retired(_)
                    | SecretError::Broken(_)
                    | SecretError::Elsewhere { .. }
                    | SecretError::Form { .. },
                ) => {}
            },
        }
    }
    Ok(texts)
}
