//! Forms: each field once, within bounds, and who sent it.

use super::failure::refused;
use crate::http::{
    App, Failure,
    guard::client_address::ClientAddress,
    request::{plain_encoding, whole_body},
    surface::Surface,
};
use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use quipu_schemas::limits::FORM_FIELDS_MAX;
use reqwest::Url;
use std::net::IpAddr;

/// Fields by name. One that is empty counts as not given.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Takes `name=value&…` apart.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let broken = || refused("invalid_request", "the parameters do not parse");
        let mut url = Url::parse("http://form.invalid/").map_err(|_| broken())?;
        url.set_query(Some(text));
        let mut fields = Vec::new();
        for (name, value) in url.query_pairs().filter(|(_, value)| !value.is_empty()) {
            if fields.len() == FORM_FIELDS_MAX || fields.iter().any(|(known, _)| *known == name) {
                return Err(refused("invalid_request", "a parameter is given twice, or there are too many"));
            }
            if value.contains('\u{fffd}') || value.contains('\0') {
                return Err(broken());
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(fields))
    }

    /// A field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A field that must be there.
    pub(super) fn need(&self, name: &'static str) -> Result<&str, Failure> {
        self.get(name)
            .ok_or_else(|| refused("invalid_request", format!("{name} is missing")))
    }
}

/// `name=value&…` of these.
pub(super) fn encoded<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let Ok(mut url) = Url::parse("http://form.invalid/") else {
        return String::new();
    };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

/// A form that was sent.
pub(super) struct Posted {
    /// Its fields.
    pub(super) fields: Fields,
    /// The headers that came with it.
    pub(super) headers: HeaderMap,
    /// From where.
    pub(super) from: Option<IpAddr>,
}

impl FromRequest<App> for Posted {
    type Rejection = Failure;
    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        plain_encoding(request.headers())?;
        let surface = Surface::of(request.extensions())?;
        let from = request.extensions().get::<ClientAddress>().and_then(|noted| noted.0);
        let headers = request.headers().clone();
        let media = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(refused("invalid_request", "the body must be application/x-www-form-urlencoded"));
        }
        if request.uri().query().is_some_and(|query| !query.is_empty()) {
            // What stands in an address is written to logs.
            return Err(refused("invalid_request", "parameters belong in the body"));
        }
        let mut held = app.hold_body();
        let bytes = whole_body(request.into_body(), surface.body, |bytes| held.grow(bytes)).await?;
        let text = String::from_utf8(bytes).map_err(|_| refused("invalid_request", "the body is not text"))?;
        let fields = Fields::parse(&text)?;
        Ok(Self { fields, headers, from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_each_comes_once() {
        let fields = Fields::parse("a=1+2&b=%26%3D&empty=&c=%C3%A9").unwrap();
        assert_eq!(
            (fields.get("a"), fields.get("b"), fields.get("c")),
            (Some("1 2"), Some("&="), Some("\u{e9}"))
        );
        assert_eq!((fields.get("empty"), fields.get("d")), (None, None));
        for text in ["a=1&a=2", "a=1&%61=2", "a=%ff", "a=%00"] {
            let refused = Fields::parse(text).unwrap_err();
            assert_eq!(refused.0.code, "invalid_request", "{text}");
        }
        let many: String = (0..=FORM_FIELDS_MAX).map(|n| format!("f{n}=x&")).collect();
        assert!(Fields::parse(&many).is_err());
        let text = encoded([("state", "a b&c=\u{e9}"), ("iss", "https://q.example")]);
        let back = Fields::parse(&text).unwrap();
        assert_eq!(
            (back.get("state"), back.get("iss")),
            (Some("a b&c=\u{e9}"), Some("https://q.example"))
        );
    }
}
