//! Rules of grants: what one principal of an org holds beside their role.

use crate::{
    decider::{AskedOf, Corrupt, Decider, Decision, NoWord, Refusal, Right},
    rights::{Given, NotHandedOn, giver_of, may_hand_on},
};
use quipu_kinds::grant::{GiveGrant, GrantCommand, GrantEvent, TakeGrant};
use quipu_schemas::{
    context::Context,
    ids::{EntityId, PrincipalId},
    limits::GRANTS_MAX,
    problem::Problem,
    rights::{Pattern, Target},
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind `grant`: all grants of one principal, whose id its entity has.
pub struct Grant;

/// State: what the principal was given. Nobody who was given nothing differs from somebody whose grants were all taken.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GrantState {
    /// In the order in which they were given. One whose time is over stands here until it is taken, and holds nothing.
    pub grants: Vec<Given>,
}

fn is(given: &Given, right: &Pattern, on: &Target) -> bool {
    given.right == *right && given.on == *on
}

/// Why grants stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantRejection {
    /// The actor does not hand this on.
    NotHandedOn(NotHandedOn),
    /// Nobody of the platform is granted anything.
    ReservedPrincipal(EntityId),
    /// The time is over already.
    Past,
    /// The principal does not hold it.
    NotGranted(Pattern, Target),
    /// The principal holds as many as there may be.
    TooMany,
}

impl Refusal for GrantRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotHandedOn(why) => why.problem(),
            Self::ReservedPrincipal(who) => Problem::new(422, "reserved_id", format!("{who} belongs to the platform"))
                .field("id")
                .fix("name a principal of the org: not `bootstrap`, and without a leading _"),
            Self::Past => Problem::new(422, "past_time", "a grant holds until a time that is still to come")
                .field("until")
                .fix("give milliseconds since the Unix epoch, or leave it out"),
            Self::NotGranted(right, on) => Problem::new(404, "not_granted", format!("{right} was not granted on {on}"))
                .field("right")
                .fix("see what was granted in the view `grants`"),
            Self::TooMany => Problem::new(
                409,
                "too_many_grants",
                format!("a principal has at most {GRANTS_MAX} grants in an org"),
            )
            .fix("take some, or give a role that holds them"),
        }
    }
}

impl From<NotHandedOn> for GrantRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

impl Decider for Grant {
    const KIND: &'static str = "grant";
    const RULES_VERSION: u32 = 1;
    type State = GrantState;
    type Command = GrantCommand;
    type Word = NoWord;
    type Event = GrantEvent;
    type Rejection = GrantRejection;

    fn initial() -> GrantState {
        GrantState::default()
    }

    fn decide(state: &GrantState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<GrantEvent>, GrantRejection> {
        match asked.command() {
            GrantCommand::Give(give) => decide_give(state, give, context),
            GrantCommand::Take(TakeGrant { right, on }) => {
                may_hand_on(giver_of(right), context)?;
                if !state.grants.iter().any(|given| is(given, right, on)) {
                    return Err(GrantRejection::NotGranted(right.clone(), on.clone()));
                }
                Ok(Decision::one(GrantEvent::Taken {
                    right: right.clone(),
                    on: on.clone(),
                }))
            }
        }
    }

    fn evolve(mut state: GrantState, event: &GrantEvent) -> Result<GrantState, Corrupt> {
        match event {
            GrantEvent::Given { right, on, until } => match state.grants.iter_mut().find(|given| is(given, right, on)) {
                Some(given) => given.until = *until,
                None => state.grants.push(Given {
                    right: right.clone(),
                    on: on.clone(),
                    until: *until,
                }),
            },
            GrantEvent::Taken { right, on } => {
                let before = state.grants.len();
                state.grants.retain(|given| !is(given, right, on));
                if state.grants.len() == before {
                    return Err(Corrupt(format!("not granted: {event:?}")));
                }
            }
        }
        Ok(state)
    }

    fn right(_command: &str) -> Right {
        Right::Role(Role::Admin)
    }

    fn names_rights(command: &str) -> &'static [&'static str] {
        // What was granted before a kind was given up can still be taken.
        if command == "give" { &["/right", "/on"] } else { &[] }
    }

    fn ignores_suspension(command: &GrantCommand) -> bool {
        matches!(command, GrantCommand::Take(_))
    }
}

fn decide_give(state: &GrantState, give: &GiveGrant, context: &Context<'_>) -> Result<Decision<GrantEvent>, GrantRejection> {
    let GiveGrant { right, on, until } = give;
    may_hand_on(giver_of(right), context)?;
    let id = &context.stream.id;
    if PrincipalId::parse(id.as_str()).is_ok_and(|who| who.is_platform()) {
        return Err(GrantRejection::ReservedPrincipal(id.clone()));
    }
    if until.is_some_and(|until| until <= context.now) {
        return Err(GrantRejection::Past);
    }
    let mut events = Vec::new();
    match state.grants.iter().find(|given| is(given, right, on)) {
        Some(given) if given.until == *until => return Ok(Decision::Unchanged),
        Some(_) => {}
        None if state.grants.len() >= GRANTS_MAX => {
            // Those whose time is over make room.
            let over = state
                .grants
                .iter()
                .filter(|given| given.until.is_some_and(|until| until <= context.now));
            events.extend(over.map(|given| GrantEvent::Taken {
                right: given.right.clone(),
                on: given.on.clone(),
            }));
            if events.is_empty() {
                return Err(GrantRejection::TooMany);
            }
        }
        None => {}
    }
    events.push(GrantEvent::Given {
        right: right.clone(),
        on: on.clone(),
        until: *until,
    });
    Ok(Decision::Accept(events))
}

#[cfg(test)]
mod tests;
