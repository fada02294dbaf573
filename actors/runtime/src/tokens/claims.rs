//! What tokens say, as it is used here and as it stands in them.

use super::TokenRefused;
use quipu_schemas::{
    context::Millis,
    ids::{EntityId, Home, OrgId, PrincipalId},
    limits::{TOKEN_ACTORS_MAX, TOKEN_AUDIENCE_MAX_CHARS, TOKEN_LIFETIME_MAX_MS, TOKEN_METHODS_MAX, TOKEN_SCOPES_MAX},
    rights::Pattern,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Scopes of OpenID Connect and OAuth that are not rights in an org, and the capabilities by which they are kept beside rights.
const NAMED: [(&str, &str); 4] = [
    ("openid", "cap:openid.sign_in"),
    ("profile", "cap:openid.profile"),
    ("email", "cap:openid.email"),
    ("offline_access", "cap:openid.refresh"),
];

/// A text that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    /// One of its words is not a right.
    #[error("`{0}` is not a scope")]
    Word(String),
    /// It names too many.
    #[error("a scope names at most {TOKEN_SCOPES_MAX} rights")]
    TooMany,
}

/// The rights that a scope names, each once: words parted by single spaces.
pub fn scope_of(text: &str) -> Result<Vec<Pattern>, BadScope> {
    let word = |word: &str| {
        let named = NAMED.iter().find(|(name, _)| *name == word).map(|(_, right)| *right);
        let bad = |_| BadScope::Word(word.chars().take(100).collect());
        named.unwrap_or(word).parse::<Pattern>().map_err(bad)
    };
    let mut seen = BTreeSet::new();
    for text in text.split(' ').filter(|word| !word.is_empty()) {
        seen.insert(word(text)?);
        if seen.len() > TOKEN_SCOPES_MAX {
            return Err(BadScope::TooMany);
        }
    }
    Ok(seen.into_iter().collect())
}

/// The text of a scope.
pub fn scope_text(scope: &[Pattern]) -> String {
    let word = |pattern: &Pattern| {
        let text = pattern.to_string();
        let named = NAMED.iter().find(|(_, right)| *right == text).map(|(name, _)| (*name).to_owned());
        named.unwrap_or(text)
    };
    scope.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// How tokens name a principal: a person by the id alone, others by `ORG/ID`.
pub fn subject_text(home: &Home) -> String {
    if home.org == OrgId::PLATFORM {
        home.id.to_string()
    } else {
        format!("{}/{}", home.org, home.id)
    }
}

/// Whom a token names. A person is nobody's service, and nobody but people is of the platform.
pub fn subject_of(text: &str) -> Option<Home> {
    let (org, id) = match text.split_once('/') {
        // Each has one name: a person's is the id alone.
        Some(("_platform", _)) => return None,
        Some((org, id)) => (OrgId::parse(org).ok()?, id),
        None => (OrgId::PLATFORM, text),
    };
    let id = PrincipalId::parse(id).ok()?;
    let home = Home { org, id };
    (home.id.is_person() == (home.org == OrgId::PLATFORM)).then_some(home)
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaims {
    /// For whom it is: the node's issuer, or another resource.
    pub aud: String,
    /// Who acts.
    pub home: Home,
    /// The one org that it is for, where it is for one.
    pub org: Option<OrgId>,
    /// The session that it belongs to.
    pub sid: EntityId,
    /// Its own name.
    pub jti: String,
    /// What it may be used for at most; everything that its principal may where there is none.
    pub scope: Vec<Pattern>,
    /// The client that it was issued to.
    pub client_id: String,
    /// Who acts for the principal, the one that acts now first.
    pub act: Vec<Home>,
    /// How the principal proved who they are.
    pub amr: Vec<String>,
    /// When they did, in seconds.
    pub auth_time: Option<u64>,
    /// When it was issued, in seconds.
    pub iat: u64,
    /// When it ends, in seconds; the moment itself is outside.
    pub exp: u64,
}

impl AccessClaims {
    /// Refuses before and after its time.
    pub(super) fn check_time(&self, not_before: Option<u64>, now: Millis) -> Result<(), TokenRefused> {
        let at = now / 1_000;
        if at >= self.exp {
            return Err(TokenRefused::Expired);
        }
        if not_before.is_some_and(|from| at < from) || self.exp.saturating_sub(self.iat) > TOKEN_LIFETIME_MAX_MS / 1_000 {
            return Err(TokenRefused::NotYet);
        }
        Ok(())
    }
}

/// What an ID token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdClaims {
    /// The client that it is for.
    pub client_id: String,
    /// Who logged in.
    pub home: Home,
    /// The session.
    pub sid: EntityId,
    /// What the client sent along with its request.
    pub nonce: Option<String>,
    /// How they proved who they are.
    pub amr: Vec<String>,
    /// When they did, in seconds.
    pub auth_time: u64,
    /// When it was issued, in seconds.
    pub iat: u64,
    /// When it ends, in seconds.
    pub exp: u64,
}

impl IdClaims {
    pub(super) fn wire(&self, issuer: &str) -> Value {
        let mut claims = json!({
            "iss": issuer,
            "sub": subject_text(&self.home),
            "aud": self.client_id,
            "sid": self.sid,
            "amr": self.amr,
            "auth_time": self.auth_time,
            "iat": self.iat,
            "exp": self.exp,
        });
        if let (Some(nonce), Some(fields)) = (&self.nonce, claims.as_object_mut()) {
            fields.insert("nonce".into(), nonce.as_str().into());
        }
        claims
    }
}

/// An actor, and who acted before it (RFC 8693).
#[derive(Debug, Serialize, Deserialize)]
struct Actor {
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Box<Actor>>,
}

/// Claims as they stand in the token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wire {
    iss: String,
    aud: String,
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org: Option<OrgId>,
    sid: EntityId,
    jti: String,
    /// Without one the token is not cut; an empty one says nothing, and is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Box<Actor>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    amr: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    iat: u64,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
}

