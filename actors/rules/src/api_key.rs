//! Rules of an API key: whose it is, what it opens, and when it ends. Its state knows a keyed hash of its text and never the text.

mod rejection;
mod state;

pub use rejection::ApiKeyRejection;
pub use state::{ApiKeyState, Ended, Key, OldSecret, Tried};

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    rights::{has_role, may_hand_on},
    text,
};
use quipu_kinds::api_key::{ApiKeyCommand, ApiKeyEvent, ApiKeyWord, CreateApiKey, ExpireApiKey, RevokeApiKey, RotateApiKey};
use quipu_schemas::{
    context::{Context, Millis},
    envelope::KernelCommand,
    ids::{CredentialId, PrincipalId},
    limits::{KEY_GRACE_MAX_HOURS, KEY_LIFETIME_DEFAULT_DAYS, KEY_LIFETIME_MAX_DAYS, KEY_NETWORKS_MAX, KEY_SCOPES_MAX},
    reaction::Reaction,
    role::Role,
};
use std::collections::BTreeSet;

const HOUR_MS: Millis = 3_600_000;
const DAY_MS: Millis = 24 * HOUR_MS;
/// The timer that notes a key's end. What it opens is decided by the clock.
const EXPIRY_TIMER: &str = "expiry";

/// The kind `api-key`.
pub struct ApiKey;

impl Decider for ApiKey {
    const KIND: &'static str = "api-key";
    const RULES_VERSION: u32 = 2;
    type State = ApiKeyState;
    type Command = ApiKeyCommand;
    type Word = ApiKeyWord;
    type Event = ApiKeyEvent;
    type Rejection = ApiKeyRejection;

    fn initial() -> ApiKeyState {
        ApiKeyState::Missing
    }

