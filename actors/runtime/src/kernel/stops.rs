//! Whether what a record asked for may still leave: whoever it is done as may have been stopped since, or what they showed.
//!
//! An org that is suspended holds everything of it back. Here it is one principal, one credential or one client.

use super::{
    cause::Cause,
    principals::{KnownPrincipal, Standing},
    refusals::{CREDENTIAL_ENDED, PRINCIPAL_RETIRED},
    rights::KnownKey,
};
use quipu_rules::{application::ApplicationState, rights::CREDENTIAL_REVOKED};
use quipu_schemas::{
    client_secret::ClientId,
    context::Millis,
    ids::{EntityId, Home, OrgId},
    limits::SESSION_ACTORS_MAX,
};
use std::sync::Arc;

/// What becomes of something that has not left yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It goes.
    Goes,
    /// It waits until somebody is resumed.
    Waits,
    /// It never goes.
    Ends(Ending),
}

/// Why something never goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Code, as a refused command has it.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl Stop {
    fn ends(code: &'static str, detail: String) -> Self {
        Self::Ends(Ending { code, detail })
    }

    /// Both of them: what never goes does not wait.
    #[must_use]
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ends(ending), _) | (_, Self::Ends(ending)) => Self::Ends(ending),
            (Self::Waits, _) | (_, Self::Waits) => Self::Waits,
            (Self::Goes, Self::Goes) => Self::Goes,
        }
    }
}

/// Something could not be looked up now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// Looks up what is asked for here; `None` where nobody or nothing is there.
pub trait Look {
    /// A principal.
    fn principal(&mut self, home: &Home, session: Option<&EntityId>) -> Result<Option<Arc<KnownPrincipal>>, Unknown>;
    /// A key of an org.
    fn key(&mut self, org: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, Unknown>;
    /// A client.
    fn application(&mut self, client: &ClientId) -> Result<Option<ApplicationState>, Unknown>;
}

/// Whether what this caused in an org may leave now. What cannot be looked up waits.
pub fn stop_of(cause: &Cause, org: &OrgId, now: Millis, look: &mut dyn Look) -> Stop {
    asked(cause, org, now, look).unwrap_or(Stop::Waits)
}

fn asked(cause: &Cause, org: &OrgId, now: Millis, look: &mut dyn Look) -> Result<Stop, Unknown> {
    let mut stop = Stop::Goes;
    for who in [Some(&cause.principal), cause.on_behalf_of.as_ref()].into_iter().flatten() {
        stop = stop.and(of_principal(&cause.home_of(org, who), None, look)?);
    }
    let Some(credential) = &cause.credential else { return Ok(stop) };
    let of_credential = match (credential.api_key(), credential.session()) {
        (Some(id), _) => of_key(cause.home.as_ref().unwrap_or(org), id, look)?,
        (None, Some(id)) => of_session(&cause.home_of(org, &cause.principal), id, now, look)?,
        (None, None) => Stop::Goes,
    };
    Ok(stop.and(of_credential))
}

fn of_principal(home: &Home, session: Option<&EntityId>, look: &mut dyn Look) -> Result<Stop, Unknown> {
    if home.id.is_platform() {
        return Ok(Stop::Goes);
    }
    // Of a name that no principal has nothing is known.
    let known = look.principal(home, session)?;
    Ok(match known.map(|known| known.standing) {
        None | Some(Standing::Active) => Stop::Goes,
        Some(Standing::Suspended) => Stop::Waits,
        Some(Standing::Retired) => Stop::ends(PRINCIPAL_RETIRED, format!("principal {} is gone for good", home.id)),
    })
}

fn of_key(org: &OrgId, id: &EntityId, look: &mut dyn Look) -> Result<Stop, Unknown> {
    let key = look.key(org, id)?;
    Ok(if key.is_some_and(|key| key.ends_what_it_caused()) {
        let detail = format!("key {id}, by which this was caused, was revoked with all that it caused");
        Stop::ends(CREDENTIAL_REVOKED, detail)
    } else {
        Stop::Goes
    })
}

/// A session, all that it was made from, whoever acts by one of them, and the clients that began them. One that has ended stops nothing.
fn of_session(home: &Home, id: &EntityId, now: Millis, look: &mut dyn Look) -> Result<Stop, Unknown> {
    let (mut stop, mut next) = (Stop::Goes, Some((home.clone(), id.clone())));
    for _ in 0..=SESSION_ACTORS_MAX {
        let Some((home, id)) = next.take() else { break };
        stop = stop.and(of_principal(&home, Some(&id), look)?);
        let known = look.principal(&home, Some(&id))?;
        let Some(session) = known.as_ref().and_then(|known| known.session(&id, now)) else {
            break;
        };
        for actor in &session.act {
            stop = stop.and(of_principal(actor, None, look)?);
        }
        stop = stop.and(of_client(session.org_client(), look)?);
        next = session.parent.as_ref().map(|parent| (parent.home.clone(), parent.session.clone()));
    }
    Ok(stop)
}

/// The client of an org that began a session.
fn of_client(client: Option<ClientId>, look: &mut dyn Look) -> Result<Stop, Unknown> {
    let Some(client) = client else { return Ok(Stop::Goes) };
    Ok(match look.application(&client)? {
        Some(ApplicationState::Active(_)) => Stop::Goes,
        Some(ApplicationState::Suspended { .. }) => Stop::Waits,
        None | Some(ApplicationState::Missing | ApplicationState::Retired { .. }) => {
            Stop::ends(CREDENTIAL_ENDED, format!("application {client} is gone for good"))
        }
    })
}

#[cfg(test)]
mod tests;
