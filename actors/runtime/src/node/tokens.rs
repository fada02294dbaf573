//! Tokens of the node, for faces.

use super::Node;
use crate::{
    kernel::principals::KnownSession,
    tokens::{AccessClaims, For, IdClaims, TokenRefused, Tokens},
};
use quipu_events::keyring::KeyringError;
use quipu_schemas::{
    ids::{EntityId, Home},
    problem::Problem,
    session_text::{Purpose, SessionText},
};
use serde_json::Value;
use std::sync::Arc;

impl Node {
    /// Whose the tokens are that this node issues: the address by which clients reach it.
    pub fn issuer(&self) -> &str {
        self.0.tokens.issuer()
    }

    /// Signs and reads tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// Signs an access token.
    pub fn issue(&self, claims: &AccessClaims) -> Result<String, Problem> {
        self.0.tokens.issue(claims, self.now()).map_err(|e| no_keys(&e))
    }

    /// Signs an ID token.
    pub fn issue_identity(&self, claims: &IdClaims) -> Result<String, Problem> {
        self.0.tokens.issue_identity(claims, self.now()).map_err(|e| no_keys(&e))
    }

    /// What an access token for this node says, if it is one and its time is not over. Whether its session lives is another question.
    pub fn read_token(&self, token: &str) -> Result<Arc<AccessClaims>, TokenRefused> {
        self.0.tokens.read(token, For::Node, self.now())
    }

    /// A session that opens something now, with all that it was made from and by an active client; `None` where it has ended.
    pub fn live_session(&self, home: &Home, session: &EntityId) -> Result<Option<KnownSession>, Problem> {
        Ok(self.lineage(home, session)?.and_then(|lineage| lineage.into_iter().next()))
    }

    /// Whose session a refresh token goes on with, if it was ever handed out.
    pub fn session_of_refresh(&self, token: &str) -> Option<(Home, EntityId)> {
        let text = SessionText::parse(Purpose::Refresh, token).ok()?;
        let is_ours = text.is_authentic(&self.0.core.keys.digest_key());
        is_ours.then_some((text.home, text.session))
    }

    /// The public keys (RFC 7517) by which clients check tokens.
    pub fn jwks(&self) -> Result<Value, Problem> {
        self.0.tokens.jwks(self.now()).map_err(|e| no_keys(&e))
    }
}

/// What is wrong with the keys is the operator's business.
fn no_keys(error: &KeyringError) -> Problem {
    tracing::error!(%error, "no key to sign tokens with");
    Problem::new(503, "no_signing_key", "the keys that sign tokens are not to be had right now").retry_after(1)
}
