//! `quipu login --device`: somebody signs in with a browser elsewhere, and this terminal shows them a short code for it (RFC 8628).

use super::super::failure::Failure;
use crate::{app::accounts::CLIENT, client::Client, http::DEVICE_GRANT, profiles::Profile};
use quipu_schemas::limits::DEVICE_POLL_SECONDS;
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    time::Duration,
};

/// Waits until somebody lets this terminal in.
pub(super) async fn log_in(url: &str, scope: Option<&str>) -> Result<Profile, Failure> {
    let client = Client::new(url, "")?;
    let mut asked = vec![("client_id", CLIENT)];
    asked.extend(scope.map(|scope| ("scope", scope)));
    let (status, codes) = client.form("/oauth/device_authorization", &asked).await?;
    if status != 200 {
        return Err(refused(&codes));
    }
    let text = |name: &str| codes[name].as_str().ok_or(crate::profiles::ProfileError::Odd);
    let (page, user_code, device_code) = (text("verification_uri")?, text("user_code")?, text("device_code")?);
    // An answer for programs stands alone.
    let mut err = io::stderr().lock();
    writeln!(err, "Open {page} in a browser, sign in there, and type {user_code}").map_err(Failure::of_write)?;
    drop(err);
    let mut wait_s = codes["interval"].as_u64().unwrap_or(DEVICE_POLL_SECONDS);
    let asked = [("grant_type", DEVICE_GRANT), ("client_id", CLIENT), ("device_code", device_code)];
    let tokens = loop {
        tokio::time::sleep(Duration::from_secs(wait_s)).await;
        let (status, answer) = client.form("/oauth/token", &asked).await?;
        match answer["error"].as_str() {
            None if status == 200 => break answer,
            Some("authorization_pending" | "temporarily_unavailable") => {}
            Some("slow_down") => wait_s += DEVICE_POLL_SECONDS,
            _ => return Err(refused(&answer)),
        }
    };
    let token = tokens["access_token"].as_str().ok_or(crate::profiles::ProfileError::Odd)?;
    let me = Client::new(url, token)?.get("/v1/me", &[]).await?.body;
    Ok(Profile::of(&json!({
        "principal": me["principal"],
        "session": me["session"]["id"],
        "expires_in": tokens["expires_in"],
        "access_token": token,
        "refresh_token": tokens["refresh_token"],
    }))?)
}

fn refused(answer: &Value) -> Failure {
    let said = answer["error_description"].as_str().or(answer["error"].as_str());
    Failure::Failed(format!("the node let nobody in: {}", said.unwrap_or("it did not say why")))
}
