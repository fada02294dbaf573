//! `refresh`: asks an OAuth provider for another access token (RFC 6749, section 6). What it gives is sealed before anybody hears of it.

use super::{Attempt, Reach, ending::Ending};
use crate::{
    breaker::Health,
    off_worker::blocking,
    wire::{
        blot::Blot,
        body,
        client::{Outgoing, Redirects, Trouble, trouble},
        egress::authority,
        status::{health_of, may_mend, retry_after_ms},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use quipu_rules::secret::is_own_subject;
use quipu_schemas::{
    limits::{EFFECT_TIMEOUT_MS, SECRET_TOKEN_ANSWER_MAX_BYTES, SECRET_TOKEN_DEFAULT_SECONDS},
    personal::{Opened, SealError, SecretValue},
    reaction::{ClientAuth, Outcome, TokenRefresh},
};
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// What a provider gives (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: Option<String>,
    /// A number by the standard, a text of some.
    expires_in: Option<Value>,
    refresh_token: Option<String>,
}

/// Secrets of one request, in the clear.
struct Clear {
    refresh_token: String,
    client_secret: Option<String>,
}

pub(super) async fn perform(reach: &Reach, attempt: &Attempt, refresh: &TokenRefresh) -> Ending {
    // No entity seals under another's key.
    if !is_own_subject(&attempt.key.stream, &refresh.subject) {
        let detail = format!("the subject is none of {}", attempt.key.stream);
        return Ending::failed("subject_refused", detail, Health::Unknown);
    }
    let clear = match clear(reach, refresh).await {
        Ok(clear) => clear,
        Err(error) => return error.into(),
    };
    let blot = Blot::new(
        [Some(clear.refresh_token.as_str()), clear.client_secret.as_deref()]
            .into_iter()
            .flatten(),
    );
    exchange(reach, refresh, &clear)
        .await
        .unwrap_or_else(|ending| ending)
        .blotted(&blot)
}

async fn clear(reach: &Reach, refresh: &TokenRefresh) -> Result<Clear, SealError> {
    let (keys, refresh) = (reach.keys.clone(), refresh.clone());
    let open = move || {
        let text = |secret: &SecretValue| match secret.open(&*keys)? {
            Opened::Value(text) => Ok(text),
            Opened::Erased => Err(SealError::Erased(secret.subject().to_owned())),
        };
        Ok(Clear {
            refresh_token: text(&refresh.refresh_token)?,
            client_secret: refresh.client_secret.as_ref().map(text).transpose()?,
        })
    };
    blocking(open).await?
}

async fn exchange(reach: &Reach, refresh: &TokenRefresh, clear: &Clear) -> Result<Ending, Ending> {
    let outgoing = outgoing(refresh, clear)?;
    let (url, peer) = (outgoing.url.clone(), authority(&outgoing.url));
    let exchange = async {
        let mut response = reach.client.send(outgoing).await?;
        let body = body::peek(&mut response, SECRET_TOKEN_ANSWER_MAX_BYTES)
            .await
            .map_err(|error| trouble(&error, &url))?;
        Ok::<_, Trouble>((response, body))
    };
    let (response, body) = match tokio::time::timeout(Duration::from_millis(EFFECT_TIMEOUT_MS), exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(trouble)) => return Ok(Ending::of_trouble(trouble, true)),
        Err(_) => {
            let late = Trouble::timeout(&format!("answer from {peer}"), EFFECT_TIMEOUT_MS);
            return Ok(Ending::of_trouble(late, true));
        }
    };
    let status = response.status();
    if !status.is_success() {
        let retry_after = retry_after_ms(response.headers(), (reach.clock)());
        return Ok(refusal(status, &peer, &body, retry_after));
    }
    let given = serde_json::from_slice::<Given>(&body).ok();
    let is_bearer = |given: &Given| given.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    let Some(given) = given.filter(|given| !given.access_token.is_empty() && is_bearer(given)) else {
        let detail = format!("{peer} answered {} without a bearer token", status.as_u16());
        return Ok(Ending::failed("token_answer", detail, health_of(status)));
    };
    Ok(sealed(reach, refresh, given).await.unwrap_or_else(Ending::from))
}

