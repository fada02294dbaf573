//! A failure as it is shown: in words or as JSON, on standard error.

use super::{
    failure::Failure,
    terminal::{Terminal, Tone, clean, escaped},
};
use crate::nearest::nearest;
use quipu_schemas::problem::Problem;
use std::process::ExitCode;

impl Failure {
    /// Shows it on standard error and gives the exit code.
    pub fn report(&self, terminal: &Terminal) -> ExitCode {
        match self {
            Failure::Shown | Failure::ReaderGone => {}
            Failure::Problem(problem) if terminal.json => {
                terminal.note(&escaped(&serde_json::json!({ "error": problem }).to_string()));
            }
            Failure::Problem(problem) => {
                terminal.note(&format!(
                    "{} {}",
                    terminal.paint(Tone::Bad, &format!("{}:", problem.code)),
                    clean(&problem.detail)
                ));
                if let Some(field) = &problem.field {
                    terminal.note(&format!("  field: {}", clean(in_cli_words(field))));
                }
                if let Some(version) = problem.current_version {
                    terminal.note(&format!("  current version: {version}"));
                }
                if let Some(fix) = cli_fix(problem).or_else(|| problem.fix.clone()) {
                    terminal.note(&format!("  fix:   {}", clean(&fix)));
                }
            }
            other if terminal.json => {
                let said = serde_json::json!({ "error": { "detail": other.to_string(), "exit_code": other.code() } });
                terminal.note(&escaped(&said.to_string()));
            }
            other => terminal.note(&format!("{} {}", terminal.paint(Tone::Bad, "error:"), clean(&other.to_string()))),
        }
        ExitCode::from(self.code())
    }
}

/// A header that the node names, as the flag that sets it.
fn in_cli_words(field: &str) -> &str {
    match field {
        "Idempotency-Key" => "--id",
        "If-Match" => "--expect",
        "Quipu-On-Behalf-Of" => "--as",
        "If-None-Match" => "--expect 0",
        "min_position" => "--min-position",
        "Authorization" => "QUIPU_TOKEN, or the file `token` in the data directory",
        other => other,
    }
}

/// What to do about a problem at the command line, where that is not what a client of HTTP would do.
fn cli_fix(problem: &Problem) -> Option<String> {
    let fixed = match problem.code.as_str() {
        "command_id_reused" => "use another --id for a new command; send an old one unchanged",
        "wrong_version" => "look at the current state with `quipu replay`, then send again with --expect and its version",
        "outcome_unknown" => "send the same command again with the same --id: it is decided once",
        "unauthenticated" => "name the data directory of the node with --data, or set QUIPU_TOKEN",
        "stream_parked" => "see `A parked stream` in ops/docs/runbook.md, then `quipu ops unpark`",
        "views_building" => "try again when the views have caught up: `quipu views lag` shows how far they are; `quipu replay` works now",
        "job_running" => "wait for it to end, then try again",
        "wrong_org_stream" => "an org's id is the org's own name: `quipu send ORG org ORG …`",
        "unknown_view" => "use `quipu get ORG KIND ID`, `quipu replay` or `quipu tail`",
        "unknown_org" => return Some(create_org(problem)),
        "invalid_command" => return Some(meant_field(&problem.detail)),
        _ => return problem.fix.as_deref().and_then(in_flags),
    };
    Some(fixed.to_owned())
}

fn create_org(problem: &Problem) -> String {
    // The details end with the org's name.
    let org = problem.detail.rsplit(' ').next().unwrap_or("ORG");
    format!("create it: quipu send {org} org {org} create '{{\"name\":\"…\"}}'")
}

/// What a mistaken field of a command was probably meant to be: the details list those that there are.
fn meant_field(detail: &str) -> String {
    const ELSE: &str = "the node describes every command's fields in /docs/openapi.json";
    let quoted: Vec<&str> = match detail.split_once("unknown field ") {
        Some((_, rest)) => rest.split('`').skip(1).step_by(2).collect(),
        None => return ELSE.to_owned(),
    };
    match quoted
        .split_first()
        .and_then(|(given, known)| nearest(given, known.iter().copied()))
    {
        Some(name) => format!("did you mean `{name}`? {ELSE}"),
        None => ELSE.to_owned(),
    }
}

