//! `mail`: letters by SMTP. The code of a letter is made here, from the effect alone, and stands in the letter and nowhere else.

use super::{Attempt, Reach, ending::Ending};
use crate::breaker::Health;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        Error as SmtpError,
        authentication::Credentials,
        client::{Tls, TlsParameters},
        extension::ClientId,
    },
};
use quipu_schemas::{
    limits::MAIL_TIMEOUT_MS,
    mail::{MailCall, MailCode, MailPurpose},
    personal::Opened,
    reaction::Outcome,
};
use std::time::{Duration, UNIX_EPOCH};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

const MINUTE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte.
    Implicit,
    /// A connection that turns to TLS, and carries nothing before it has.
    StartTls,
    /// None.
    Off,
}

/// A configuration of mail that makes no sense. The text names no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMail(pub String);

/// The mail server of a node, and what letters say of the node.
#[derive(Debug, Clone, PartialEq)]
pub struct MailConfig {
    host: String,
    port: u16,
    tls: MailTls,
    from: Mailbox,
    login: Option<(String, String)>,
    public_url: String,
}

impl MailConfig {
    /// `server` is `host` or `host:port`; `login` a user with the name of the secret that holds the password. Links begin with
    /// `public_url`, and with nothing that a request says.
    pub fn new(server: &str, tls: MailTls, from: &str, login: Option<(&str, &str)>, public_url: &str) -> Result<Self, BadMail> {
        let bad = |text: &str| BadMail(text.to_owned());
        let usual = match tls {
            MailTls::Implicit => 465,
            MailTls::StartTls => 587,
            MailTls::Off => 25,
        };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad("the server is host or host:port"))?),
            None => (server, usual),
        };
        let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        if !is_host {
            return Err(bad("the server is host or host:port"));
        }
        let from = from
            .parse()
            .map_err(|_| bad("from is the address that letters come from, such as Quipu <quipu@example.org>"))?;
        if tls == MailTls::Off && login.is_some() {
            return Err(bad("a password is sent over TLS alone: use tls = \"starttls\" or \"implicit\""));
        }
        if public_url.is_empty() {
            return Err(bad("letters have links: set public_url, as people reach this node"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
            from,
            login: login.map(|(user, secret)| (user.to_owned(), secret.to_owned())),
            public_url: public_url.trim_end_matches('/').to_owned(),
        })
    }

    /// The name of the secret that holds the password.
    pub fn secret(&self) -> Option<&str> {
        self.login.as_ref().map(|(_, secret)| secret.as_str())
    }
}

/// How letters are written.
#[derive(Clone)]
pub struct Mail {
    /// By which server, and what they say of the node.
    pub config: MailConfig,
    /// What their codes follow from.
    pub digest_key: [u8; 32],
}

/// Where whoever has a code goes.
pub(crate) fn link(public_url: &str, code: &MailCode) -> String {
    format!("{public_url}/oauth/code?code={}", code.to_text())
}

pub(super) async fn perform(reach: &Reach, attempt: &Attempt, call: &MailCall) -> Ending {
    let Some(Mail { config, digest_key }) = &reach.mail else {
        // Whoever may see the link is shown it.
        return Ending::done(Outcome::Mailed { sent: false }, Health::Unknown);
    };
    if (reach.clock)() >= call.until {
        return Ending::failed("mail_too_late", "the code of the letter is over", Health::Unknown);
    }
    let to = match reach.opened(&call.to).await {
        Ok(Opened::Value(to)) => to,
        Ok(Opened::Erased) => return Ending::failed("value_erased", "the address was erased", Health::Unknown),
        Err(error) => return error.into(),
    };
    // What a person typed is not repeated in a failure.
    let Some(message) = letter(config, attempt, call, &to, digest_key) else {
        return Ending::failed("mail_address_refused", "a letter cannot be sent to this address", Health::Unknown);
    };
    let transport = match transport(reach, config) {
        Ok(transport) => transport,
        Err(ending) => return ending,
    };
    let sending = tokio::time::timeout(Duration::from_millis(MAIL_TIMEOUT_MS), transport.send(message));
    match sending.await {
        Ok(Ok(_)) => Ending::done(Outcome::Mailed { sent: true }, Health::Up),
        Ok(Err(error)) => failure(config, &error),
        Err(_) => again("timeout", format!("no answer from {} within {MAIL_TIMEOUT_MS} ms", config.host)),
    }
}

fn again(code: impl Into<String>, detail: String) -> Ending {
    Ending::Again {
        code: code.into(),
        detail,
        retry_after_ms: None,
        health: Health::Down,
    }
}

