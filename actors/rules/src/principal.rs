//! Rules of a principal: who it is, what proves it, and which sessions followed. Secrets are known by keyed hashes alone.

mod codes;
mod devices;
mod evolve;
mod people;
mod rejection;
mod sessions;
mod state;

pub use rejection::{PrincipalRejection, code_refused, suspended};
pub use sessions::{keys_of, method_of_key};
pub use state::{Account, Device, DevicePhase, Owned, Person, Phase, PrincipalState, Refresh, Session, Totp, Who};

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    rights::{acts_whole, has_role},
    text,
};
use quipu_kinds::principal::{
    AddPublicKey, AddressNamed, CreateAgentPrincipal, CreateService, EndSessions, MakeOperator, PrincipalCommand, PrincipalEvent,
    PrincipalType, PrincipalWord, RemovePublicKey, RenamePrincipal, ResumePrincipal, RetirePrincipal, SessionEnd, SetName, SetOwner,
    SuspendPrincipal,
};
use quipu_schemas::{
    context::Context,
    envelope::KernelCommand,
    ids::{EntityId, Home, Kind, PrincipalId},
    limits::PUBLIC_KEYS_MAX,
    reaction::Reaction,
    role::Role,
};

/// The kind `principal`.
pub struct Principal;

/// The timer that notes the end of sessions. What they open is decided by the clock.
const SESSIONS_TIMER: &str = "sessions";

type Decided = Result<Decision<PrincipalEvent>, PrincipalRejection>;

impl Decider for Principal {
    const KIND: &'static str = "principal";
    // 2: a device that was let in names the session that waits for it.
    const RULES_VERSION: u32 = 2;
    const HEARS_ENTITIES: bool = true;
    type State = PrincipalState;
    type Command = PrincipalCommand;
    type Word = PrincipalWord;
    type Event = PrincipalEvent;
    type Rejection = PrincipalRejection;

    fn initial() -> PrincipalState {
        PrincipalState::Missing
    }

    fn decide(state: &PrincipalState, asked: &AskedOf<Self>, context: &Context<'_>) -> Decided {
        match asked {
            Asked::Command(command) => decide_command(state, command, context),
            Asked::Word(PrincipalWord::CreateAgent(create)) => decide_agent(state, create, context),
            Asked::Word(word) => heed(state, word, context),
        }
    }

    fn evolve(state: PrincipalState, event: &PrincipalEvent) -> Result<PrincipalState, Corrupt> {
        evolve::evolve(state, event)
    }

