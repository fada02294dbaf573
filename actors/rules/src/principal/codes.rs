//! Codes that are sent to an address: whoever shows one has the address, once and for a while.

use super::{Account, Decided, Person, PrincipalRejection, PrincipalState, Totp, active, people, person, sessions};
use crate::decider::Decision;
use quipu_kinds::principal::{Address, AskCode, CodeAsked, PrincipalEvent, SessionEnd, UseCode};
use quipu_schemas::{
    context::{Context, Millis},
    ids::EntityId,
    limits::{MAIL_PAUSE_MS, RESET_CODE_MS, VERIFY_CODE_MS},
    mail::{MailCall, MailPurpose},
    reaction::{Effect, Perform, Reaction, Retry},
};

/// How long a code is taken; `None` where no person is sent one for that.
const fn lifetime_ms(purpose: MailPurpose) -> Option<Millis> {
    match purpose {
        MailPurpose::VerifyAddress => Some(VERIFY_CODE_MS),
        MailPurpose::ResetPassword => Some(RESET_CODE_MS),
        MailPurpose::Invite => None,
    }
}

fn address<'a>(person: &'a Person, id: &EntityId) -> Result<&'a Address, PrincipalRejection> {
    let found = person.addresses.iter().find(|address| address.id == *id);
    found.ok_or_else(|| PrincipalRejection::UnknownAddress(id.clone()))
}

/// Whether a letter to this address lets somebody in: one that was verified does, and any other only as long as none was. Whoever mistypes an
/// address beside their own gives their account to nobody.
fn opens_account(person: &Person, id: &EntityId) -> bool {
    let mut verified = person.addresses.iter().filter(|address| address.verified).peekable();
    verified.peek().is_none() || verified.any(|address| address.id == *id)
}

pub(super) fn ask(state: &PrincipalState, ask: &AskCode, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    active(state, id)?;
    let person = person(state, id)?;
    let is_verified = address(person, &ask.address)?.verified;
    if ask.purpose == MailPurpose::ResetPassword && ask.mail && !opens_account(person, &ask.address) {
        return Err(PrincipalRejection::CodeRefused);
    }
    let lifetime_ms = lifetime_ms(ask.purpose).ok_or(PrincipalRejection::CodeRefused)?;
    if ask.purpose == MailPurpose::VerifyAddress && is_verified {
        return Ok(Decision::Unchanged);
    }
    let same = |code: &&CodeAsked| code.purpose == ask.purpose && code.address == ask.address;
    let sent_at = |code: &CodeAsked| code.until.saturating_sub(lifetime_ms);
    let is_on_its_way = |code: &CodeAsked| code.mail && ask.mail && context.now < sent_at(code).saturating_add(MAIL_PAUSE_MS);
    if person.codes.iter().find(same).is_some_and(is_on_its_way) {
        return Ok(Decision::Unchanged);
    }
    Ok(Decision::one(PrincipalEvent::CodeAsked {
        code: CodeAsked {
            id: ask.id.clone(),
            purpose: ask.purpose,
            address: ask.address.clone(),
            hash: ask.hash,
            until: context.now.saturating_add(lifetime_ms),
            mail: ask.mail,
        },
    }))
}

pub(super) fn take(state: &PrincipalState, used: &UseCode, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    let account = active(state, id)?;
    let person = person(state, id)?;
    let is_it = |code: &&CodeAsked| code.id == used.id && code.purpose == used.purpose && code.hash == used.hash;
    let code = person.codes.iter().find(is_it).filter(|code| context.now < code.until);
    let code = code.ok_or(PrincipalRejection::CodeRefused)?;
    let is_verified = address(person, &code.address)?.verified;
    let mut events = vec![PrincipalEvent::CodeUsed { id: code.id.clone() }];
    // Whoever was shown the code by the node got no letter.
    if !is_verified && (code.mail || used.purpose == MailPurpose::VerifyAddress) {
        events.push(PrincipalEvent::AddressVerified { id: code.address.clone() });
    }
    match (used.purpose, &used.password) {
        (MailPurpose::ResetPassword, Some(password)) => {
            if code.mail && !opens_account(person, &code.address) {
                return Err(PrincipalRejection::CodeRefused);
            }
            events.push(people::password_set(password)?);
            if !is_verified {
                events.extend(ways_in(account));
            }
            if !is_verified && code.mail {
                events.extend(never_proved(person, &code.address));
            }
            events.extend(sessions::all_ended(account, SessionEnd::PasswordSet));
        }
        (MailPurpose::ResetPassword, None) => return Err(PrincipalRejection::BadPassword),
        (MailPurpose::VerifyAddress, None) => {}
        (MailPurpose::VerifyAddress, Some(_)) | (MailPurpose::Invite, _) => return Err(PrincipalRejection::CodeRefused),
    }
    Ok(Decision::Accept(events))
}

/// Whoever registered somebody else's address keeps no way in.
fn ways_in(account: &Account) -> impl Iterator<Item = PrincipalEvent> {
    account
        .public_keys
        .keys()
        .map(|id| PrincipalEvent::PublicKeyRemoved { id: id.clone() })
}

/// The rest of what somebody set up who never proved an address: whoever has this one now has proved it, and could show none of that. A code
/// that the node showed proves no address and takes no authenticator away.
fn never_proved(person: &Person, proved: &EntityId) -> Vec<PrincipalEvent> {
    let has_codes = person.totp != Totp::Off || !person.recovery.is_empty();
    let others = person.addresses.iter().filter(|address| address.id != *proved);
    let mut events: Vec<_> = others
        .map(|address| PrincipalEvent::AddressRemoved { id: address.id.clone() })
        .collect();
    events.extend(has_codes.then_some(PrincipalEvent::TotpRemoved {}));
    events
}

/// The letter with a code.
pub(super) fn letter(state: &PrincipalState, code: &CodeAsked) -> Option<Reaction> {
    let address = state.person()?.addresses.iter().find(|address| address.id == code.address)?;
    code.mail.then(|| {
        Reaction::Perform(Perform {
            name: format!("mail {}", code.id),
            effect: Effect::Mail(MailCall {
                purpose: code.purpose,
                ask: code.id.clone(),
                to: address.address.clone(),
                until: code.until,
            }),
            retry: Retry::default(),
        })
    })
}
