//! The agent that a client says it is, beside its credential: it acts by the credential, and is not stopped, or the request is
//! refused. Neither header opens anything.

use crate::{app::App, asked::on_behalf_of, caller::Caller, headers::one, problems::clip};
use axum::http::HeaderMap;
use quipu_schemas::{
    ids::{Home, OrgId, PrincipalId},
    problem::Problem,
};

const AGENT: &str = "X-Quipu-Agent";
/// The same, as clients of an older platform send it.
const AGENT_ID: &str = "X-IBEX-Agent-ID";

/// Refuses a request that names another agent than the one that acts, or one that was stopped.
pub(super) fn check(app: &App, path: &str, headers: &HeaderMap, caller: &Caller) -> Result<(), Problem> {
    let Some((header, agent)) = named(headers)? else { return Ok(()) };
    acts(header, &agent, headers, caller)?;
    // By the node's own token whoever is named acts, and nothing else was asked of them yet.
    let org = path.split('/').nth(3).and_then(|org| OrgId::parse(org).ok());
    let Some(org) = caller.holder().map(|holder| holder.org().clone()).or(org) else {
        return Ok(());
    };
    let known = app.principal(&Home::of(&org, &agent))?;
    if known.is_some_and(|known| !known.is_active()) {
        let detail = format!("agent {agent} is stopped");
        return Err(Problem::new(403, "agent_stopped", detail)
            .field(header)
            .fix("ask an admin of the org to resume it"));
    }
    Ok(())
}

/// The agent that a request names, and by which header; both name the same one where both are there.
fn named(headers: &HeaderMap) -> Result<Option<(&'static str, PrincipalId)>, Problem> {
    let mut found: Option<(&'static str, PrincipalId)> = None;
    for header in [AGENT, AGENT_ID] {
        let Some(text) = one(headers, header)? else { continue };
        let agent = PrincipalId::parse(text.to_owned()).ok().filter(|agent| !agent.is_platform());
        let agent = agent.ok_or_else(|| malformed(header, text))?;
        if found.as_ref().is_some_and(|(_, other)| *other != agent) {
            return Err(malformed(header, text));
        }
        found = Some((header, agent));
    }
    Ok(found)
}

/// Whether the agent acts by what was shown: as its principal, or as whoever is spoken for.
fn acts(header: &str, agent: &PrincipalId, headers: &HeaderMap, caller: &Caller) -> Result<(), Problem> {
    let acts = match caller.holder() {
        Some(holder) => holder.principal() == agent || holder.speaks_for() == Some(agent),
        None => on_behalf_of(headers)?.as_ref() == Some(agent) || caller.principal().is_ok_and(|own| own == agent),
    };
    if acts {
        return Ok(());
    }
    let detail = format!("{header} is `{agent}`, and another principal acts by this credential");
    Err(Problem::new(403, "agent_foreign", detail)
        .field(header)
        .fix("leave it out, or send the credential of the agent that it names"))
}

fn malformed(header: &str, text: &str) -> Problem {
    let detail = format!(
        "{header} is `{}`, which names no agent, or another than the other header",
        clip(text)
    );
    Problem::new(400, "agent_header_malformed", detail)
        .field(header)
        .fix("name one agent by its id: 1 to 64 of A-Z a-z 0-9 _ -")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Credential;
    use quipu_runtime::holder::Holder;
    use std::sync::Arc;

    fn bot() -> Caller {
        let (acme, bot) = (OrgId::from_static("acme"), PrincipalId::from_static("bot"));
        let key = "api-key/key_1".parse().unwrap();
        Caller::with(Credential::Key(Arc::new(Holder::of(acme, key, bot, []))))
    }

    fn checked(caller: &Caller, pairs: &[(&'static str, &str)]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let told = |problem: Problem| format!("{} {}", problem.status, problem.code);
        let Some((header, agent)) = named(&headers).map_err(told)? else {
            return Ok(None);
        };
        acts(header, &agent, &headers, caller).map_err(told)?;
        Ok(Some(agent.to_string()))
    }

    #[test]
    fn an_agent_is_named_by_its_own_credential_alone() {
        let (token, foreign) = (Caller::with(Credential::Token), Err("403 agent_foreign".to_owned()));
        let malformed = Err("400 agent_header_malformed".to_owned());
        let it = Ok(Some("bot".to_owned()));
        for (caller, pairs, expected) in [
            (&bot(), &[][..], Ok(None)),
            (&bot(), &[("x-quipu-agent", "bot")], it.clone()),
            (&bot(), &[("x-ibex-agent-id", "bot")], it.clone()),
            (&bot(), &[("x-ibex-agent-id", "bot"), ("x-quipu-agent", "bot")], it.clone()),
            (&bot(), &[("x-ibex-agent-id", "bot"), ("x-quipu-agent", "cat")], malformed.clone()),
            (&bot(), &[("x-quipu-agent", "cat")], foreign.clone()),
            (&bot(), &[("x-quipu-agent", "a/b")], malformed.clone()),
            (&bot(), &[("x-quipu-agent", "")], malformed.clone()),
            (&bot(), &[("x-quipu-agent", "_accounts")], malformed),
            (
                &bot(),
                &[("x-quipu-agent", "bot"), ("x-quipu-agent", "bot")],
                Err("400 bad_header".into()),
            ),
            (&token, &[("x-quipu-agent", "bot")], foreign),
            (&token, &[("x-quipu-agent", "bot"), ("quipu-on-behalf-of", "bot")], it),
        ] {
            assert_eq!(checked(caller, pairs), expected, "{pairs:?}");
        }
    }
}
