//! Assertions: what a client, or a principal itself, signs to show who it is (RFC 7523).

use crate::http::App;
use quipu_runtime::tokens::{ClientKey, Jws};
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    jwk::PublicJwk,
    limits::{ASSERTION_EXPIRY_MAX_MS, ASSERTION_LIFETIME_MAX_MS, ASSERTION_SKEW_MS, TOKEN_MAX_BYTES},
};
use serde::Deserialize;

/// How it is called in a form.
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn parse(assertion: &str) -> Option<Jws<'_>> {
    (assertion.len() <= TOKEN_MAX_BYTES).then(|| Jws::parse(assertion).ok()).flatten()
}

/// Who an assertion says it is of; nothing of it is checked.
pub(super) fn signer(assertion: &str) -> Option<String> {
    Some(parse(assertion)?.unverified::<Assertion>()?.sub)
}

/// Which of these keys signed this as this name, for this node, now, and for the first time.
pub(super) fn signed_by<'a>(
    app: &App,
    keys: impl IntoIterator<Item = &'a PublicJwk>,
    name: &str,
    assertion: &str,
) -> Option<&'a PublicJwk> {
    let node = app.accounts();
    let jws = parse(assertion)?;
    let mut tried = keys.into_iter();
    let (key, said) = tried.find_map(|key| Some((key, jws.verified::<Assertion>(&ClientKey::of(key)?).ok()?)))?;
    let (issuer, now) = (node.issuer(), node.now());
    let is_for_us = said.aud.names().any(|aud| aud == issuer || aud == format!("{issuer}/oauth/token"));
    let until = said.until(now)?;
    let digest = Digest::of(&[b"assertion", name.as_bytes(), said.jti.as_bytes()]);
    let is_right = said.iss == name && said.sub == name && is_for_us;
    (is_right && node.tokens().is_first(digest, until, now)).then_some(key)
}

/// What an assertion says.
#[derive(Deserialize)]
struct Assertion {
    iss: String,
    sub: String,
    aud: Audience,
    exp: Millis,
    #[serde(default)]
    nbf: Option<Millis>,
    #[serde(default)]
    iat: Option<Millis>,
    jti: String,
}

impl Assertion {
    /// Until when it counts, if it counts now. Libraries sign for up to an hour; from when it was made on, minutes are enough here, and that is how
    /// long it has to be remembered.
    fn until(&self, now: Millis) -> Option<Millis> {
        let at = |seconds: Millis| seconds.saturating_mul(1_000);
        let said = at(self.exp);
        let until = self
            .iat
            .map_or(said, |made| said.min(at(made).saturating_add(ASSERTION_LIFETIME_MAX_MS)));
        let is_near = until <= now.saturating_add(ASSERTION_LIFETIME_MAX_MS + ASSERTION_SKEW_MS);
        let is_sane = said <= now.saturating_add(ASSERTION_EXPIRY_MAX_MS + ASSERTION_SKEW_MS);
        (now < until && is_near && is_sane && self.nbf.is_none_or(|from| from <= now / 1_000)).then_some(until)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_assertion_counts_for_minutes_whatever_it_says() {
        let now = 1_000_000_000;
        let until = |exp: Millis, iat: Option<Millis>, nbf: Option<Millis>| {
            let said = json!({ "iss": "acme.ci", "sub": "acme.ci", "aud": "x", "jti": "1", "exp": exp, "iat": iat, "nbf": nbf });
            serde_json::from_value::<Assertion>(said).unwrap().until(now)
        };
        let (at, made) = (now / 1_000, Some(now / 1_000));
        assert_eq!(until(at + 60, None, None), Some(now + 60_000));
        assert_eq!(until(at + 60, made, made), Some(now + 60_000));
        // An hour is what some libraries say.
        assert_eq!(until(at + 3_600, made, None), Some(now + ASSERTION_LIFETIME_MAX_MS));
        assert_eq!(until(at + 3_600, Some(at - 599), None), Some(now + 1_000));
        for (exp, iat, nbf) in [
            (at, None, None),
            (at + 3_600, Some(at - 600), None),
            (at + 3_600, None, None),
            (at + 3_600, Some(at + 61), None),
            (at + 3_661, made, None),
            (at + 60, made, Some(at + 1)),
            (Millis::MAX, None, None),
            (Millis::MAX, Some(Millis::MAX), None),
        ] {
            assert_eq!(until(exp, iat, nbf), None, "{exp} {iat:?} {nbf:?}");
        }
    }
}
