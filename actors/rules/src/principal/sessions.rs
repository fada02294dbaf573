//! How sessions begin, are opened, go on and end.

use super::{Account, Decided, Phase, PrincipalRejection, Session};
use crate::decider::Decision;
use quipu_kinds::principal::{PrincipalEvent, RedeemSession, RefreshSession, SessionEnd, SessionStart, StartSession};
use quipu_schemas::{
    constant_time,
    context::Millis,
    digest::Digest,
    ids::EntityId,
    limits::{
        DEVICE_CODE_MS, SESSION_ACTORS_MAX, SESSION_CODE_MS, SESSION_LIFETIME_MAX_MS, SESSION_METHODS_MAX, SESSION_REUSE_MS,
        SESSION_SCOPES_MAX, SESSION_WORD_MAX_CHARS, SESSIONS_MAX,
    },
};

/// What the name of a public key stands behind, among the methods of a session: the thumbprint of RFC 7638.
const KEY_METHOD: &str = "jkt:";

fn ended(ids: Vec<EntityId>, why: SessionEnd) -> Option<PrincipalEvent> {
    (!ids.is_empty()).then_some(PrincipalEvent::SessionsEnded { ids, why })
}

fn ids<'a>(sessions: impl Iterator<Item = &'a Session>) -> Vec<EntityId> {
    sessions.map(|session| session.start.id.clone()).collect()
}

/// Every session ends.
pub(super) fn all_ended(account: &Account, why: SessionEnd) -> Vec<PrincipalEvent> {
    ended(ids(account.sessions.iter()), why).into_iter().collect()
}

/// Those that one of its public keys proved.
pub(super) fn ended_of_key(account: &Account, thumbprint: &str) -> Option<PrincipalEvent> {
    let method = method_of_key(thumbprint);
    let of_key = account.sessions.iter().filter(|session| session.start.amr.contains(&method));
    ended(ids(of_key), SessionEnd::Asked)
}

/// The keys that these methods name: the session is theirs who have them, and no other's.
pub fn keys_of(methods: &[String]) -> impl Iterator<Item = &str> {
    methods.iter().filter_map(|method| method.strip_prefix(KEY_METHOD))
}

/// How a session says by which public key of its principal whoever began it proved who they are: it ends with that key.
pub fn method_of_key(thumbprint: &str) -> String {
    format!("{KEY_METHOD}{thumbprint}")
}

/// Those that wait for their code: nobody has shown one since they were begun.
pub(super) fn waiting_ended(account: &Account, why: SessionEnd) -> Vec<PrincipalEvent> {
    let waiting = account.sessions.iter().filter(|session| session.is_waiting());
    ended(ids(waiting), why).into_iter().collect()
}

/// Those whose time is over.
pub(super) fn expired(account: &Account, now: Millis) -> Vec<PrincipalEvent> {
    let over = account.sessions.iter().filter(|session| now >= session.ends_at());
    ended(ids(over), SessionEnd::Expired).into_iter().collect()
}

/// Ends a session; ending it twice succeeds.
pub(super) fn end(account: &Account, id: &EntityId) -> Decision<PrincipalEvent> {
    let named = account.sessions.iter().filter(|session| session.start.id == *id);
    Decision::all(ended(ids(named), SessionEnd::Asked).into_iter().collect())
}

pub(super) fn start(account: &Account, start: &StartSession, now: Millis) -> Decided {
    check(start)?;
    // It may have been removed since it was compared.
    let mut keys = start.session.amr.iter().filter_map(|method| method.strip_prefix(KEY_METHOD));
    if keys.any(|key| !account.public_keys.contains_key(key)) {
        return Err(PrincipalRejection::UnknownKey);
    }
    let lasts = |session: &Session| session.is_live(now) && session.expires_at >= now.saturating_add(SESSION_REUSE_MS);
    if start.reuse
        && account
            .sessions
            .iter()
            .any(|session| lasts(session) && session.is_like(&start.session))
    {
        return Ok(Decision::Unchanged);
    }
    if account.session(&start.session.id).is_some() {
        return Err(PrincipalRejection::BadSession("id"));
    }
    // What is over makes room before anything else does.
    let mut events = expired(account, now);
    let left: Vec<&Session> = account.sessions.iter().filter(|session| now < session.ends_at()).collect();
    let too_many = (left.len() + 1).saturating_sub(SESSIONS_MAX);
    events.extend(ended(ids(left.into_iter().take(too_many)), SessionEnd::Crowded));
    events.push(PrincipalEvent::SessionStarted {
        session: start.session.clone(),
        expires_at: now.saturating_add(start.lifetime_ms),
        refresh: start.refresh.filter(|_| start.code.is_none()),
        code: start.code.clone(),
        code_until: start
            .code
            .as_ref()
            .map(|_| now.saturating_add(start.waits_ms.unwrap_or(SESSION_CODE_MS))),
    });
    Ok(Decision::Accept(events))
}

