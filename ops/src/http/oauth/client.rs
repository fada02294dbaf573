//! Who a client is, by exactly one of the ways that it was registered for. Whatever is wrong, the answer is the same.

use super::{
    assertion::{self, signer},
    failure::refused,
    form::{Fields, Posted},
};
use crate::http::{App, Failure};
use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use quipu_kinds::application::ClientAuthentication;
use quipu_runtime::clients::App as Application;
use quipu_schemas::{
    client_secret::{ClientId, ClientSecret},
    ids::Home,
};

/// A client that has shown who it is.
pub(super) struct Client {
    /// Its name.
    pub(super) id: ClientId,
    /// What it is and may do.
    pub(super) app: Application,
}

/// How a client says who it is.
enum Shown {
    Nothing(String),
    Basic(String, String),
    Post(String, String),
    Signed(String),
}

pub(super) fn unknown() -> Failure {
    refused("invalid_client", "no such client, or not by what was shown")
}

/// An assertion, and the principal that it says it is of, where that is no client: nothing of it is checked yet.
pub(super) fn principal(posted: &Posted) -> Result<Option<(Home, String)>, Failure> {
    let Shown::Signed(assertion) = Shown::read(&posted.headers, &posted.fields)? else {
        return Ok(None);
    };
    let home = signer(&assertion).and_then(|name| name.parse().ok());
    Ok(home.map(|home| (home, assertion)))
}

impl Client {
    /// Finds the client of a request.
    pub(super) fn of(app: &App, posted: &Posted) -> Result<Self, Failure> {
        let shown = Shown::read(&posted.headers, &posted.fields)?;
        let id = shown.client()?;
        if posted.fields.get("client_id").is_some_and(|named| named != id.to_string()) {
            return Err(unknown());
        }
        let found = Self::named(app, &id)?.ok_or_else(unknown)?;
        let is_itself = match (&shown, found.app.is.authentication) {
            (Shown::Nothing(_), ClientAuthentication::None) => true,
            (Shown::Basic(_, secret), ClientAuthentication::ClientSecretBasic)
            | (Shown::Post(_, secret), ClientAuthentication::ClientSecretPost) => found.knows(app, secret),
            (Shown::Signed(assertion), ClientAuthentication::PrivateKeyJwt) => {
                assertion::signed_by(app, &found.app.is.keys, &id.to_string(), assertion).is_some()
            }
            _ => false,
        };
        if is_itself { Ok(found) } else { Err(unknown()) }
    }

    /// The client of this name, if it gets tokens; who asks has shown nothing yet.
    pub(super) fn named(app: &App, id: &ClientId) -> Result<Option<Self>, Failure> {
        let state = app.accounts().application(id)?;
        let active = state.as_ref().and_then(|state| state.active()).cloned();
        Ok(active.map(|app| Self { id: id.clone(), app }))
    }

    fn knows(&self, app: &App, secret: &str) -> bool {
        let Ok(secret) = ClientSecret::parse(secret) else { return false };
        let node = app.accounts();
        secret.client == self.id && self.app.knows_secret(&node.client_secret_hash(&secret).0, node.now())
    }

    /// Whether it shows who it is at all.
    pub(super) fn is_confidential(&self) -> bool {
        self.app.is.authentication != ClientAuthentication::None
    }
}

impl Shown {
    fn read(headers: &HeaderMap, fields: &Fields) -> Result<Self, Failure> {
        let basic = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let (secret, assertion) = (fields.get("client_secret"), fields.get("client_assertion"));
        if [basic.is_some(), secret.is_some(), assertion.is_some()]
            .iter()
            .filter(|given| **given)
            .count()
            > 1
        {
            return Err(refused("invalid_request", "a client shows who it is in one way"));
        }
        if let Some(basic) = basic {
            let (user, password) = parse_basic(basic).ok_or_else(unknown)?;
            return Ok(Self::Basic(user, password));
        }
        if let Some(assertion) = assertion {
            if fields.get("client_assertion_type") != Some(assertion::TYPE) {
                return Err(refused("invalid_request", "client_assertion_type is missing or not jwt-bearer"));
            }
            return Ok(Self::Signed(assertion.to_owned()));
        }
        let id = fields.get("client_id").ok_or_else(unknown)?.to_owned();
        Ok(match secret {
            Some(secret) => Self::Post(id, secret.to_owned()),
            None => Self::Nothing(id),
        })
    }

    /// Who it says that it is.
    fn client(&self) -> Result<ClientId, Failure> {
        let name = match self {
            Self::Nothing(id) | Self::Basic(id, _) | Self::Post(id, _) => id.clone(),
            Self::Signed(assertion) => signer(assertion).ok_or_else(unknown)?,
        };
        name.parse().map_err(|_| unknown())
    }
}

/// User and password, each encoded like a field of a form (RFC 6749, 2.3.1).
fn parse_basic(given: &str) -> Option<(String, String)> {
    let (scheme, encoded) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    let decode = |part: &str| {
        let fields = Fields::parse(&format!("x={part}")).ok()?;
        fields.get("x").map(str::to_owned)
    };
    Some((decode(user)?, decode(password)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_decoded_as_a_form_is() {
        let basic = |text: &str| parse_basic(&format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(basic("acme.app_1:qps_x"), Some(("acme.app_1".into(), "qps_x".into())));
        assert_eq!(basic("acme%2Eapp_1:a%3Ab"), Some(("acme.app_1".into(), "a:b".into())));
        for text in ["", "acme", ":", "acme.app:a&x=b"] {
            assert_eq!(basic(text), None, "{text}");
        }
        assert_eq!(parse_basic("Bearer x"), None);
        assert_eq!(parse_basic("Basic !"), None);
    }

    #[test]
    fn a_client_shows_who_it_is_in_one_way() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "Basic eDp5".parse().unwrap());
        for (headers, form) in [
            (headers, "client_id=x&client_secret=y"),
            (HeaderMap::new(), "client_secret=y&client_assertion=z"),
        ] {
            let refused = Shown::read(&headers, &Fields::parse(form).unwrap()).err().unwrap();
            assert_eq!(refused.0.code, "invalid_request");
        }
        let refused = Shown::read(&HeaderMap::new(), &Fields::default()).err().unwrap();
        assert_eq!((refused.0.status, refused.0.code.as_str()), (401, "invalid_client"));
    }
}