    fn react(state: &PrincipalState, event: &PrincipalEvent) -> Vec<Reaction> {
        if let PrincipalEvent::CodeAsked { code } = event {
            return codes::letter(state, code).into_iter().collect();
        }
        let name = SESSIONS_TIMER.to_owned();
        let changes_sessions = matches!(
            event,
            PrincipalEvent::SessionStarted { .. }
                | PrincipalEvent::SessionRedeemed { .. }
                | PrincipalEvent::SessionsEnded { .. }
                | PrincipalEvent::Retired { .. }
        );
        if !changes_sessions {
            return Vec::new();
        }
        match state.account().and_then(Account::next_end) {
            Some(due) => vec![Reaction::WakeAt { name, due }],
            None => vec![Reaction::CancelWake { name }],
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<PrincipalWord> {
        match told {
            KernelCommand::TimerFired { name, .. } if name == SESSIONS_TIMER => {
                Some(PrincipalWord::ExpireSessions(quipu_kinds::principal::ExpireSessions {}))
            }
            KernelCommand::TimerFired { .. }
            | KernelCommand::DispatchSettled { .. }
            | KernelCommand::EffectSettled { .. }
            | KernelCommand::EffectNote { .. } => None,
        }
    }

    fn right(command: &str) -> Right {
        match command {
            // A principal may change its own, and it need be nobody in its org for that.
            "rename" | "add_public_key" | "remove_public_key" | "end_sessions" => Right::Rules,
            _ => Right::Role(Role::Admin),
        }
    }

    fn ignores_suspension(command: &PrincipalCommand) -> bool {
        // What was stolen is stopped whatever became of its org.
        matches!(
            command,
            PrincipalCommand::EndSessions(_)
                | PrincipalCommand::RemovePublicKey(_)
                | PrincipalCommand::Suspend(_)
                | PrincipalCommand::Retire(_)
        )
    }
}

fn decide_command(state: &PrincipalState, command: &PrincipalCommand, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    match command {
        PrincipalCommand::Create(create) => decide_create(state, create, context),
        PrincipalCommand::Rename(RenamePrincipal { name }) => {
            may_change(context)?;
            let owned = owned(state, id)?;
            if !text::is_display_name(name) {
                return Err(PrincipalRejection::BadName);
            }
            Ok(unless(owned.name == *name, PrincipalEvent::Renamed { name: name.clone() }))
        }
        PrincipalCommand::SetOwner(SetOwner { owner }) => {
            let known = owned(state, id)?;
            check_owner(owner)?;
            Ok(unless(known.owner == *owner, PrincipalEvent::OwnerSet { owner: owner.clone() }))
        }
        PrincipalCommand::AddPublicKey(add) => decide_key(state, add, context),
        PrincipalCommand::RemovePublicKey(RemovePublicKey { id: key }) => {
            may_change(context)?;
            let account = there(state, id)?;
            if !account.public_keys.contains_key(key) {
                return Err(PrincipalRejection::UnknownKey);
            }
            let mut events = vec![PrincipalEvent::PublicKeyRemoved { id: key.clone() }];
            events.extend(sessions::ended_of_key(account, key));
            Ok(Decision::Accept(events))
        }
        PrincipalCommand::EndSessions(EndSessions {}) => {
            may_change(context)?;
            Ok(Decision::all(sessions::all_ended(there(state, id)?, SessionEnd::Asked)))
        }
        PrincipalCommand::Suspend(SuspendPrincipal { reason }) => {
            check_reason(reason)?;
            let account = there(state, id)?;
            if matches!(state, PrincipalState::Suspended { .. }) {
                return Ok(Decision::Unchanged);
            }
            // What was let in and has not come yet does not come once this is over.
            let mut events = sessions::waiting_ended(account, SessionEnd::Asked);
            events.push(PrincipalEvent::Suspended { reason: reason.clone() });
            Ok(Decision::Accept(events))
        }
        PrincipalCommand::Resume(ResumePrincipal {}) => {
            there(state, id)?;
            Ok(unless(matches!(state, PrincipalState::Active(_)), PrincipalEvent::Resumed {}))
        }
        PrincipalCommand::Retire(RetirePrincipal { reason }) => {
            check_reason(reason)?;
            match state {
                PrincipalState::Missing | PrincipalState::Device(_) => Err(PrincipalRejection::NotFound(id.clone())),
                PrincipalState::Retired { .. } => Ok(Decision::Unchanged),
                PrincipalState::Active(_) | PrincipalState::Suspended { .. } => {
                    Ok(Decision::one(PrincipalEvent::Retired { reason: reason.clone() }))
                }
            }
        }
    }
}

fn unless(is_so: bool, event: PrincipalEvent) -> Decision<PrincipalEvent> {
    if is_so { Decision::Unchanged } else { Decision::one(event) }
}

/// The principal; an error where nobody is there any more.
fn there<'a>(state: &'a PrincipalState, id: &EntityId) -> Result<&'a Account, PrincipalRejection> {
    match state {
        PrincipalState::Missing | PrincipalState::Device(_) => Err(PrincipalRejection::NotFound(id.clone())),
        PrincipalState::Retired { .. } => Err(PrincipalRejection::Retired(id.clone())),
        PrincipalState::Active(account) | PrincipalState::Suspended { account, .. } => Ok(account),
    }
}

