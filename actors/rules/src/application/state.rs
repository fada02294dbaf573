//! What is known of an application.

use quipu_kinds::application::{ClientAuthentication, DescribeApplication, GrantType};
use quipu_schemas::{
    constant_time::is_equal, context::Millis, digest::Digest, ids::PrincipalId, jwk::PublicJwk, redirect::RedirectUri, rights::Pattern,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The family of what concerns logging in alone: asked for by nothing in an org.
const OPENID: &str = "openid";

/// State of an application.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationState {
    /// Not made.
    #[default]
    Missing,
    /// Gets tokens.
    Active(App),
    /// Gets none for now.
    Suspended {
        /// The application as it was.
        app: App,
        /// Why.
        reason: String,
    },
    /// Gets none any more.
    Retired {
        /// The application as it was.
        app: App,
        /// Why.
        reason: String,
    },
}

/// An application that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct App {
    /// What it is and may do.
    pub is: Described,
    /// The service that it acts as, by itself.
    pub service: Option<PrincipalId>,
    /// Keyed hash of its secret's text.
    pub secret: Option<Digest>,
    /// The secret before the last rotation, and until when it opens; the moment itself is outside.
    pub old_secret: Option<(Digest, Millis)>,
}

/// A description as it is kept: every field stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Described {
    /// Display name.
    pub name: String,
    /// How it gets its tokens.
    pub grants: Vec<GrantType>,
    /// How it shows who it is.
    pub authentication: ClientAuthentication,
    /// Where people are sent back to.
    pub redirect_uris: Vec<RedirectUri>,
    /// What it may ask for at most.
    pub scopes: Vec<Pattern>,
    /// Its public keys.
    pub keys: Vec<PublicJwk>,
}

impl From<&DescribeApplication> for Described {
    fn from(said: &DescribeApplication) -> Self {
        Self {
            name: said.name.clone(),
            grants: said.grants.iter().copied().collect(),
            authentication: said.authentication,
            redirect_uris: said.redirect_uris.iter().cloned().collect(),
            scopes: said.scopes.iter().cloned().collect(),
            keys: said.keys.clone(),
        }
    }
}

impl App {
    /// Whether it may get tokens so.
    pub fn may(&self, grant: GrantType) -> bool {
        self.is.grants.contains(&grant)
    }

    /// Whether the secret with this hash is its own now. How long the comparison takes says nothing about the hash.
    pub fn knows_secret(&self, hash: &[u8; 32], now: Millis) -> bool {
        let is_current = self.secret.is_some_and(|own| is_equal(&own.0, hash));
        let is_old = self.old_secret.is_some_and(|(old, until)| is_equal(&old.0, hash) && now < until);
        is_current || is_old
    }

    /// Whether it may ask for this.
    pub fn may_ask_for(&self, right: &Pattern) -> bool {
        let is_login = matches!(right, Pattern::One(capability) if capability.family() == OPENID);
        is_login || self.is.scopes.iter().any(|own| covers(own, right))
    }
}

/// Whether who holds the one holds the other, as far as their texts tell.
pub fn covers(held: &Pattern, asked: &Pattern) -> bool {
    match (held, asked) {
        (Pattern::Family(family), Pattern::One(capability)) => capability.family() == family,
        (held, asked) => held == asked,
    }
}

impl ApplicationState {
    /// The application, whether or not it gets anything.
    pub fn app(&self) -> Option<&App> {
        match self {
            Self::Missing => None,
            Self::Active(app) | Self::Suspended { app, .. } | Self::Retired { app, .. } => Some(app),
        }
    }

    /// The application, if it gets tokens.
    pub fn active(&self) -> Option<&App> {
        match self {
            Self::Active(app) => Some(app),
            Self::Missing | Self::Suspended { .. } | Self::Retired { .. } => None,
        }
    }
}
