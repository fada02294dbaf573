//! A failure as it is shown: in words or as JSON, on standard error.

use super::{
    failure::Failure,
    terminal::{Terminal, Tone, clean, escaped},
};
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
                if let Some(fix) = cli_fix(problem).or(problem.fix.as_deref()) {
                    terminal.note(&format!("  fix:   {}", clean(fix)));
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
        "Authorization" => "QUIPU_TOKEN, or the file `token` in the data directory",
        other => other,
    }
}

/// What to do about a problem at the command line, where that is not what a client of HTTP would do.
fn cli_fix(problem: &Problem) -> Option<&'static str> {
    Some(match problem.code.as_str() {
        "command_id_reused" => "use another --id for a new command; send an old one unchanged",
        "wrong_version" => "look at the current state with `quipu replay`, then send again with --expect and its version",
        "outcome_unknown" => "send the same command again with the same --id: it is decided once",
        "unauthenticated" => "name the data directory of the node with --data, or set QUIPU_TOKEN",
        "stream_parked" => "see `A parked stream` in ops/docs/runbook.md, then `quipu ops unpark`",
        _ => return None,
    })
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
    }
}
