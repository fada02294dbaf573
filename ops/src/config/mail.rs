//! Where letters go.

use super::{ConfigError, wrong};
use quipu_runtime::{
    performers::{MailConfig, MailTls},
    secrets::{SecretSource, Secrets},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mail {
    pub(super) server: String,
    pub(super) tls: String,
    pub(super) from: String,
    pub(super) user: String,
    pub(super) password: String,
}
impl Default for Mail {
    fn default() -> Self {
        Self {
            server: String::new(),
            tls: "starttls".into(),
            from: String::new(),
            user: String::new(),
            password: String::new(),
        }
    }
}

/// The mail server, where one is named.
pub(super) fn mail(written: &Mail, public_url: &str, secrets: &Secrets) -> Result<Option<MailConfig>, ConfigError> {
    if written.server.is_empty() {
        return Ok(None);
    }
    let tls = match written.tls.as_str() {
        "starttls" => MailTls::StartTls,
        "implicit" => MailTls::Implicit,
        "off" => MailTls::Off,
        other => {
            return Err(wrong(
                "mail.tls",
                format!("not a way of protecting mail: `{other}`; use starttls, implicit or off"),
            ));
        }
    };
    let login = match (written.user.as_str(), written.password.as_str()) {
        ("", "") => None,
        ("", _) | (_, "") => return Err(wrong("mail.user", "name mail.user and mail.password together, or neither")),
        (user, name) => {
            secrets
                .platform(name)
                .map_err(|e| wrong("mail.password", format!("{e}: it names a secret of [secrets]")))?;
            Some((user, name))
        }
    };
    let mail = MailConfig::new(&written.server, tls, &written.from, login, public_url);
    mail.map(Some).map_err(|e| wrong("mail", e.to_string()))
}
