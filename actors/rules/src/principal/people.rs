//! What people have besides: addresses, a password, codes.

use super::{Decided, Person, PrincipalRejection, PrincipalState, Totp};
use crate::decider::Decision;
use quipu_kinds::principal::{
    AddAddress, ConfirmTotp, EnrolTotp, PrincipalEvent, PrincipalWord, Register, SetPassword, UseRecoveryCode, UseTotp,
};
use quipu_schemas::{
    context::Context,
    ids::Home,
    limits::{ADDRESSES_MAX, PASSWORD_HASH_MAX_CHARS, RECOVERY_CODES_MAX},
};

pub(super) fn register(state: &PrincipalState, register: &Register, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    if !matches!(state, PrincipalState::Missing) {
        return Err(PrincipalRejection::Exists(id.clone()));
    }
    if !Home::of_stream(context.stream).is_some_and(|home| home.is_person()) {
        return Err(PrincipalRejection::ReservedId(id.clone()));
    }
    let mut events = vec![PrincipalEvent::Registered {
        name: register.name.clone(),
    }];
    events.extend(register.address.as_ref().map(address_added));
    events.extend(register.password.as_ref().map(password_set).transpose()?);
    Ok(Decision::Accept(events))
}

pub(super) fn password_set(set: &SetPassword) -> Result<PrincipalEvent, PrincipalRejection> {
    if !set.phc.starts_with("$argon2id$") || set.phc.len() > PASSWORD_HASH_MAX_CHARS {
        return Err(PrincipalRejection::BadPassword);
    }
    Ok(PrincipalEvent::PasswordSet { phc: set.phc.clone() })
}

fn address_added(add: &AddAddress) -> PrincipalEvent {
    PrincipalEvent::AddressAdded {
        id: add.id.clone(),
        address: add.address.clone(),
    }
}

pub(super) fn add_address(person: &Person, add: &AddAddress) -> Decided {
    if person.addresses.iter().any(|address| address.id == add.id) {
        return Ok(Decision::Unchanged);
    }
    if person.addresses.len() >= ADDRESSES_MAX {
        return Err(PrincipalRejection::TooManyAddresses);
    }
    Ok(Decision::one(address_added(add)))
}

/// Codes that follow from the time, and those for whoever has lost what makes them. Each is good once.
pub(super) fn code(person: &Person, word: &PrincipalWord) -> Decided {
    match word {
        PrincipalWord::EnrolTotp(EnrolTotp { secret }) => Ok(Decision::one(PrincipalEvent::TotpEnrolled { secret: secret.clone() })),
        PrincipalWord::ConfirmTotp(ConfirmTotp { step, recovery }) => {
            if person.totp.waiting().is_none() || recovery.len() > RECOVERY_CODES_MAX {
                return Err(PrincipalRejection::NotEnrolled);
            }
            Ok(Decision::one(PrincipalEvent::TotpConfirmed {
                step: *step,
                recovery: recovery.clone(),
            }))
        }
        PrincipalWord::UseTotp(UseTotp { step }) => match person.totp {
            Totp::On { last_step, .. } if *step > last_step => Ok(Decision::one(PrincipalEvent::TotpUsed { step: *step })),
            Totp::On { .. } => Err(PrincipalRejection::CodeUsed),
            Totp::Off | Totp::Enrolled(_) => Err(PrincipalRejection::NotEnrolled),
        },
        PrincipalWord::UseRecoveryCode(UseRecoveryCode { hash }) if person.recovery.contains(hash) => {
            Ok(Decision::one(PrincipalEvent::RecoveryCodeUsed { hash: *hash }))
        }
        PrincipalWord::UseRecoveryCode(_) => Err(PrincipalRejection::CodeUsed),
        _ => Err(PrincipalRejection::NotTheNode),
    }
}
