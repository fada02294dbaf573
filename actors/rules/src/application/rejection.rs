//! Why an application is not made or changed.

use crate::{decider::Refusal, rights::NotHandedOn};
use quipu_schemas::{
    ids::{EntityId, PrincipalId},
    limits::{APPLICATION_KEYS_MAX, CLIENT_SECRET_GRACE_MAX_HOURS, NAME_MAX_CHARS, REASON_MAX_CHARS, REDIRECT_URIS_MAX, TOKEN_SCOPES_MAX},
    problem::Problem,
    redirect::RedirectUri,
};

/// Why an application is not made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicationRejection {
    /// The actor does not hand this on.
    NotHandedOn(NotHandedOn),
    /// Nobody would see the secret.
    Unseen,
    /// Made already.
    Exists(EntityId),
    /// Not made.
    NotFound(EntityId),
    /// It is over.
    Retired(EntityId),
    /// It gets no tokens at all.
    NoGrants,
    /// It asks for nothing, or names too much.
    BadScopes(usize),
    /// Addresses do not go with its grants, or are too many.
    BadRedirects(usize),
    /// No server has the port of this address.
    BadPort(RedirectUri),
    /// Keys do not go with how it authenticates, are too many, or not whole.
    BadKeys,
    /// Everybody could pretend to be it.
    Public,
    /// Nobody whom an application may act as.
    BadService(PrincipalId),
    /// It never acts by itself.
    NoService,
    /// It shows no secret.
    NoSecret,
    /// The name is out of bounds.
    BadName,
    /// The reason is too long.
    BadReason,
    /// The old secret would open for too long.
    BadGrace,
}

impl From<NotHandedOn> for ApplicationRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

impl Refusal for ApplicationRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotHandedOn(why) => why.problem(),
            Self::Unseen => Problem::new(
                403,
                "secret_unseen",
                "a secret's text is shown once, to whoever asks for it: nothing else makes one",
            )
            .fix("send the command yourself, over HTTP or from the terminal"),
            Self::Exists(id) => Problem::new(409, "application_exists", format!("application {id} exists")).fix("use `update`"),
            Self::NotFound(id) => {
                Problem::new(404, "application_not_found", format!("application {id} does not exist")).fix("see the view `applications`")
            }
            Self::Retired(id) => Problem::new(409, "application_retired", format!("application {id} was retired")).fix("make another one"),
            _ => self.bad_value(),
        }
    }
}

impl ApplicationRejection {
    fn bad_value(&self) -> Problem {
        let bad = |code: &str, detail: String, field: &'static str, fix: &str| Problem::new(422, code, detail).field(field).fix(fix);
        match self {
            Self::NoGrants => bad(
                "no_grants",
                "an application without grants gets no tokens".into(),
                "grants",
                "name at least one",
            ),
            Self::BadScopes(count) => bad(
                "bad_scopes",
                format!("{count} scopes; an application asks for 1 to {TOKEN_SCOPES_MAX}"),
                "scopes",
                "name whole families, or a role; `cap:openid.sign_in` for one that only logs people in",
            ),
            Self::BadRedirects(count) => bad(
                "bad_redirect_uris",
                format!(
                    "{count} redirect URIs; the grant authorization_code takes 1 to {REDIRECT_URIS_MAX}, and without it there are none"
                ),
                "redirect_uris",
                "name where people are sent back to, or leave out the grant",
            ),
            Self::BadPort(uri) => bad(
                "bad_redirect_uris",
                format!("the port of {uri} is not between 1 and 65535"),
                "redirect_uris",
                "name the port that the client listens on, or leave it out",
            ),
            Self::BadKeys => bad(
                "bad_keys",
                format!(
                    "private_key_jwt takes 1 to {APPLICATION_KEYS_MAX} whole public keys (P-256 or Ed25519), and nothing else takes any"
                ),
                "keys",
                "give the public halves alone, without `kid`, `use` and `alg`",
            ),
            Self::Public => bad(
                "public_client",
                "an application without authentication cannot act by itself: everybody could pretend to be it".into(),
                "authentication",
                "let it authenticate, or leave out client_credentials and token_exchange",
            ),
            Self::BadService(who) => bad(
                "bad_service",
                format!("{who} is not a service of the org"),
                "service",
                "name one of the view `principals`",
            ),
            Self::NoService => bad(
                "no_service_grant",
                "an application without the grant client_credentials never acts by itself".into(),
                "service",
                "add the grant first",
            ),
            Self::NoSecret => Problem::new(409, "no_client_secret", "this application authenticates without a secret")
                .fix("update `authentication` to client_secret_basic or client_secret_post first"),
            _ => self.bad_text(),
        }
    }

    fn bad_text(&self) -> Problem {
        let bad = |code: &str, detail: String, field: &'static str, fix: &str| Problem::new(422, code, detail).field(field).fix(fix);
        match self {
            Self::BadName => bad(
                "bad_name",
                format!("a name has 1 to {NAME_MAX_CHARS} printable characters"),
                "name",
                "use at most so many characters, some of them visible, and no line breaks or direction overrides",
            ),
            Self::BadReason => bad(
                "bad_reason",
                format!("a reason has at most {REASON_MAX_CHARS} characters"),
                "reason",
                "shorten it",
            ),
            // All others were told before.
            _ => bad(
                "bad_grace",
                format!("an old secret opens for at most {CLIENT_SECRET_GRACE_MAX_HOURS} hours more"),
                "grace_hours",
                "give fewer, or leave it out",
            ),
        }
    }
}
