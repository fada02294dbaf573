//! **Who may** do it: pure state, `decide`, `evolve`, `react`, one file an entity kind.
//!
//! Nothing here reads a clock, draws a random number, does I/O or iterates a randomly seeded map.

pub mod agent;
pub mod alias;
pub mod api_key;
pub mod application;
pub mod approval;
pub mod callback;
pub mod components;
pub mod conversation;
pub mod decider;
pub mod definition;
pub mod denial;
pub mod entity;
pub mod expression;
pub mod grant;
pub mod invite;
pub mod org;
pub mod ports;
pub mod principal;
pub mod project;
pub mod quota;
pub mod rights;
pub mod role;
pub mod run;
pub mod secret;
pub mod shared;
mod text;
pub mod values;

#[cfg(test)]
mod scene;

/// Takes kinds, one after the other.
pub trait Register: Sized {
    /// Takes one.
    #[must_use]
    fn kind<D: decider::Decider>(self) -> Self;
}

/// Every kind of the house. A new one is its `pub mod` above and a line here.
pub fn house<R: Register>(kinds: R) -> R {
    kinds
        .kind::<org::Org>()
        .kind::<agent::Agent>()
        .kind::<conversation::Conversation>()
        .kind::<run::Run>()
        .kind::<grant::Grant>()
        .kind::<role::Role>()
        .kind::<api_key::ApiKey>()
        .kind::<application::Application>()
        .kind::<principal::Principal>()
        .kind::<quota::Quota>()
        .kind::<secret::Secret>()
        .kind::<entity::Entity>()
        .kind::<alias::Alias>()
        .kind::<callback::Callback>()
        .kind::<project::Project>()
        .kind::<approval::Approval>()
        .kind::<denial::Denial>()
        .kind::<invite::Invite>()
}
