//! Why brokers do not take a client: which key of the address is wrong, and what to do about it.
//!
//! The client tells a question that was not answered as no more than a silence. The reason comes beside it, as an event.

use super::options::KafkaOptions;
use parking_lot::Mutex;
use rdkafka::{
    client::ClientContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use std::time::{Duration, Instant};

/// How long a client that only asks for the reason waits for one.
const REASON: Duration = Duration::from_secs(2);
/// How long it waits for one answer or event.
const STEP: Duration = Duration::from_millis(200);

/// Why brokers and a client do not get on, where that is the address's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` of the address: {fix} ({detail})")]
pub struct Refusal {
    /// The key of the address that is wrong.
    pub key: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// The client's own words.
    pub detail: String,
}

impl Refusal {
    /// Whether it will be the same in a moment. A listener that is about to start may break a handshake off.
    pub(super) fn is_final(&self) -> bool {
        self.key != "security"
    }
}

/// What an error of the client says about the address; nothing if it is about something else.
fn refusal(code: RDKafkaErrorCode, reason: &str) -> Option<Refusal> {
    let has = |word: &str| reason.contains(word);
    let (key, fix) = match code {
        RDKafkaErrorCode::UnsupportedSASLMechanism => ("mechanism", "choose one that this listener of the brokers has"),
        RDKafkaErrorCode::Authentication if has("mechanism") && has("not support") => {
            ("mechanism", "choose one that this listener of the brokers has")
        }
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => (
            "secret",
            "the brokers do not know this user by this password; check both, and the mechanism that the user was made for",
        ),
        RDKafkaErrorCode::SSL if has("alert") => ("certificate", "name one, and its `key`, that the brokers' authority signed"),
        RDKafkaErrorCode::SSL if has("certificate") => (
            "ca",
            "name the authority of the brokers' certificate, which must be valid today and name the host as the address writes it",
        ),
        RDKafkaErrorCode::SSL => (
            "security",
            "this listener of the brokers does not speak TLS as asked; check the port",
        ),
        _ => return None,
    };
    Some(Refusal {
        key,
        fix,
        detail: reason.to_owned(),
    })
}

/// What a client that could not be made says about the address.
fn of_making(error: &KafkaError) -> Option<Refusal> {
    let detail = error.to_string();
    let files = [
        ("ssl.ca.location", "ca"),
        ("ssl.certificate.location", "certificate"),
        ("ssl.key.location", "key"),
    ];
    let (_, key) = files.into_iter().find(|(setting, _)| detail.contains(setting))?;
    let fix = "name a PEM file that this process can read";
    Some(Refusal { key, fix, detail })
}

/// The first refusal that a client hears.
#[derive(Default)]
struct Heard(Mutex<Option<Refusal>>);

impl ClientContext for Heard {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(refusal) = error.rdkafka_error_code().and_then(|code| refusal(code, reason)) {
            self.0.lock().get_or_insert(refusal);
        }
    }
}

impl ConsumerContext for Heard {}

impl KafkaOptions {
    /// Asks brokers that did not answer why, if TLS or a login could be the reason. Blocks, for seconds at most.
    pub fn why_refused(&self) -> Option<Refusal> {
        if !self.security.takes_tls() {
            return None;
        }
        let mut config = self.client_config();
        // No member of it ever joins.
        config.set("group.id", "quipu");
        let client: BaseConsumer<Heard> = match config.create_with_context(Heard::default()) {
            Ok(client) => client,
            Err(error) => return of_making(&error),
        };
        let deadline = Instant::now() + REASON;
        while Instant::now() < deadline {
            if client.fetch_metadata(Some(&self.meta_topic()), STEP).is_ok() {
                return None;
            }
            // Whatever it gives, the reason is told on the way.
            let _ = client.poll(STEP);
            if let Some(refusal) = client.context().0.lock().take() {
                return Some(refusal);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_the_key_of_the_address() {
        let handshake = "ssl://a:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed";
        let password = "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid \
                        credentials with SASL mechanism SCRAM-SHA-512";
        let other = "sasl_ssl://a:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism";
        for (code, reason, key) in [
            (RDKafkaErrorCode::SSL, handshake, Some("ca")),
            (RDKafkaErrorCode::SSL, "tlsv13 alert certificate required", Some("certificate")),
            (RDKafkaErrorCode::SSL, "wrong version number", Some("security")),
            (RDKafkaErrorCode::Authentication, password, Some("secret")),
            (RDKafkaErrorCode::UnsupportedSASLMechanism, other, Some("mechanism")),
            (
                RDKafkaErrorCode::Authentication,
                "the broker does not support this mechanism",
                Some("mechanism"),
            ),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down", None),
            (RDKafkaErrorCode::BrokerTransportFailure, "connection refused", None),
        ] {
            assert_eq!(refusal(code, reason).map(|refusal| refusal.key), key, "{reason}");
        }
        let missing = KafkaError::ClientCreation("ssl.ca.location failed: No such file or directory".into());
        assert_eq!(of_making(&missing).map(|refusal| refusal.key), Some("ca"));
        assert_eq!(of_making(&KafkaError::ClientCreation("no memory".into())), None);
        let plain: KafkaOptions = "kafka://127.0.0.1:1".parse().expect("an address");
        assert_eq!(plain.why_refused(), None);
    }
}
