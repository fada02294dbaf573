//! Rules of an alias: one entity of the directory has it at a time, and of two that claim it at once the first one gets it.

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Refusal, Right},
    text,
};
use quipu_kinds::{
    alias::{AliasCommand, AliasEvent, AliasName, AliasWord, ClaimAlias, GiveUpAlias, ReleaseAlias},
    entity::{EntityWord, LoseAlias},
};
use quipu_schemas::{
    context::Context,
    ids::{EntityId, Kind, StreamId},
    json::Json,
    limits::REASON_MAX_CHARS,
    problem::Problem,
    reaction::{Dispatch, Reaction},
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind `alias`.
pub struct Alias;

/// State of an alias.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AliasState {
    /// Nobody has it.
    #[default]
    Free,
    /// An entity has it.
    Held(HeldAlias),
}

/// An alias that an entity has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldAlias {
    /// The alias.
    pub alias: AliasName,
    /// Who has it.
    pub entity: StreamId,
    /// By which of its claims.
    pub claim: u64,
}

/// Why an alias stays with whoever has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasRejection {
    /// Another entity has it.
    Taken(AliasName),
    /// Nobody has it.
    Free(EntityId),
    /// What was sent is not from an entity of the directory, or is about another alias.
    NotAClaim,
    /// The reason is too long.
    BadReason,
}

impl Refusal for AliasRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::Taken(alias) => Problem::new(
                409,
                "alias_taken",
                format!("another entity has the {} {}", alias.form.name(), alias.text),
            )
            .fix("choose another one, or release this one first"),
            Self::Free(id) => Problem::new(404, "alias_not_found", format!("nobody has the alias {id}"))
                .fix("see which aliases there are in the view `aliases`"),
            Self::NotAClaim => Problem::new(403, "not_a_claim", "only entities of the directory claim aliases, each for itself")
                .fix("send add_alias to the entity"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
        }
    }
}

impl Decider for Alias {
    const KIND: &'static str = "alias";
    const RULES_VERSION: u32 = 1;
    const HEARS_ENTITIES: bool = true;
    type State = AliasState;
    type Command = AliasCommand;
    type Word = AliasWord;
    type Event = AliasEvent;
    type Rejection = AliasRejection;

    fn initial() -> AliasState {
        AliasState::Free
    }

    fn decide(state: &AliasState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<AliasEvent>, AliasRejection> {
        match asked {
            Asked::Command(AliasCommand::Release(ReleaseAlias { reason })) => {
                if !text::is_reason(reason) {
                    return Err(AliasRejection::BadReason);
                }
                match state {
                    AliasState::Free => Err(AliasRejection::Free(context.stream.id.clone())),
                    AliasState::Held(held) => Ok(Decision::one(AliasEvent::Released {
                        entity: held.entity.clone(),
                        claim: held.claim,
                        reason: reason.clone(),
                    })),
                }
            }
            Asked::Word(AliasWord::Claim(claim)) => decide_claim(state, claim, context),
            Asked::Word(AliasWord::GiveUp(GiveUpAlias { claim })) => {
                let entity = claiming(context)?;
                Ok(match state {
                    // A later claim of the same entity stands, in whichever order they came.
                    AliasState::Held(held) if held.entity == *entity && held.claim == *claim => Decision::one(AliasEvent::GivenUp {}),
                    AliasState::Held(_) | AliasState::Free => Decision::Unchanged,
                })
            }
        }
    }

    fn evolve(state: AliasState, event: &AliasEvent) -> Result<AliasState, Corrupt> {
        match (state, event) {
            (_, AliasEvent::Claimed { alias, entity, claim }) => Ok(AliasState::Held(HeldAlias {
                alias: alias.clone(),
                entity: entity.clone(),
                claim: *claim,
            })),
            (AliasState::Held(_), AliasEvent::GivenUp {} | AliasEvent::Released { .. }) => Ok(AliasState::Free),
            (AliasState::Free, event) => Err(Corrupt(format!("{event:?} of an alias that nobody has"))),
        }
    }

    fn react(_state: &AliasState, event: &AliasEvent) -> Vec<Reaction> {
        match event {
            AliasEvent::Released { entity, claim, .. } => {
                let lost = EntityWord::LoseAlias(LoseAlias { claim: *claim });
                let lost = Json(serde_json::to_value(lost).expect("words serialize"));
                vec![Reaction::Dispatch(Dispatch::new(entity.clone(), lost))]
            }
            AliasEvent::Claimed { .. } | AliasEvent::GivenUp {} => Vec::new(),
        }
    }

    fn right(_command: &str) -> Right {
        Right::Role(Role::Admin)
    }
}

/// The entity that sends this.
fn claiming<'a>(context: &'a Context<'_>) -> Result<&'a StreamId, AliasRejection> {
    let sender = context.authority.dispatched_by.as_ref();
    sender
        .filter(|sender| sender.kind == Kind::ENTITY && sender.org == context.stream.org)
        .ok_or(AliasRejection::NotAClaim)
}

fn decide_claim(state: &AliasState, asked: &ClaimAlias, context: &Context<'_>) -> Result<Decision<AliasEvent>, AliasRejection> {
    let entity = claiming(context)?;
    let ClaimAlias { alias, claim } = asked;
    if alias.id() != context.stream.id || !alias.is_valid() {
        return Err(AliasRejection::NotAClaim);
    }
    match state {
        AliasState::Held(held) if held.entity != *entity || held.alias != *alias => Err(AliasRejection::Taken(alias.clone())),
        AliasState::Held(held) if held.claim >= *claim => Ok(Decision::Unchanged),
        AliasState::Held(_) | AliasState::Free => Ok(Decision::one(AliasEvent::Claimed {
            alias: alias.clone(),
            entity: entity.clone(),
            claim: *claim,
        })),
    }
}

#[cfg(test)]
mod tests;