    fn decide(state: &ApiKeyState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<ApiKeyEvent>, ApiKeyRejection> {
        match asked {
            Asked::Command(ApiKeyCommand::Create(create)) => match state {
                ApiKeyState::Missing => decide_create(create, context),
                ApiKeyState::Active(_) | ApiKeyState::Revoked { .. } | ApiKeyState::Expired(_) => {
                    Err(ApiKeyRejection::Exists(context.stream.id.clone()))
                }
            },
            Asked::Command(ApiKeyCommand::Rotate(rotate)) => decide_rotate(state, rotate, context),
            Asked::Command(ApiKeyCommand::Revoke(revoke)) => decide_revoke(state, revoke, context),
            Asked::Word(ApiKeyWord::Expire(ExpireApiKey {})) => Ok(match state {
                ApiKeyState::Active(key) if context.now >= key.expires_at => Decision::one(ApiKeyEvent::Expired {}),
                ApiKeyState::Missing | ApiKeyState::Active(_) | ApiKeyState::Revoked { .. } | ApiKeyState::Expired(_) => {
                    Decision::Unchanged
                }
            }),
        }
    }

    fn evolve(state: ApiKeyState, event: &ApiKeyEvent) -> Result<ApiKeyState, Corrupt> {
        match (state, event) {
            (
                ApiKeyState::Missing,
                ApiKeyEvent::Created {
                    name,
                    principal,
                    scopes,
                    networks,
                    lifetime_days,
                    expires_at,
                    hash,
                    argon2id,
                    made_by,
                },
            ) => Ok(ApiKeyState::Active(Key {
                name: name.clone(),
                principal: principal.clone(),
                scopes: scopes.clone(),
                networks: networks.clone(),
                lifetime_days: *lifetime_days,
                expires_at: *expires_at,
                hash: *hash,
                argon2id: *argon2id,
                old: None,
                made_by: made_by.clone(),
            })),
            (
                ApiKeyState::Active(key),
                ApiKeyEvent::Rotated {
                    hash,
                    argon2id,
                    old_until,
                    expires_at,
                    made_by,
                },
            ) => Ok(ApiKeyState::Active(Key {
                expires_at: *expires_at,
                hash: *hash,
                argon2id: *argon2id,
                old: old_until.map(|until| OldSecret {
                    hash: key.hash,
                    argon2id: key.argon2id,
                    until,
                }),
                // The old text may still open it.
                made_by: made_by.clone().or(key.made_by.filter(|_| old_until.is_some())),
                ..key
            })),
            (ApiKeyState::Active(key), ApiKeyEvent::Revoked { reason, cascade }) => Ok(ApiKeyState::Revoked {
                key,
                reason: reason.clone(),
                cascade: *cascade,
            }),
            (ApiKeyState::Revoked { key, .. } | ApiKeyState::Expired(key), ApiKeyEvent::Revoked { reason, cascade: true }) => {
                Ok(ApiKeyState::Revoked {
                    key,
                    reason: reason.clone(),
                    cascade: true,
                })
            }
            (ApiKeyState::Active(key), ApiKeyEvent::Expired {}) => Ok(ApiKeyState::Expired(key)),
            (state, event) => Err(Corrupt(format!("{event:?} of a key that is {state:?}"))),
        }
    }

    fn react(_state: &ApiKeyState, event: &ApiKeyEvent) -> Vec<Reaction> {
        let name = EXPIRY_TIMER.to_owned();
        match event {
            ApiKeyEvent::Created { expires_at, .. } | ApiKeyEvent::Rotated { expires_at, .. } => {
                vec![Reaction::WakeAt { name, due: *expires_at }]
            }
            ApiKeyEvent::Revoked { .. } => vec![Reaction::CancelWake { name }],
            ApiKeyEvent::Expired {} => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<ApiKeyWord> {
        match told {
            KernelCommand::TimerFired { name, .. } if name == EXPIRY_TIMER => Some(ApiKeyWord::Expire(ExpireApiKey {})),
            KernelCommand::TimerFired { .. }
            | KernelCommand::DispatchSettled { .. }
            | KernelCommand::EffectSettled { .. }
            | KernelCommand::EffectNote { .. } => None,
        }
    }

    fn right(_command: &str) -> Right {
        // Viewers have keys of their own, and whose key it is may stop it, member or not.
        Right::Rules
    }

    fn ignores_suspension(command: &ApiKeyCommand) -> bool {
        // A key that has leaked is stopped whatever became of its org.
        matches!(command, ApiKeyCommand::Revoke(_))
    }

    fn names_rights(command: &str) -> &'static [&'static str] {
        if command == "create" { &["/scopes"] } else { &[] }
    }

    fn mints(command: &str) -> Option<&'static str> {
        matches!(command, "create" | "rotate").then_some("hash")
    }
}

/// Who may make or change the secret of this principal's keys: anybody of the org their own, and an owner everybody's, because
/// whoever sees a secret acts as its principal. A key that is cut may change its own secret and no other.
fn may_see_secret_of(principal: &PrincipalId, context: &Context<'_>) -> Result<(), ApiKeyRejection> {
    // The answer of a dispatch goes to nobody who could keep it, and its command did not come in where secrets are made.
    if context.authority.dispatched_by.is_some() {
        return Err(ApiKeyRejection::Unseen);
    }
    let needed = if principal == context.actor() { Role::Viewer } else { Role::Owner };
    let shown = context.credential.and_then(CredentialId::api_key);
    if shown == Some(&context.stream.id) {
        has_role(needed, context)?;
    } else {
        may_hand_on(needed, context)?;
    }
    Ok(())
}

/// Who sees the text of a key besides its principal; the principal itself where nobody knows who else. The holder of the node's token may act as everybody by that.
fn made_by(principal: &PrincipalId, context: &Context<'_>) -> Option<PrincipalId> {
    let maker = context.actor();
    // What somebody else may act by makes nothing that is its principal's alone.
    let is_own = maker == principal && !context.authority.through;
    (!is_own && !maker.is_platform()).then(|| maker.clone())
}

fn decide_create(create: &CreateApiKey, context: &Context<'_>) -> Result<Decision<ApiKeyEvent>, ApiKeyRejection> {
    let principal = create.principal.as_ref().unwrap_or(context.actor());
    may_see_secret_of(principal, context)?;
    if principal.is_platform() {
        return Err(ApiKeyRejection::ReservedPrincipal(principal.clone()));
    }
    if !text::is_display_name(&create.name) {
        return Err(ApiKeyRejection::BadName);
    }
    if create.scopes.len() > KEY_SCOPES_MAX {
        return Err(ApiKeyRejection::TooManyScopes(create.scopes.len()));
    }
    if create.networks.len() > KEY_NETWORKS_MAX {
        return Err(ApiKeyRejection::TooManyNetworks(create.networks.len()));
    }
    let lifetime_days = create.expires_in_days.unwrap_or(KEY_LIFETIME_DEFAULT_DAYS);
    if !(1..=KEY_LIFETIME_MAX_DAYS).contains(&lifetime_days) {
        return Err(ApiKeyRejection::BadLifetime);
    }
    Ok(Decision::one(ApiKeyEvent::Created {
        name: create.name.clone(),
        principal: principal.clone(),
        scopes: each_once(&create.scopes),
        networks: each_once(&create.networks),
        lifetime_days,
        expires_at: lives_until(context.now, lifetime_days),
        hash: create.hash.ok_or(ApiKeyRejection::Unseen)?,
        argon2id: create.argon2id,
        made_by: made_by(principal, context),
    }))
}

fn decide_rotate(state: &ApiKeyState, rotate: &RotateApiKey, context: &Context<'_>) -> Result<Decision<ApiKeyEvent>, ApiKeyRejection> {
    let id = &context.stream.id;
    let key = state.key().ok_or_else(|| ApiKeyRejection::NotFound(id.clone()))?;
    may_see_secret_of(&key.principal, context)?;
    state.check(context.now).map_err(|why| ApiKeyRejection::Ended(id.clone(), why))?;
    let grace_hours = rotate.grace_hours.unwrap_or_default();
    if grace_hours > KEY_GRACE_MAX_HOURS {
        return Err(ApiKeyRejection::BadGrace);
    }
    // What was made to end at its time does not outlive it by being replaced.
    let old_until = context.now.saturating_add(Millis::from(grace_hours) * HOUR_MS).min(key.expires_at);
    Ok(Decision::one(ApiKeyEvent::Rotated {
        hash: rotate.hash.ok_or(ApiKeyRejection::Unseen)?,
        argon2id: rotate.argon2id,
        old_until: (grace_hours > 0).then_some(old_until),
        expires_at: lives_until(context.now, key.lifetime_days),
        made_by: made_by(&key.principal, context),
    }))
}

/// To stop a key takes less than to have one: whose it is may always, and so may every admin.
fn decide_revoke(state: &ApiKeyState, revoke: &RevokeApiKey, context: &Context<'_>) -> Result<Decision<ApiKeyEvent>, ApiKeyRejection> {
    let key = state.key().ok_or_else(|| ApiKeyRejection::NotFound(context.stream.id.clone()))?;
    if key.principal != *context.actor() {
        has_role(Role::Admin, context)?;
    }
    if !text::is_reason(&revoke.reason) {
        return Err(ApiKeyRejection::BadReason);
    }
    let revoked = ApiKeyEvent::Revoked {
        reason: revoke.reason.clone(),
        cascade: revoke.cascade,
    };
    Ok(match state {
        ApiKeyState::Active(_) => Decision::one(revoked),
        // What it caused may be ended later than the key itself.
        ApiKeyState::Revoked { cascade: false, .. } | ApiKeyState::Expired(_) if revoke.cascade => Decision::one(revoked),
        ApiKeyState::Missing | ApiKeyState::Revoked { .. } | ApiKeyState::Expired(_) => Decision::Unchanged,
    })
}

fn lives_until(now: Millis, days: u32) -> Millis {
    now.saturating_add(Millis::from(days) * DAY_MS)
}

/// Sorted, each once.
fn each_once<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    items.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
