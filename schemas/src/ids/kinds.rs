//! The names of the kinds of the house.

use super::Kind;

impl Kind {
    /// `org`
    pub const ORG: Kind = Kind::from_static("org");
    /// `agent`
    pub const AGENT: Kind = Kind::from_static("agent");
    /// `conversation`
    pub const CONVERSATION: Kind = Kind::from_static("conversation");
    /// `run`
    pub const RUN: Kind = Kind::from_static("run");
    /// `grant`
    pub const GRANT: Kind = Kind::from_static("grant");
    /// `role`
    pub const ROLE: Kind = Kind::from_static("role");
    /// `api-key`
    pub const API_KEY: Kind = Kind::from_static("api-key");
    /// `application`
    pub const APPLICATION: Kind = Kind::from_static("application");
    /// `principal`
    pub const PRINCIPAL: Kind = Kind::from_static("principal");
    /// `quota`
    pub const QUOTA: Kind = Kind::from_static("quota");
    /// `callback`
    pub const CALLBACK: Kind = Kind::from_static("callback");
    /// `secret`
    pub const SECRET: Kind = Kind::from_static("secret");
    /// `entity`
    pub const ENTITY: Kind = Kind::from_static("entity");
    /// `alias`
    pub const ALIAS: Kind = Kind::from_static("alias");
    /// `denial`
    pub const DENIAL: Kind = Kind::from_static("denial");
    /// `approval`
    pub const APPROVAL: Kind = Kind::from_static("approval");
    /// `project`
    pub const PROJECT: Kind = Kind::from_static("project");
    /// `invite`
    pub const INVITE: Kind = Kind::from_static("invite");
}
