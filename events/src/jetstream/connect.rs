//! The connection to the servers, with what opens it.

use super::options::{JetStreamOptions, Login};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use quipu_schemas::limits::BROKER_RECONNECT_MAX_MS;
use std::time::Duration;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NoConnection {
    /// Whether trying again may help.
    pub(crate) again: bool,
    pub(crate) detail: String,
}

impl NoConnection {
    pub(crate) fn last(detail: impl std::fmt::Display) -> Self {
        Self {
            again: false,
            detail: detail.to_string(),
        }
    }
}

/// Stands in every `.creds` file, and in no password that anybody types.
const CREDENTIALS_MARK: &str = "-----BEGIN NATS USER JWT-----";

/// Connects, once; async-nats connects again by itself from then on. `other` connects instead of whom the options name; `tell` hears
/// what befalls the connection.
pub(crate) async fn client(
    options: &JetStreamOptions,
    other: Option<&Login>,
    name: &str,
    tell: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Client, NoConnection> {
    let mut connect = ConnectOptions::new()
        .name(name)
        .connection_timeout(options.request)
        .request_timeout(Some(options.request))
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(crate::pause::jitter().pause_ms((1, BROKER_RECONNECT_MAX_MS), attempts as u32))
        })
        .event_callback(move |event| {
            tell(event);
            async {}
        });
    let mut addresses = Vec::new();
    for server in &options.servers {
        addresses.push(server.parse::<ServerAddr>().map_err(NoConnection::last)?);
    }
    if let Some(roots) = &options.roots {
        connect = connect.add_root_certificates(roots.clone());
    }
    if let Some((certificate, key)) = &options.certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    if let (Some(name), None) = (&options.secret, &options.login) {
        return Err(NoConnection::last(format!(
            "the address names the secret `{name}`, and secrets are a node's"
        )));
    }
    // async-nats does not take a login from an address.
    match (other.or(options.login.as_ref()), &options.credentials) {
        (Some(Login(login)), file) if other.is_some() || file.is_none() => {
            connect = match login.split_once(':') {
                _ if login.contains(CREDENTIALS_MARK) => connect
                    .credentials(login)
                    .map_err(|_| NoConnection::last("the credentials that the secret holds do not read"))?,
                Some((user, password)) => connect.user_and_password(user.to_owned(), password.to_owned()),
                None => connect.token(login.clone()),
            };
        }
        (_, Some(file)) => {
            let refused = |e| NoConnection::last(format!("{}: {e}", file.display()));
            connect = connect.credentials_file(file).await.map_err(refused)?;
        }
        (_, None) => {}
    }
    connect.connect(addresses).await.map_err(|e| NoConnection {
        again: matches!(e.kind(), ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io),
        detail: e.to_string(),
    })
}