/// The same; an error where it is suspended.
fn active<'a>(state: &'a PrincipalState, id: &EntityId) -> Result<&'a Account, PrincipalRejection> {
    match state {
        PrincipalState::Suspended { .. } => Err(PrincipalRejection::Suspended(id.clone())),
        PrincipalState::Missing | PrincipalState::Active(_) | PrincipalState::Retired { .. } | PrincipalState::Device(_) => {
            there(state, id)
        }
    }
}

fn owned<'a>(state: &'a PrincipalState, id: &EntityId) -> Result<&'a Owned, PrincipalRejection> {
    match &there(state, id)?.who {
        Who::Agent(owned) | Who::Service(owned) => Ok(owned),
        Who::Person(_) => Err(PrincipalRejection::APerson(id.clone())),
    }
}

fn person<'a>(state: &'a PrincipalState, id: &EntityId) -> Result<&'a Person, PrincipalRejection> {
    match &there(state, id)?.who {
        Who::Person(person) => Ok(person),
        Who::Agent(_) | Who::Service(_) => Err(PrincipalRejection::NotAPerson(id.clone())),
    }
}

fn is_self(context: &Context<'_>) -> bool {
    let stream = context.stream;
    Some(Home::of(&stream.org, context.actor())) == Home::of_stream(stream)
}

/// A principal changes its own, and so does an admin of its org.
fn may_change(context: &Context<'_>) -> Result<(), PrincipalRejection> {
    if !is_self(context) {
        has_role(Role::Admin, context)?;
    }
    Ok(())
}

fn check_reason(reason: &str) -> Result<(), PrincipalRejection> {
    if text::is_reason(reason) {
        Ok(())
    } else {
        Err(PrincipalRejection::BadReason)
    }
}

fn check_owner(owner: &PrincipalId) -> Result<(), PrincipalRejection> {
    if owner.is_platform() {
        return Err(PrincipalRejection::ReservedOwner(owner.clone()));
    }
    Ok(())
}

fn decide_create(state: &PrincipalState, create: &CreateService, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    let owner = create.owner.as_ref().unwrap_or(context.actor());
    let is_nobodys = PrincipalId::parse(id.as_str()).is_ok_and(|id| id.is_platform());
    if id.is_person() || is_nobodys {
        return Err(PrincipalRejection::ReservedId(id.clone()));
    }
    if !matches!(state, PrincipalState::Missing) {
        return Err(PrincipalRejection::Exists(id.clone()));
    }
    if !text::is_display_name(&create.name) {
        return Err(PrincipalRejection::BadName);
    }
    // Whoever makes one by the node's token without naming anybody answers for it as the platform.
    if create.owner.is_some() {
        check_owner(owner)?;
    }
    Ok(Decision::one(PrincipalEvent::Created {
        kind: PrincipalType::Service,
        name: create.name.clone(),
        owner: owner.clone(),
    }))
}

/// Only the agent of the same name makes its principal.
fn decide_agent(state: &PrincipalState, create: &CreateAgentPrincipal, context: &Context<'_>) -> Decided {
    let stream = context.stream;
    let is_its_own = |by: &quipu_schemas::ids::StreamId| by.kind == Kind::AGENT && by.org == stream.org && by.id == stream.id;
    if !context.authority.dispatched_by.as_ref().is_some_and(is_its_own) {
        return Err(PrincipalRejection::NotTheNode);
    }
    match state {
        PrincipalState::Missing => Ok(Decision::one(PrincipalEvent::Created {
            kind: PrincipalType::Agent,
            name: create.name.clone(),
            owner: create.owner.clone(),
        })),
        PrincipalState::Active(_) | PrincipalState::Suspended { .. } | PrincipalState::Retired { .. } | PrincipalState::Device(_) => {
            Err(PrincipalRejection::Exists(stream.id.clone()))
        }
    }
}

