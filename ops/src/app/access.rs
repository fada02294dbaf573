//! Who may call from where, and who gets an account.

use crate::{origins::OriginPattern, tls::Certificates};
use quipu_schemas::{ids::PrincipalId, network::Network};
use std::sync::Arc;

/// Who may call from where.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Names and addresses that `Host` may hold, besides loopback ones.
    pub hosts: Vec<String>,
    /// Origins of browsers that may call, besides those of the node itself.
    pub origins: Vec<OriginPattern>,
    /// Networks of proxies whose word on the client's address counts.
    pub proxies: Vec<Network>,
    /// The certificate that is served, where there is one.
    pub certificates: Option<Arc<Certificates>>,
    /// What other nodes show.
    pub cluster: Option<String>,
    /// As whom commands over the bus act in their org; `None`: as whom they name.
    pub bus_principal: Option<PrincipalId>,
    /// Requests to orgs that the node lets through in a minute; 0: as many as come.
    pub requests_per_minute: u32,
    /// Requests that a network signs in by within a minute; 0: as many as come.
    pub sign_in_per_minute: u32,
    /// Who gets an account.
    pub registration: Registration,
}

/// Who gets an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Registration {
    /// Nobody but whom an operator registers.
    Closed,
    /// The same; whoever asks is told how to be invited.
    #[default]
    Invite,
    /// Whoever asks.
    Open,
}
