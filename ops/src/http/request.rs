//! What handlers take from a request: path parts and a JSON body, each parsed once.

use super::{
    App, Failure,
    guard::client_address::ClientAddress,
    problem::{self, bad_id, clip},
    surface::{Bound, Surface},
};
use crate::{
    asked::fields,
    caller::{Caller, InOrg, Operator, Own, Peer},
};
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use futures::StreamExt;
use quipu_schemas::{
    ids::{EntityId, OrgId},
    limits,
    problem::Problem,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{convert::Infallible, net::IpAddr, time::Duration};

/// Path parts; a part that does not decode is a `400`.
pub struct At<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(parts)| Self(parts))
            .map_err(|e| Failure(Problem::new(400, "bad_path", e.body_text()).fix("percent-encode UTF-8 text in paths")))
    }
}

/// Parses the org of a path.
pub fn org(text: String) -> Result<OrgId, Problem> {
    OrgId::parse(text).map_err(|e| bad_id("org", &e))
}

/// Parses the entity id of a path.
pub fn entity(text: String) -> Result<EntityId, Problem> {
    EntityId::parse(text).map_err(|e| bad_id("id", &e))
}

/// Who asks, as the guard has noted; a route that is behind none serves nobody.
fn caller(parts: &Parts) -> Result<&Caller, Failure> {
    let unguarded = || Failure(problem::internal("this route is behind no guard"));
    parts.extensions.get::<Caller>().ok_or_else(unguarded)
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        caller(parts).cloned()
    }
}

impl FromRequestParts<App> for InOrg {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let At(path) = At::<Vec<(String, String)>>::from_request_parts(parts, app).await?;
        let named = path.into_iter().find(|(name, _)| name == "org");
        let (_, text) = named.ok_or_else(|| problem::internal("this route is within no org"))?;
        Ok(Self::admit(caller(parts)?, org(text)?)?)
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Ok(Self::admit(caller(parts)?)?)
    }
}

impl FromRequestParts<App> for Own {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Ok(Self::admit(caller(parts)?)?)
    }
}

/// From where a request comes, as far as it is known.
pub struct CameFrom(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for CameFrom {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let noted = parts.extensions.get::<ClientAddress>();
        Ok(Self(noted.and_then(|noted| noted.0)))
    }
}

impl FromRequestParts<App> for Peer {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Ok(Self::admit(caller(parts)?)?)
    }
}

/// A JSON object as body; an absent body is an empty one.
pub struct Fields(pub Value);

impl FromRequest<App> for Fields {
    type Rejection = Failure;
    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        plain_encoding(request.headers())?;
        let surface = Surface::of(request.extensions())?;
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|v| v.to_str().unwrap_or("?").to_owned());
        let mut held = app.hold_body();
        let bytes = whole_body(request.into_body(), surface.body, |bytes| held.grow(bytes)).await?;
        fields(kind.as_deref(), &bytes).map(Self).map_err(Failure)
    }
}

/// A body of another node, as it came.
pub struct Forwarded(pub Vec<u8>);

impl FromRequest<App> for Forwarded {
    type Rejection = Failure;
    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let surface = Surface::of(request.extensions())?;
        let mut held = app.hold_body();
        let bytes = whole_body(request.into_body(), surface.body, |bytes| held.grow(bytes)).await?;
        Ok(Self(bytes))
    }
}

/// Refuses a body in any encoding but its own: read as it came, it would be taken for broken JSON.
pub(super) fn plain_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get_all(header::CONTENT_ENCODING).iter();
    let encodings = given.map(|value| value.to_str().unwrap_or("?")).flat_map(|value| value.split(','));
    match encodings.map(str::trim).find(|name| !name.eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(name) => Err(
            Problem::new(415, "unsupported_encoding", format!("the content encoding is `{}`", clip(name)))
                .field("Content-Encoding")
                .fix("send the body as it is, without Content-Encoding"),
        ),
    }
}

/// The body, if it arrives in time and is within its limit.
pub(super) async fn whole_body(body: Body, most: Bound, held: impl FnMut(usize) -> Result<(), Problem>) -> Result<Vec<u8>, Problem> {
    let patience = Duration::from_millis(limits::BODY_READ_MS);
    tokio::time::timeout(patience, bounded_body(body, most, held))
        .await
        .unwrap_or_else(|_elapsed| Err(problem::body_too_slow()))
}

/// The body, if it is within its limit. `held` is told of what arrives, and may refuse it. What is a
/// little over is read to its end all the same: a client that still writes when the connection closes never sees the answer
/// that names the limit.
async fn bounded_body(body: Body, most: Bound, mut held: impl FnMut(usize) -> Result<(), Problem>) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut seen) = (Vec::new(), 0u64);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| Problem::new(400, "bad_body", format!("the body did not arrive whole: {e}")).fix("send it again"))?;
        seen += chunk.len() as u64;
        if seen <= most.most {
            held(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        } else if seen > limits::BODY_DISCARD_MAX_BYTES as u64 {
            break;
        }
    }
    if seen > most.most {
        Err(problem::body_too_large(most.most, most.name))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::surface::GRID;
    use axum::http::HeaderName;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        map
    }

    #[test]
    fn encoded_bodies_are_refused_by_the_name_of_the_header() {
        for plain in [
            &[][..],
            &[("Content-Encoding", "identity")],
            &[("Content-Encoding", "Identity, identity")],
        ] {
            assert!(plain_encoding(&headers(plain)).is_ok());
        }
        for encoded in ["gzip", "zstd", "identity, br", "", "gzip, identity"] {
            let problem = plain_encoding(&headers(&[("Content-Encoding", encoded)])).unwrap_err();
            assert_eq!(
                (problem.status, problem.field.as_deref()),
                (415, Some("Content-Encoding")),
                "{encoded}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_the_clients_fault() {
        let drops = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>("x"), ()))
        });
        let problem = whole_body(Body::from_stream(drops), GRID.body, |_| Ok(())).await.unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (408, "body_too_slow"));
        assert!(!problem.should_retry());
        let whole = Body::from("{}");
        assert_eq!(whole_body(whole, GRID.body, |_| Ok(())).await.unwrap(), b"{}");
    }
}
