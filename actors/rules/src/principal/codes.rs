//! Codes that are sent to an address: whoever shows one has the address, once and for a while.

use super::{Decided, Person, PrincipalRejection, PrincipalState, active, people, person, sessions};
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

pub(super) fn ask(state: &PrincipalState, ask: &AskCode, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    active(state, id)?;
    let person = person(state, id)?;
    let is_verified = address(person, &ask.address)?.verified;
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
            events.push(people::password_set(password)?);
            if !is_verified {
                // Whoever registered somebody else's address keeps no way in.
                let keys = account.public_keys.keys();
                events.extend(keys.map(|id| PrincipalEvent::PublicKeyRemoved { id: id.clone() }));
            }
            events.extend(sessions::all_ended(account, SessionEnd::PasswordSet));
        }
        (MailPurpose::ResetPassword, None) => return Err(PrincipalRejection::BadPassword),
        (MailPurpose::VerifyAddress, None) => {}
        (MailPurpose::VerifyAddress, Some(_)) | (MailPurpose::Invite, _) => return Err(PrincipalRejection::CodeRefused),
    }
    Ok(Decision::Accept(events))
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
