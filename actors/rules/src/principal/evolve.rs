//! How events of a principal fold.

use super::{Account, Device, DevicePhase, Owned, Person, Phase, PrincipalState, Refresh, Session, Totp, Who};
use crate::decider::Corrupt;
use quipu_kinds::principal::{Address, PrincipalEvent, PrincipalType};
use quipu_schemas::mail::MailPurpose;

pub(super) fn evolve(state: PrincipalState, event: &PrincipalEvent) -> Result<PrincipalState, Corrupt> {
    let corrupt = |state: &PrincipalState| Corrupt(format!("{event:?} of a principal that is {state:?}"));
    match (state, event) {
        (PrincipalState::Missing, PrincipalEvent::Created { kind, name, owner }) => {
            let owned = Owned {
                name: name.clone(),
                owner: owner.clone(),
            };
            match kind {
                PrincipalType::Agent => Ok(PrincipalState::Active(Account::new(Who::Agent(owned)))),
                PrincipalType::Service => Ok(PrincipalState::Active(Account::new(Who::Service(owned)))),
                PrincipalType::Person => Err(corrupt(&PrincipalState::Missing)),
            }
        }
        (PrincipalState::Missing, PrincipalEvent::Registered { name }) => {
            let person = Person {
                name: name.clone(),
                ..Person::default()
            };
            Ok(PrincipalState::Active(Account::new(Who::Person(Box::new(person)))))
        }
        (PrincipalState::Active(account), PrincipalEvent::Suspended { reason }) => Ok(PrincipalState::Suspended {
            account,
            reason: reason.clone(),
        }),
        (PrincipalState::Suspended { account, .. }, PrincipalEvent::Resumed {}) => Ok(PrincipalState::Active(account)),
        (PrincipalState::Active(account) | PrincipalState::Suspended { account, .. }, PrincipalEvent::Retired { reason }) => {
            Ok(PrincipalState::Retired {
                kind: account.who.kind(),
                reason: reason.clone(),
            })
        }
        (PrincipalState::Missing | PrincipalState::Device(_), PrincipalEvent::DeviceAsked { request, expires_at }) => {
            Ok(PrincipalState::Device(Box::new(Device {
                request: request.clone(),
                expires_at: *expires_at,
                phase: DevicePhase::Waiting,
            })))
        }
        (PrincipalState::Device(device), event) => {
            let phase = match (&device.phase, event) {
                (
                    DevicePhase::Waiting,
                    PrincipalEvent::DeviceAnswered {
                        login: Some(login),
                        session,
                    },
                ) => DevicePhase::Allowed {
                    login: login.clone(),
                    session: session.clone(),
                },
                (DevicePhase::Waiting, PrincipalEvent::DeviceAnswered { login: None, .. }) => DevicePhase::Refused,
                (DevicePhase::Allowed { .. }, PrincipalEvent::DeviceTaken {}) => DevicePhase::Taken,
                _ => return Err(corrupt(&PrincipalState::Device(device))),
            };
            Ok(PrincipalState::Device(Box::new(Device { phase, ..*device })))
        }
        (mut state, event) => {
            let folded = state.account_mut().and_then(|account| fold(account, event));
            folded.ok_or_else(|| corrupt(&state)).map(|()| state)
        }
    }
}

/// `None` where the event does not fit.
fn fold(account: &mut Account, event: &PrincipalEvent) -> Option<()> {
    match event {
        PrincipalEvent::Created { .. }
        | PrincipalEvent::Registered { .. }
        | PrincipalEvent::Suspended { .. }
        | PrincipalEvent::Resumed {}
        | PrincipalEvent::Retired { .. }
        | PrincipalEvent::DeviceAsked { .. }
        | PrincipalEvent::DeviceAnswered { .. }
        | PrincipalEvent::DeviceTaken {} => None,
        PrincipalEvent::Renamed { name } => {
            owned(account)?.name.clone_from(name);
            Some(())
        }
        PrincipalEvent::OwnerSet { owner } => {
            owned(account)?.owner = owner.clone();
            Some(())
        }
        PrincipalEvent::PublicKeyAdded { id, key } => {
            account.public_keys.insert(id.clone(), key.clone());
            Some(())
        }
        PrincipalEvent::PublicKeyRemoved { id } => account.public_keys.remove(id).map(|_| ()),
        PrincipalEvent::SessionStarted { .. }
        | PrincipalEvent::SessionRedeemed { .. }
        | PrincipalEvent::SessionRefreshed { .. }
        | PrincipalEvent::SessionsEnded { .. } => fold_session(&mut account.sessions, event),
        PrincipalEvent::Named { .. }
        | PrincipalEvent::PasswordSet { .. }
        | PrincipalEvent::AddressAdded { .. }
        | PrincipalEvent::AddressVerified { .. }
        | PrincipalEvent::AddressRemoved { .. }
        | PrincipalEvent::TotpEnrolled { .. }
        | PrincipalEvent::TotpConfirmed { .. }
        | PrincipalEvent::TotpRemoved {}
        | PrincipalEvent::TotpUsed { .. }
        | PrincipalEvent::RecoveryCodeUsed { .. }
        | PrincipalEvent::CodeAsked { .. }
        | PrincipalEvent::CodeUsed { .. }
        | PrincipalEvent::OperatorSet { .. } => match &mut account.who {
            Who::Person(person) => fold_person(person, event),
            Who::Agent(_) | Who::Service(_) => None,
        },
    }
}

