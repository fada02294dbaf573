//! A principal as the kernel asks for it: how it stands, and which sessions it has.

use quipu_kinds::principal::{PrincipalType, SessionParent};
use quipu_rules::{
    application::ApplicationState,
    principal::{Phase, PrincipalState, Session, Who},
    rights::{Charter, Rights, Roles},
};
use quipu_schemas::{
    client_secret::ClientId,
    context::Millis,
    ids::{EntityId, Home, PrincipalId},
    jwk::PublicJwk,
    rights::Pattern,
};
use std::collections::BTreeMap;

/// How a principal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It acts.
    Active,
    /// Nothing is taken from it until it is resumed.
    Suspended,
    /// Gone for good.
    Retired,
}

/// What is known of a principal that exists, or did.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownPrincipal {
    /// Who it is.
    pub home: Home,
    /// Version of its stream.
    pub version: u64,
    /// What it is.
    pub kind: PrincipalType,
    /// How it stands.
    pub standing: Standing,
    /// Who answers for it, where it is an agent or a service.
    pub owner: Option<PrincipalId>,
    /// Whether it is a person who operates the platform.
    pub operator: bool,
    /// By which signatures it proves who it is, by their thumbprints.
    pub public_keys: BTreeMap<String, PublicJwk>,
    sessions: Vec<KnownSession>,
}

/// What is known of a session that was opened and has not ended by its event.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSession {
    /// Its id.
    pub id: EntityId,
    /// What it is cut to; [`Rights::All`] where it is not. A role of an org's own holds nothing here: a session is of no one org.
    pub scope: Rights,
    /// The same as it was asked for.
    pub patterns: Vec<Pattern>,
    /// The client that it was begun by.
    pub client: Option<String>,
    /// Whom its tokens are for, where that is not this node's own API.
    pub audience: Option<String>,
    /// Who acts by it for the principal, the nearest first.
    pub act: Vec<Home>,
    /// How whoever began it had proved who they are.
    pub amr: Vec<String>,
    /// When they had.
    pub auth_time: Millis,
    /// The session that it was made from: it ends with that.
    pub parent: Option<SessionParent>,
    /// When it ends, by itself; the moment itself is outside.
    pub expires_at: Millis,
    /// Whether it goes on by a refresh token.
    pub is_refreshed: bool,
}

impl KnownPrincipal {
    /// Whether it is an agent or a service.
    pub fn is_automaton(&self) -> bool {
        self.kind != PrincipalType::Person
    }

    /// A principal as its entity has it; `None` where nobody is there.
    pub fn of(home: Home, version: u64, state: &PrincipalState, roles: &Roles, charter: &Charter) -> Option<Self> {
        let standing = match state {
            PrincipalState::Missing | PrincipalState::Device(_) => return None,
            PrincipalState::Active(_) => Standing::Active,
            PrincipalState::Suspended { .. } => Standing::Suspended,
            PrincipalState::Retired { .. } => Standing::Retired,
        };
        let account = state.account();
        let owner = account.and_then(|account| match &account.who {
            Who::Agent(owned) | Who::Service(owned) => Some(owned.owner.clone()),
            Who::Person(_) => None,
        });
        let sessions = account.into_iter().flat_map(|account| &account.sessions);
        Some(Self {
            home,
            version,
            kind: state.kind()?,
            standing,
            owner,
            operator: state.person().is_some_and(|person| person.operator),
            public_keys: account.map(|account| account.public_keys.clone()).unwrap_or_default(),
            sessions: sessions.filter_map(|session| KnownSession::of(session, roles, charter)).collect(),
        })
    }

    /// Whether something is taken from it.
    pub fn is_active(&self) -> bool {
        self.standing == Standing::Active
    }

    /// A session of it that opens something now, as far as it goes: whoever it was made from is to be asked as well.
    pub fn session(&self, id: &EntityId, now: Millis) -> Option<&KnownSession> {
        self.sessions(now).find(|session| session.id == *id)
    }

    /// All of them.
    pub fn sessions(&self, now: Millis) -> impl Iterator<Item = &KnownSession> {
        self.sessions
            .iter()
            .filter(move |session| self.is_active() && now < session.expires_at)
    }
}

impl KnownSession {
    fn of(session: &Session, roles: &Roles, charter: &Charter) -> Option<Self> {
        let Phase::Live { refresh, .. } = &session.phase else { return None };
        let start = &session.start;
        Some(Self {
            id: start.id.clone(),
            scope: charter.scope(&start.scope, roles),
            patterns: start.scope.clone(),
            client: start.client.clone(),
            audience: start.audience.clone(),
            act: start.act.clone(),
            amr: start.amr.clone(),
            auth_time: start.auth_time,
            parent: start.parent.clone(),
            expires_at: session.expires_at,
            is_refreshed: refresh.is_some(),
        })
    }

    /// The client of an org that it was begun by. Other names are those of programs that no org knows.
    pub fn org_client(&self) -> Option<ClientId> {
        self.client.as_deref().and_then(|client| client.parse().ok())
    }

    /// Whether its client may still have it, as somebody's of this home: it is active, may ask for all that the session is cut to, and acts
    /// as no other service than the one that is linked to it now. What an update takes from a client it takes from its sessions.
    pub fn is_permitted_by(&self, home: &Home, client: &ClientId, state: &ApplicationState) -> bool {
        let Some(app) = state.active() else {
            return false;
        };
        let is_its_own = |acting: &Home| acting.org == client.org && app.service.as_ref() == Some(&acting.id);
        let acts = match self.act.first() {
            Some(actor) => is_its_own(actor),
            None => home.is_person() || is_its_own(home),
        };
        acts && self.patterns.iter().all(|right| app.may_ask_for(right))
    }

    /// Whether it opens less than its principal may, or is used by somebody else for it.
    pub fn is_narrow(&self) -> bool {
        !self.patterns.is_empty() || !self.act.is_empty()
    }
}