fn nested(act: &[Home]) -> Option<Box<Actor>> {
    act.iter().rev().fold(None, |inner, home| {
        Some(Box::new(Actor {
            sub: subject_text(home),
            act: inner,
        }))
    })
}

/// Who acts for a principal, as tokens and answers about them tell it (RFC 8693).
pub fn act_of(act: &[Home]) -> Option<Value> {
    nested(act).and_then(|actor| serde_json::to_value(actor).ok())
}

impl Wire {
    pub(super) fn of(claims: &AccessClaims, issuer: &str) -> Self {
        Self {
            iss: issuer.to_owned(),
            aud: claims.aud.clone(),
            sub: subject_text(&claims.home),
            org: claims.org.clone(),
            sid: claims.sid.clone(),
            jti: claims.jti.clone(),
            scope: (!claims.scope.is_empty()).then(|| scope_text(&claims.scope)),
            client_id: claims.client_id.clone(),
            act: nested(&claims.act),
            amr: claims.amr.clone(),
            auth_time: claims.auth_time,
            iat: claims.iat,
            exp: claims.exp,
            nbf: None,
        }
    }

    /// Issuer, from when it is valid, and claims; `None` where they are not what the node issues.
    pub(super) fn read(self) -> Option<(String, Option<u64>, AccessClaims)> {
        let scope = match &self.scope {
            None => Vec::new(),
            Some(text) => scope_of(text).ok().filter(|scope| !scope.is_empty())?,
        };
        let mut act = Vec::new();
        let mut actor = self.act;
        while let Some(inner) = actor {
            if act.len() == TOKEN_ACTORS_MAX {
                return None;
            }
            act.push(subject_of(&inner.sub)?);
            actor = inner.act;
        }
        if self.amr.len() > TOKEN_METHODS_MAX || self.aud.len() > TOKEN_AUDIENCE_MAX_CHARS {
            return None;
        }
        let claims = AccessClaims {
            aud: self.aud,
            home: subject_of(&self.sub)?,
            org: self.org,
            sid: self.sid,
            jti: self.jti,
            scope,
            client_id: self.client_id,
            act,
            amr: self.amr,
            auth_time: self.auth_time,
            iat: self.iat,
            exp: self.exp,
        };
        Some((self.iss, self.nbf, claims))
    }
}