fn owned(account: &mut Account) -> Option<&mut Owned> {
    match &mut account.who {
        Who::Agent(owned) | Who::Service(owned) => Some(owned),
        Who::Person(_) => None,
    }
}

fn fold_session(sessions: &mut Vec<Session>, event: &PrincipalEvent) -> Option<()> {
    match event {
        PrincipalEvent::SessionStarted {
            session,
            expires_at,
            refresh,
            code,
            code_until,
        } => {
            let phase = match (code, code_until) {
                (Some(code), Some(until)) => Phase::Pending {
                    code: code.clone(),
                    until: *until,
                },
                (None, None) => Phase::Live {
                    refresh: refresh.map(first),
                    spent: None,
                },
                (Some(_), None) | (None, Some(_)) => return None,
            };
            sessions.push(Session {
                start: session.clone(),
                expires_at: *expires_at,
                phase,
            });
            Some(())
        }
        PrincipalEvent::SessionRedeemed { id, refresh } => {
            let session = sessions.iter_mut().find(|session| session.start.id == *id)?;
            let Phase::Pending { code, .. } = &session.phase else { return None };
            session.phase = Phase::Live {
                refresh: refresh.map(first),
                spent: Some(code.hash),
            };
            Some(())
        }
        PrincipalEvent::SessionRefreshed { id, refresh } => {
            let session = sessions.iter_mut().find(|session| session.start.id == *id)?;
            let Phase::Live { refresh: Some(held), .. } = &mut session.phase else {
                return None;
            };
            held.hash = *refresh;
            held.generation = held.generation.saturating_add(1);
            Some(())
        }
        PrincipalEvent::SessionsEnded { ids, .. } => {
            let before = sessions.len();
            sessions.retain(|session| !ids.contains(&session.start.id));
            (before - sessions.len() == ids.len()).then_some(())
        }
        _ => None,
    }
}

fn first(hash: quipu_schemas::digest::Digest) -> Refresh {
    Refresh { hash, generation: 0 }
}

fn fold_person(person: &mut Person, event: &PrincipalEvent) -> Option<()> {
    match event {
        PrincipalEvent::Named { name } => person.name = Some(name.clone()),
        PrincipalEvent::PasswordSet { phc } => {
            person.password = Some(phc.clone());
            // Whoever has another password has no use for a code that sets one.
            person.codes.retain(|code| code.purpose != MailPurpose::ResetPassword);
        }
        PrincipalEvent::AddressAdded { id, address } => person.addresses.push(Address {
            id: id.clone(),
            address: address.clone(),
            verified: false,
        }),
        PrincipalEvent::AddressVerified { id } => {
            person.addresses.iter_mut().find(|address| address.id == *id)?.verified = true;
        }
        PrincipalEvent::AddressRemoved { id } => {
            let at = person.addresses.iter().position(|address| address.id == *id)?;
            person.addresses.remove(at);
            person.codes.retain(|code| code.address != *id);
        }
        PrincipalEvent::TotpEnrolled { secret } => match &mut person.totp {
            // The old one is asked for until the new one has proved good.
            Totp::On { next, .. } => *next = Some(secret.clone()),
            Totp::Off | Totp::Enrolled(_) => person.totp = Totp::Enrolled(secret.clone()),
        },
        PrincipalEvent::TotpConfirmed { step, recovery } => {
            person.totp = Totp::On {
                secret: person.totp.waiting()?.clone(),
                last_step: *step,
                next: None,
            };
            person.recovery.clone_from(recovery);
        }
        PrincipalEvent::TotpRemoved {} => {
            person.totp = Totp::Off;
            person.recovery.clear();
        }
        PrincipalEvent::TotpUsed { step } => {
            let Totp::On { last_step, .. } = &mut person.totp else {
                return None;
            };
            *last_step = *step;
        }
        PrincipalEvent::RecoveryCodeUsed { hash } => person.recovery.retain(|held| held != hash),
        PrincipalEvent::CodeAsked { code } => {
            person
                .codes
                .retain(|earlier| earlier.purpose != code.purpose || earlier.address != code.address);
            person.codes.push(code.clone());
        }
        PrincipalEvent::CodeUsed { id } => {
            let at = person.codes.iter().position(|code| code.id == *id)?;
            person.codes.remove(at);
        }
        PrincipalEvent::OperatorSet { operator } => person.operator = *operator,
        _ => return None,
    }
    Some(())
}