fn check(start: &StartSession) -> Result<(), PrincipalRejection> {
    let is_word = |text: &str| !text.is_empty() && text.len() <= SESSION_WORD_MAX_CHARS;
    let is_none_or_word = |text: &Option<String>| text.as_deref().is_none_or(is_word);
    let SessionStart {
        id: _,
        client,
        amr,
        auth_time: _,
        scope,
        audience,
        act,
        parent: _,
    } = &start.session;
    let fields = [
        ("client", is_none_or_word(client)),
        ("amr", amr.len() <= SESSION_METHODS_MAX && amr.iter().all(|method| is_word(method))),
        ("scope", scope.len() <= SESSION_SCOPES_MAX),
        ("audience", is_none_or_word(audience)),
        ("act", act.len() <= SESSION_ACTORS_MAX),
        ("lifetime_ms", (1..=SESSION_LIFETIME_MAX_MS).contains(&start.lifetime_ms)),
        (
            "waits_ms",
            start.waits_ms.is_none_or(|waits_ms| (1..=DEVICE_CODE_MS).contains(&waits_ms)),
        ),
        (
            "code",
            start
                .code
                .as_ref()
                .is_none_or(|code| is_word(&code.challenge) && is_word(&code.redirect_uri)),
        ),
    ];
    match fields.into_iter().find(|(_, is_right)| !is_right) {
        Some((field, _)) => Err(PrincipalRejection::BadSession(field)),
        None => Ok(()),
    }
}

/// The code opens its session once, for whom it was made. Shown again, it ends the session: one of both who had it was a thief.
pub(super) fn redeem(account: &Account, redeem: &RedeemSession, now: Millis) -> Decided {
    let session = account.session(&redeem.id).ok_or(PrincipalRejection::SessionEnded)?;
    if now >= session.ends_at() {
        return Err(PrincipalRejection::SessionEnded);
    }
    let code = match &session.phase {
        Phase::Pending { code, .. } => code,
        Phase::Live { spent: Some(spent), .. } if is_equal(spent, &redeem.code) => {
            return Ok(Decision::all(
                ended(vec![redeem.id.clone()], SessionEnd::CodeReused).into_iter().collect(),
            ));
        }
        Phase::Live { .. } => return Err(PrincipalRejection::WrongSecret),
    };
    if !is_equal(&code.hash, &redeem.code) {
        return Err(PrincipalRejection::WrongSecret);
    }
    let is_for_it = session.start.client == redeem.client && code.redirect_uri == redeem.redirect_uri && code.challenge == redeem.challenge;
    if !is_for_it {
        // The code is out, and whoever shows it is not whom it was made for.
        return Ok(Decision::all(
            ended(vec![redeem.id.clone()], SessionEnd::CodeReused).into_iter().collect(),
        ));
    }
    Ok(Decision::one(PrincipalEvent::SessionRedeemed {
        id: redeem.id.clone(),
        refresh: redeem.refresh,
    }))
}

/// A refresh token is good once. An earlier one, shown again, ends the session with all that came of it.
pub(super) fn refresh(account: &Account, refresh: &RefreshSession, now: Millis) -> Decided {
    let session = account.session(&refresh.id).filter(|session| session.is_live(now));
    let session = session.ok_or(PrincipalRejection::SessionEnded)?;
    let Phase::Live { refresh: Some(held), .. } = &session.phase else {
        return Err(PrincipalRejection::WrongSecret);
    };
    if session.start.client != refresh.client {
        return Err(PrincipalRejection::WrongSecret);
    }
    if is_equal(&held.hash, &refresh.hash) {
        return Ok(Decision::one(PrincipalEvent::SessionRefreshed {
            id: refresh.id.clone(),
            refresh: refresh.new_hash,
        }));
    }
    // The node saw that it was once handed out for this session: a guess does not come so far.
    Ok(Decision::all(
        ended(vec![refresh.id.clone()], SessionEnd::RefreshReused).into_iter().collect(),
    ))
}

pub(super) fn is_equal(a: &Digest, b: &Digest) -> bool {
    constant_time::is_equal(&a.0, &b.0)
}
