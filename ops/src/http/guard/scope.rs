//! What a client says, beside the path and its credential, of the org and the service that it means: it agrees with them, or the
//! request is refused. Neither header opens anything.

use crate::{
    asked::on_behalf_of,
    caller::Caller,
    headers::one,
    problems::{bad_header, clip},
};
use axum::http::HeaderMap;
use quipu_schemas::{ids::PrincipalId, problem::Problem};

const ORG: &str = "X-Org-Id";
const SERVICE: &str = "X-Service-Id";

/// Refuses a request that names another org than its path and credential, or another service than who acts.
pub(super) fn check(path: &str, headers: &HeaderMap, caller: &Caller) -> Result<(), Problem> {
    if let Some(named) = one(headers, ORG)? {
        let of_path = path
            .strip_prefix("/v1/orgs/")
            .map(|rest| rest.split('/').next().unwrap_or_default());
        let of_key = caller.holder().map(|holder| holder.org().as_str());
        if of_path.into_iter().chain(of_key).any(|org| org != named) {
            return Err(mismatch(ORG, named, "the path or the credential is of another org"));
        }
    }
    if let Some(named) = one(headers, SERVICE)? {
        let service =
            PrincipalId::parse(named.to_owned()).map_err(|e| bad_header(SERVICE, e.to_string(), "use an id within the grammar"))?;
        let by_key = caller.holder().is_some_and(|holder| *holder.principal() == service);
        // By the node's own token whoever is named acts.
        let by_token = caller.holder().is_none() && on_behalf_of(headers)?.as_ref() == Some(&service);
        if !by_key && !by_token {
            return Err(mismatch(SERVICE, named, "another principal acts by this credential"));
        }
    }
    Ok(())
}

fn mismatch(header: &str, named: &str, why: &str) -> Problem {
    Problem::new(400, "scope_mismatch", format!("{header} is `{}`, and {why}", clip(named)))
        .field(header)
        .fix("leave it out, or name what the path and the credential are of")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Credential;
    use quipu_runtime::holder::Holder;
    use quipu_schemas::ids::OrgId;
    use std::sync::Arc;

    fn key() -> Caller {
        let (acme, ada) = (OrgId::from_static("acme"), PrincipalId::from_static("ada"));
        Caller::with(Credential::Key(Arc::new(Holder::of(
            acme,
            "api-key/key_1".parse().unwrap(),
            ada,
            [],
        ))))
    }

    fn checked(caller: &Caller, path: &str, pairs: &[(&'static str, &str)]) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        check(path, &headers, caller).map_err(|problem| format!("{} {}", problem.status, problem.code))
    }

    #[test]
    fn header_agrees_with_path_and_credential_or_is_refused() {
        let (token, mismatch) = (Caller::with(Credential::Token), Err("400 scope_mismatch".to_owned()));
        let runs = "/v1/orgs/acme/runs";
        for (caller, path, pairs, expected) in [
            (&token, runs, &[("x-org-id", "acme")][..], Ok(())),
            (&token, runs, &[("x-org-id", "other")], mismatch.clone()),
            (&token, runs, &[("x-org-id", "ACME")], mismatch.clone()),
            (&token, "/v1/ops/views", &[("x-org-id", "acme")], Ok(())),
            (
                &token,
                runs,
                &[("x-org-id", "acme"), ("x-org-id", "acme")],
                Err("400 bad_header".into()),
            ),
            (&key(), runs, &[("x-org-id", "acme")], Ok(())),
            (&key(), "/v1/me", &[("x-org-id", "other")], mismatch.clone()),
            (&key(), runs, &[("x-service-id", "ada")], Ok(())),
            (&key(), runs, &[("x-service-id", "bob")], mismatch.clone()),
            (&key(), runs, &[("x-service-id", "a/b")], Err("400 bad_header".into())),
            (&token, runs, &[("x-service-id", "bob")], mismatch),
            (&token, runs, &[("x-service-id", "bob"), ("quipu-on-behalf-of", "bob")], Ok(())),
        ] {
            assert_eq!(checked(caller, path, pairs), expected, "{path} {pairs:?}");
        }
    }
}