/// A public key is as good as the principal itself: it adds its own, and so does an owner of its org; nobody who acts for somebody
/// else or by a credential that is cut.
fn decide_key(state: &PrincipalState, add: &AddPublicKey, context: &Context<'_>) -> Decided {
    acts_whole(context)?;
    if !is_self(context) {
        has_role(Role::Owner, context)?;
    }
    let account = active(state, &context.stream.id)?;
    if !add.key.is_whole() {
        return Err(PrincipalRejection::BadKey);
    }
    let id = add.key.thumbprint();
    if account.public_keys.contains_key(&id) {
        return Ok(Decision::Unchanged);
    }
    if account.public_keys.len() >= PUBLIC_KEYS_MAX {
        return Err(PrincipalRejection::TooManyKeys);
    }
    Ok(Decision::one(PrincipalEvent::PublicKeyAdded { id, key: add.key.clone() }))
}

/// What only the node says: where it comes from the kernel or a node, and from no entity.
fn heed(state: &PrincipalState, word: &PrincipalWord, context: &Context<'_>) -> Decided {
    if !context.authority.platform || context.authority.dispatched_by.is_some() {
        return Err(PrincipalRejection::NotTheNode);
    }
    let id = &context.stream.id;
    match word {
        PrincipalWord::CreateAgent(_) => Err(PrincipalRejection::NotTheNode),
        PrincipalWord::Register(register) => people::register(state, register, context),
        PrincipalWord::SetName(SetName { name }) => {
            person(state, id)?;
            Ok(Decision::one(PrincipalEvent::Named { name: name.clone() }))
        }
        PrincipalWord::SetPassword(set) => {
            person(state, id)?;
            let mut events = vec![people::password_set(set)?];
            if set.ends_sessions {
                events.extend(sessions::all_ended(there(state, id)?, SessionEnd::PasswordSet));
            }
            Ok(Decision::Accept(events))
        }
        PrincipalWord::AddAddress(add) => people::add_address(person(state, id)?, add),
        PrincipalWord::VerifyAddress(AddressNamed { id: named }) => {
            let addresses = &person(state, id)?.addresses;
            let address = addresses.iter().find(|address| address.id == *named);
            let address = address.ok_or_else(|| PrincipalRejection::UnknownAddress(named.clone()))?;
            Ok(unless(address.verified, PrincipalEvent::AddressVerified { id: named.clone() }))
        }
        PrincipalWord::RemoveAddress(AddressNamed { id: named }) => {
            if !person(state, id)?.addresses.iter().any(|address| address.id == *named) {
                return Err(PrincipalRejection::UnknownAddress(named.clone()));
            }
            Ok(Decision::one(PrincipalEvent::AddressRemoved { id: named.clone() }))
        }
        PrincipalWord::StartSession(start) => sessions::start(active(state, id)?, start, context.now),
        PrincipalWord::RedeemSession(redeem) => sessions::redeem(active(state, id)?, redeem, context.now),
        PrincipalWord::RefreshSession(refresh) => sessions::refresh(active(state, id)?, refresh, context.now),
        PrincipalWord::EndSession(end) => Ok(sessions::end(there(state, id)?, &end.id)),
        PrincipalWord::ExpireSessions(_) => Ok(state.account().map_or(Decision::Unchanged, |account| {
            Decision::all(sessions::expired(account, context.now))
        })),
        PrincipalWord::AskDevice(ask) => devices::ask(state, id, ask, context.now),
        PrincipalWord::AnswerDevice(answer) => devices::answer(state, answer, context.now),
        PrincipalWord::TakeDevice(take) => devices::take(state, take, context.now),
        PrincipalWord::EnrolTotp(_) | PrincipalWord::ConfirmTotp(_) | PrincipalWord::UseTotp(_) | PrincipalWord::UseRecoveryCode(_) => {
            people::code(person(state, id)?, word)
        }
        PrincipalWord::AskCode(ask) => codes::ask(state, ask, context),
        PrincipalWord::UseCode(used) => codes::take(state, used, context),
        PrincipalWord::MakeOperator(MakeOperator { operator }) => {
            let known = person(state, id)?;
            Ok(unless(
                known.operator == *operator,
                PrincipalEvent::OperatorSet { operator: *operator },
            ))
        }
    }
}

#[cfg(test)]
mod tests;
