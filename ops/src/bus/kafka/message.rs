//! Messages of Kafka as the bus knows them, and answers as those of Kafka.

use super::{
    super::{
        message::{self, Answer, Arrived},
        topic::{self, COMMAND, COMMANDS},
    },
    topics::Topics,
};
use crate::problems::bad_header;
use axum::http;
use quipu_schemas::{ids::OrgId, problem::Problem};
use rdkafka::{
    Message,
    message::{Header, Headers, OwnedHeaders, OwnedMessage},
};

/// The header with the status that HTTP would have.
const STATUS: &str = "quipu-status";
/// The header with the code of a problem.
const CODE: &str = "quipu-code";
/// The header that names the answered message.
const PLACE: &str = "quipu-message";

/// A message of a topic of commands.
pub(super) fn arrived<'a>(topics: &Topics, message: &'a OwnedMessage) -> Arrived<'a> {
    let key = message.key().unwrap_or_default();
    let owner = topic::owner(&topics.options().prefix, COMMANDS, message.topic());
    let pairs = message.headers().into_iter().flat_map(Headers::iter);
    let headers = message::http_headers(pairs.map(|header| (header.key, header.value.unwrap_or_default())));
    let named = topic::org_of(key);
    let target = command(&headers).and_then(|command| topic::parse(key, &command));
    let target = target.and_then(|target| {
        let has_own = owner.is_none() && topics.has_own(COMMANDS, &target.org);
        belongs(owner.as_ref(), &target.org, has_own).map(|()| target)
    });
    Arrived {
        // Whoever may write to an org's topic is answered there, whomever the key names.
        org: owner.or(named),
        target,
        headers,
        body: message.payload().unwrap_or_default(),
    }
}

fn command(headers: &http::HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(COMMAND).iter();
    match (values.next().map(http::HeaderValue::to_str), values.next()) {
        (Some(Ok(command)), None) => Ok(command.to_owned()),
        _ => Err(bad_header(
            COMMAND,
            "a message of the topic names one command",
            format!("send {COMMAND}: <command>"),
        )),
    }
}

/// Who may write for an org is told by topics: an org's own takes its commands alone, and it alone takes them.
fn belongs(owner: Option<&OrgId>, org: &OrgId, has_own: bool) -> Result<(), Problem> {
    match owner {
        Some(owner) if owner != org => {
            let detail = format!("the topic is that of org {owner}, not of {org}");
            Err(Problem::new(403, "wrong_org", detail)
                .field("key")
                .fix("name the topic's org in the key"))
        }
        None if has_own => {
            let detail = format!("org {org} has a topic of its own");
            Err(Problem::new(403, "own_topic", detail)
                .field("key")
                .fix("publish to the org's own topic"))
        }
        _ => Ok(()),
    }
}

/// The headers of an answer to a message.
pub(super) fn headers(answer: &Answer, message: &OwnedMessage) -> OwnedHeaders {
    let place = format!("{}/{}/{}", message.topic(), message.partition(), message.offset());
    let own = [(STATUS, answer.status.to_string()), (PLACE, place)];
    let code = answer.code.iter().map(|code| (CODE.to_owned(), code.clone()));
    let common = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    common.chain(own).chain(code).fold(OwnedHeaders::new(), |headers, (name, value)| {
        headers.insert(Header {
            key: &name,
            value: Some(&value),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orgs_own_topic_takes_its_commands_and_nothing_else_does() {
        let (acme, beta) = (OrgId::parse("acme").unwrap(), OrgId::parse("beta").unwrap());
        assert!(belongs(None, &acme, false).is_ok() && belongs(Some(&acme), &acme, true).is_ok());
        assert_eq!(belongs(Some(&acme), &beta, false).unwrap_err().code, "wrong_org");
        assert_eq!(belongs(None, &acme, true).unwrap_err().code, "own_topic");
    }

    #[test]
    fn an_answer_has_its_status_in_headers() {
        let message = OwnedMessage::new(None, None, "q.commands".into(), rdkafka::Timestamp::NotAvailable, 3, 7, None);
        let problem = Problem::new(409, "command_id_reused", "x");
        let headers = headers(&message::answer(&Err(problem), None, "co"), &message);
        let told: Vec<(&str, String)> = headers
            .iter()
            .map(|h| (h.key, String::from_utf8_lossy(h.value.unwrap_or_default()).into_owned()))
            .collect();
        for wanted in [
            ("x-correlation-id", "co"),
            ("content-type", "application/problem+json"),
            ("quipu-status", "409"),
            ("quipu-code", "command_id_reused"),
            ("quipu-message", "q.commands/3/7"),
        ] {
            assert!(told.contains(&(wanted.0, wanted.1.to_owned())), "{wanted:?}: {told:?}");
        }
    }
}
