//! An access token: whose it is, whether its session lives, and what that opens where it is shown.

use super::{App, serving};
use crate::{
    asked,
    caller::Credential,
    http::surface::{Keys, Surface},
};
use axum::{
    extract::Request,
    http::{Method, Uri},
};
use quipu_runtime::{kernel::refusals::no_access, node::Account};
use quipu_schemas::{
    context::Millis,
    ids::{OrgId, PrincipalId},
    problem::Problem,
};
use std::{net::IpAddr, sync::Arc};

/// Whether it has the form of a token: a header in JSON, encoded.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with("eyJ")
}

/// A token as it was shown, and what its request says of where it is to open something.
pub(super) struct ShownSession {
    text: String,
    from: Option<IpAddr>,
    keys: Keys,
    /// The org of the path as it stands there: a name that would need decoding is none.
    org: Option<String>,
    makes_org: bool,
    on_behalf_of: Result<Option<PrincipalId>, Problem>,
    /// What is asked for.
    path: Uri,
}

impl ShownSession {
    /// What a request shows.
    pub(super) fn read(surface: &Surface, request: &Request, text: &str, from: Option<IpAddr>) -> Self {
        Self {
            text: text.to_owned(),
            from,
            keys: surface.keys,
            org: request.uri().path().split('/').nth(3).map(str::to_owned),
            makes_org: makes_org(request.method(), request.uri()),
            on_behalf_of: asked::on_behalf_of(request.headers()),
            path: request.uri().clone(),
        }
    }
}

/// `POST /v1/orgs/{org}/orgs`, the same with an id, and with the command's name behind it.
fn makes_org(method: &Method, uri: &Uri) -> bool {
    let parts: Vec<&str> = uri.path().split('/').collect();
    method == Method::POST
        && matches!(
            parts[..],
            ["", "v1", "orgs", _, "orgs"] | ["", "v1", "orgs", _, "orgs", _] | ["", "v1", "orgs", _, "orgs", _, "create"]
        )
}

/// The same as [`looked_up`]; a refusal is noted for the audit of the org that whoever is refused belongs to.
pub(super) async fn by_session(app: &App, shown: ShownSession) -> Result<(Credential, Millis), Problem> {
    let refused = match looked_up(app, &shown).await {
        Ok(opened) => return Ok(opened),
        Err(problem) => problem,
    };
    if let Some(asker) = app.session_asker(&shown.text, shown.org.as_deref()) {
        app.note_refused(&asker, shown.path.path(), &refused);
    }
    Err(refused)
}

/// Looks the session of a token up, and refuses what it does not open. With what it opens comes when the token ends.
pub(super) async fn looked_up(app: &App, shown: &ShownSession) -> Result<(Credential, Millis), Problem> {
    let claims = app.read_token(&shown.text)?;
    let account = app.account(&claims)?;
    serving(app)?;
    let end = claims.exp.saturating_mul(1_000);
    let credential = match shown.keys {
        Keys::Account => Credential::Account(Arc::new(account)),
        Keys::Nothing if account.is_operator => Credential::Account(Arc::new(account)),
        Keys::Nothing => return Err(no_access()),
        Keys::OwnOrg => {
            let org = shown.org.as_deref().and_then(|org| OrgId::parse(org).ok());
            let is_for = |org: &OrgId| *org != OrgId::PLATFORM && claims.org.as_ref().is_none_or(|only| only == org);
            let org = org.filter(is_for).ok_or_else(no_access)?;
            match in_org(app, account, org, shown).await? {
                Some(credential) => credential,
                // It may have ended since.
                None => return Err(app.account(&claims).err().unwrap_or_else(no_access)),
            }
        }
    };
    Ok((credential, end))
}

/// What an account opens in an org; `None` where that does not know it.
async fn in_org(app: &App, account: Account, org: OrgId, shown: &ShownSession) -> Result<Option<Credential>, Problem> {
    let holder = app.session_holder(&account, &org, shown.from).await?;
    match holder.filter(|holder| holder.is_known()) {
        Some(holder) => {
            let holder = match shown.on_behalf_of.clone()? {
                Some(principal) => app.acting_for(holder, principal).await?,
                None => holder,
            };
            Ok(Some(Credential::Key(Arc::new(holder))))
        }
        None if account.is_operator && shown.makes_org && matches!(shown.on_behalf_of, Ok(None)) => {
            Ok(Some(Credential::Founder(Arc::new(account), org)))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_org_itself_is_made_by_operators() {
        let makes = |method: Method, path: &str| makes_org(&method, &path.parse().unwrap());
        for path in ["/v1/orgs/acme/orgs", "/v1/orgs/acme/orgs/acme", "/v1/orgs/acme/orgs/acme/create"] {
            assert!(makes(Method::POST, path), "{path}");
        }
        for path in [
            "/v1/orgs/acme/orgs/acme/rename",
            "/v1/orgs/acme/agents",
            "/v1/orgs//orgs/a/b",
            "/x/v1/orgs/acme/orgs",
            "/v1/orgs/acme/org%73",
        ] {
            assert!(!makes(Method::POST, path), "{path}");
        }
        assert!(!makes(Method::GET, "/v1/orgs/acme/orgs"));
    }
}