fn outgoing(refresh: &TokenRefresh, clear: &Clear) -> Result<Outgoing, Ending> {
    let refused = || {
        Ending::of_trouble(
            Trouble::refused("url_refused", "the token URL is not an absolute http or https URL"),
            true,
        )
    };
    let url = Url::parse(&refresh.token_url).map_err(|_| refused())?;
    let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", clear.refresh_token.as_str())];
    let scopes = refresh.scopes.join(" ");
    if !scopes.is_empty() {
        fields.push(("scope", &scopes));
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    match (&clear.client_secret, refresh.client_auth) {
        (Some(secret), ClientAuth::Basic) => {
            // Both parts are form-encoded first (RFC 6749, section 2.3.1).
            let pair = format!("{}:{}", encoded(&refresh.client_id), encoded(secret));
            let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)));
            let mut value = value.map_err(|_| refused())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        (Some(secret), ClientAuth::Post) => fields.extend([("client_id", refresh.client_id.as_str()), ("client_secret", secret)]),
        (None, _) => fields.push(("client_id", &refresh.client_id)),
    }
    Ok(Outgoing {
        method: Method::POST,
        url,
        headers,
        confidential: vec![AUTHORIZATION],
        body: Some(form(&fields).into()),
        // A token endpoint that moves would be given the refresh token.
        redirects: Redirects::Answer,
    })
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form.invalid").expect("a URL");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

fn encoded(text: &str) -> String {
    form(&[("", text)]).trim_start_matches('=').to_owned()
}

/// An answer that gives nothing. What the provider says by the standard is final.
fn refusal(status: StatusCode, peer: &str, body: &[u8], retry_after: Option<u64>) -> Ending {
    let said = serde_json::from_slice::<Value>(body).ok();
    let word = said.as_ref().and_then(|said| said["error"].as_str());
    let word = word.filter(|word| word.len() <= 40 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    match word {
        Some(word) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS && !may_mend(status, true) => Ending::failed(
            format!("oauth_{word}"),
            format!("{peer} answered {} ({word})", status.as_u16()),
            Health::Up,
        ),
        word => Ending::of_status(status, peer, word, retry_after, true),
    }
}

/// The tokens, sealed under the connection's key.
async fn sealed(reach: &Reach, refresh: &TokenRefresh, given: Given) -> Result<Ending, SealError> {
    let seconds = given
        .expires_in
        .as_ref()
        .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let (keys, subject) = (reach.keys.clone(), refresh.subject.clone());
    let seal = move || {
        let seal = |text: &String| SecretValue::seal(text, &subject, &*keys);
        Ok::<_, SealError>(Outcome::Refreshed {
            access_token: seal(&given.access_token)?,
            refresh_token: given.refresh_token.as_ref().filter(|text| !text.is_empty()).map(seal).transpose()?,
            expires_in_seconds: seconds.unwrap_or(SECRET_TOKEN_DEFAULT_SECONDS),
        })
    };
    let outcome = blocking(seal).await??;
    Ok(Ending::done(outcome, Health::Up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_as_the_standard_says() {
        assert_eq!(form(&[("scope", "a b"), ("x", "1&2=ü")]), "scope=a+b&x=1%262%3D%C3%BC");
        assert_eq!(encoded("a:b c%"), "a%3Ab+c%25");
    }

    #[test]
    fn what_a_provider_refuses_by_the_standard_is_final() {
        let of = |status: u16, body: &str| refusal(StatusCode::from_u16(status).unwrap(), "p:443", body.as_bytes(), None);
        let Ending::Done(outcome, _) = of(400, r#"{"error":"invalid_grant","error_description":"sk-leak"}"#) else {
            panic!()
        };
        let Outcome::Failed { code, detail } = *outcome else { panic!() };
        assert_eq!(code, "oauth_invalid_grant");
        assert!(!detail.contains("sk-leak"), "{detail}");
        for (status, body) in [(503, r#"{"error":"temporarily_unavailable"}"#), (429, "{}"), (500, "")] {
            assert!(matches!(of(status, body), Ending::Again { .. }), "{status}");
        }
        let Ending::Done(outcome, _) = of(404, "<html>") else { panic!() };
        assert!(matches!(*outcome, Outcome::Failed { ref code, .. } if code == "status_404"));
    }
}