fn transport(reach: &Reach, config: &MailConfig) -> Result<AsyncSmtpTransport<Tokio1Executor>, Ending> {
    let parameters = || {
        TlsParameters::new(config.host.clone()).map_err(|_| {
            let detail = "the certificates that this system trusts cannot be read".to_owned();
            again("tls", detail)
        })
    };
    let tls = match config.tls {
        MailTls::Implicit => Tls::Wrapper(parameters()?),
        MailTls::StartTls => Tls::Required(parameters()?),
        MailTls::Off => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
        .port(config.port)
        .tls(tls)
        .hello_name(ClientId::Domain(config.from.email.domain().to_owned()))
        .timeout(Some(Duration::from_millis(MAIL_TIMEOUT_MS)));
    if let Some((user, name)) = &config.login {
        let secret = reach.secrets.platform(name)?;
        builder = builder.credentials(Credentials::new(user.clone(), secret.expose().to_owned()));
    }
    Ok(builder.build())
}

/// What a server says may hold the address: only its status is kept.
fn failure(config: &MailConfig, error: &SmtpError) -> Ending {
    let peer = format!("{}:{}", config.host, config.port);
    match error.status() {
        Some(status) if error.is_permanent() => Ending::failed(format!("smtp_{status}"), format!("{peer} answered {status}"), Health::Up),
        Some(status) => Ending::Again {
            code: format!("smtp_{status}"),
            detail: format!("{peer} answered {status}"),
            retry_after_ms: None,
            health: Health::Up,
        },
        None if error.is_tls() => again("tls", format!("no TLS with {peer}")),
        // Such as a server that offers no TLS, or no way to log in that is known.
        None if error.is_client() => again("smtp_refused", format!("{peer} does not offer what a letter takes")),
        None if error.is_timeout() => again("timeout", format!("no answer from {peer}")),
        None => again("connect", format!("no connection to {peer}")),
    }
}

/// What takes the code of a letter at a terminal.
pub fn verb(purpose: MailPurpose) -> &'static str {
    match purpose {
        MailPurpose::VerifyAddress => "quipu account verify",
        MailPurpose::ResetPassword => "quipu account reset",
        MailPurpose::Invite => "quipu invites accept",
    }
}

/// `None` where no letter goes to such an address.
fn letter(config: &MailConfig, attempt: &Attempt, call: &MailCall, to: &str, digest_key: &[u8; 32]) -> Option<Message> {
    let stream = &attempt.key.stream;
    let code = MailCode::of(call.purpose, stream.org.clone(), stream.id.clone(), call.ask.clone(), digest_key);
    let (local, domain) = to.trim().rsplit_once('@')?;
    let domain = idna::domain_to_ascii(domain).ok()?;
    let address = lettre::Address::new(local, domain.trim_end_matches('.')).ok()?;
    let until = i64::try_from(call.until / 1_000).ok()?;
    let until = OffsetDateTime::from_unix_timestamp(until).ok()?.format(MINUTE).ok()?;
    let verb = verb(call.purpose);
    let (subject, asked) = match call.purpose {
        MailPurpose::VerifyAddress => (
            "Confirm your address".to_owned(),
            "This address was named for an account. If it is yours, confirm it here:".to_owned(),
        ),
        MailPurpose::ResetPassword => (
            "Set another password".to_owned(),
            "Somebody has asked for another password for your account. Set it here:".to_owned(),
        ),
        MailPurpose::Invite => (
            format!("You are invited to {}", stream.org),
            format!("You are invited to the org {}. Join it here:", stream.org),
        ),
    };
    let body = format!(
        "{asked}\n\n{}\n\nOr at a terminal:\n\n{verb} {}\n\nIt works once, until {until}. If you expected no such letter, do \
         nothing.\n\n-- \nQuipu at {}\n",
        link(&config.public_url, &code),
        code.to_text(),
        config.public_url
    );
    Message::builder()
        .from(config.from.clone())
        .to(Mailbox::new(None, address))
        .subject(subject)
        // The same for each attempt: whoever gets two can tell.
        .date(UNIX_EPOCH + Duration::from_millis(attempt.recorded_at))
        .message_id(Some(format!("<{}@{}>", attempt.key.message_id(), config.from.email.domain())))
        .header(ContentType::TEXT_PLAIN)
        .body(body)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: &str, tls: MailTls, from: &str, login: Option<(&str, &str)>, url: &str) -> Result<MailConfig, BadMail> {
        MailConfig::new(server, tls, from, login, url)
    }

    #[test]
    fn a_configuration_that_leaks_or_leads_nowhere_is_refused() {
        let (from, url) = ("Quipu <quipu@example.org>", "https://quipu.example");
        let fine = config("mail.example.org", MailTls::StartTls, from, Some(("u", "smtp")), url).unwrap();
        assert_eq!((fine.port, fine.secret()), (587, Some("smtp")));
        assert_eq!(config("m:2525", MailTls::Off, from, None, url).unwrap().port, 2525);
        for (server, tls, from, login, url) in [
            ("mail.example.org", MailTls::Off, from, Some(("u", "smtp")), url),
            ("mail.example.org", MailTls::StartTls, from, None, ""),
            ("mail.example.org", MailTls::StartTls, "nobody", None, url),
            ("", MailTls::StartTls, from, None, url),
            ("mail:many", MailTls::StartTls, from, None, url),
            ("u:p@mail.example.org:25", MailTls::StartTls, from, None, url),
        ] {
            assert!(config(server, tls, from, login, url).is_err(), "{server} {tls:?} {from} {url}");
        }
    }
}