/// A fix with headers and parameters of HTTP as the flags that set them; nothing where it names none.
fn in_flags(fix: &str) -> Option<String> {
    const WORDS: &[(&str, &str)] = &[
        ("a header Quipu-On-Behalf-Of", "--as"),
        ("the header Quipu-On-Behalf-Of", "--as"),
        ("Quipu-On-Behalf-Of", "--as"),
        ("Idempotency-Key", "--id"),
        ("If-None-Match: *", "--expect 0"),
        ("If-Match", "--expect"),
        ("min_position", "--min-position"),
        ("Authorization: Bearer <token>", "QUIPU_TOKEN"),
        ("GET /health", "`quipu ops health`"),
        ("GET /v1/ops/views", "`quipu views lag`"),
        ("from=start", "--from start"),
        ("POST /v1/ops/unpark", "`quipu ops unpark`"),
    ];
    if fix.starts_with("filter instead: ") {
        return Some("filter instead: `quipu get ORG VIEW --filter NAME=VALUE`".to_owned());
    }
    let said = WORDS.iter().fold(fix.to_owned(), |said, (http, cli)| said.replace(http, cli));
    (said != fix).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_flags_and_not_headers() {
        let problem = Problem::new(409, "command_id_reused", "used before")
            .field("Idempotency-Key")
            .fix("use a new id");
        assert_eq!(in_cli_words(problem.field.as_deref().unwrap()), "--id");
        assert!(cli_fix(&problem).unwrap().contains("--id"));
        assert_eq!(cli_fix(&Problem::new(422, "bad_name", "no name")), None);
        let fix = |code, detail, fix| cli_fix(&Problem::new(404, code, detail).fix(fix)).unwrap();
        assert_eq!(
            fix("unknown_org", "no such org: acme", "create it with POST /v1/orgs/acme/orgs"),
            "create it: quipu send acme org acme create '{\"name\":\"…\"}'"
        );
        assert_eq!(
            fix("other", "", "repeat it with the same Idempotency-Key"),
            "repeat it with the same --id"
        );
    }

    /// As the node gives them.
    #[test]
    fn no_fix_speaks_of_http() {
        let fixes = [
            (
                "not_found",
                "check the id; after a write, pass min_position so that the view has caught up",
            ),
            ("not_found", "filter instead: GET /v1/orgs/{org}/timers?…"),
            ("request_timeout", "repeat it; give a command the same Idempotency-Key"),
            ("overloaded", "try again later with the same Idempotency-Key"),
            ("view_behind", "try again, or ask without min_position for what the views have now"),
            (
                "views_building",
                "try again when they have caught up: GET /v1/ops/views tells how far they are",
            ),
            ("views_unavailable", "see GET /health, then `quipu views rebuild`"),
            ("job_running", "wait for it: GET /v1/ops/backup"),
            ("log_generation_changed", "begin again with from=start"),
            ("wrong_org_stream", "use /v1/orgs/acme/orgs/acme"),
            ("unknown_view", "read one entity, or follow /v1/orgs/{org}/events"),
            ("unknown_org", "create it with POST /v1/orgs/acme/orgs"),
            ("stream_parked", "see the runbook, then POST /v1/ops/unpark"),
            ("unauthenticated", "send Authorization: Bearer <token>"),
        ];
        for (code, fix) in fixes {
            let said = cli_fix(&Problem::new(404, code, "no such org: acme").fix(fix)).unwrap();
            let http = ["/v1", "GET ", "POST ", "Idempotency", " min_position", "from=", "Authorization"];
            assert!(!http.iter().any(|word| said.contains(word)), "{code}: {said}");
        }
    }

    #[test]
    fn a_mistaken_field_is_met_with_the_one_that_was_meant() {
        let detail = "conversation.post: unknown field `bdy`, expected one of `message_id`, `body`, `turn`";
        assert!(meant_field(detail).starts_with("did you mean `body`? "), "{}", meant_field(detail));
        let detail = "conversation.post: unknown field `weather`, expected one of `message_id`, `body`";
        assert!(meant_field(detail).starts_with("the node describes"), "{}", meant_field(detail));
    }
}
