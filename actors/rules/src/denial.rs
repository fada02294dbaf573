//! Rules of denials: the node alone notes them, and of one day only so many.

use crate::decider::{AskedOf, Corrupt, Decider, Decision, NoWord, Refusal, Right};
use quipu_kinds::denial::{DenialCommand, DenialEvent, NoteDenial};
use quipu_schemas::{
    context::Context,
    ids::EntityId,
    limits::{DENIAL_TEXT_MAX_CHARS, DENIALS_OF_DAY_MAX},
    problem::Problem,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind `denial`: what was refused in an org on the day that its id names.
pub struct Denial;

/// State: how many were noted. What they say is in the records and in the views.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DenialState {
    /// Entries.
    pub noted: u64,
    /// Refusals that they are about.
    pub refusals: u64,
}

/// Why nothing is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialRejection {
    /// Only the node notes what it refused.
    NotTheNode,
    /// The day has as many entries as it may have.
    TooMany(EntityId),
    /// A text is too long, or it says that nothing was refused.
    Malformed,
}

impl Refusal for DenialRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotTheNode => Problem::new(403, "not_the_node", "only the node notes what it refused")
                .fix("read what was refused: GET /v1/orgs/{org}/audit?outcome=denied"),
            Self::TooMany(day) => Problem::new(409, "too_many_denials", format!("{day} has {DENIALS_OF_DAY_MAX} entries"))
                .fix("nothing needs to be done: more of the day is not kept"),
            Self::Malformed => Problem::new(
                422,
                "bad_denial",
                format!("a denial counts at least one refusal, in texts of at most {DENIAL_TEXT_MAX_CHARS} characters"),
            )
            .field("denial")
            .fix("leave it to the node"),
        }
    }
}

impl Decider for Denial {
    const KIND: &'static str = "denial";
    const RULES_VERSION: u32 = 1;
    type State = DenialState;
    type Command = DenialCommand;
    type Word = NoWord;
    type Event = DenialEvent;
    type Rejection = DenialRejection;

    fn initial() -> DenialState {
        DenialState::default()
    }

    fn decide(state: &DenialState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<DenialEvent>, DenialRejection> {
        let DenialCommand::Note(NoteDenial { denial }) = asked.command();
        if !context.authority.platform || context.authority.dispatched_by.is_some() {
            return Err(DenialRejection::NotTheNode);
        }
        let texts = [&denial.right, &denial.kind, &denial.code].into_iter().chain(&denial.credential);
        if denial.count == 0 || texts.into_iter().any(|text| text.len() > DENIAL_TEXT_MAX_CHARS) {
            return Err(DenialRejection::Malformed);
        }
        if state.noted >= DENIALS_OF_DAY_MAX {
            return Err(DenialRejection::TooMany(context.stream.id.clone()));
        }
        Ok(Decision::one(DenialEvent::Noted { denial: denial.clone() }))
    }

    fn evolve(state: DenialState, event: &DenialEvent) -> Result<DenialState, Corrupt> {
        let DenialEvent::Noted { denial } = event;
        Ok(DenialState {
            noted: state.noted + 1,
            refusals: state.refusals.saturating_add(denial.count),
        })
    }

    fn ignores_suspension(_command: &DenialCommand) -> bool {
        // What is tried in a suspended org is worth knowing.
        true
    }

    fn right(_command: &str) -> Right {
        Right::Role(Role::Owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Scene, as_role, id, platform, sent_by};

    fn note(count: u64) -> DenialCommand {
        let denial = quipu_kinds::denial::Denial {
            principal: id("ada"),
            on_behalf_of: None,
            credential: Some("api-key/key_1".into()),
            right: "cap:run.read".into(),
            kind: "run".into(),
            code: "missing_right".into(),
            count,
            first: 1,
            last: 2,
        };
        DenialCommand::Note(NoteDenial { denial })
    }

    #[test]
    fn the_node_alone_notes_what_it_refused() {
        let mut scene: Scene<Denial> = Scene::new("acme/denial/d2023-11-14");
        for who in [as_role("ada", Some(Role::Owner)), sent_by("ada", "acme/run/r1")] {
            scene.refused(&who, note(1), 403, "not_the_node");
        }
        scene.refused(&platform(), note(0), 422, "bad_denial");
        scene.ok(&platform(), note(3));
        scene.ok(&platform(), note(4));
        assert_eq!((scene.state.noted, scene.state.refusals), (2, 7));
    }

    #[test]
    fn a_day_has_so_many_entries_and_no_more() {
        let mut scene: Scene<Denial> = Scene::new("acme/denial/d2023-11-14");
        scene.state.noted = DENIALS_OF_DAY_MAX;
        scene.refused(&platform(), note(1), 409, "too_many_denials");
    }
}
