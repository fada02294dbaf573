//! One entity by which rights are decided, of whichever kind.

use crate::kernel::entity::{Active, Base, Entity, ParkedError, Snapshot};
use quipu_rules::{
    api_key::{ApiKey, ApiKeyState},
    application::{Application, ApplicationState},
    grant::Grant,
    org::{Org, OrgState},
    principal::Principal,
    project::{Project, ProjectState},
    rights::{Given, RoleSpec},
    role::Role,
};
use quipu_schemas::{
    digest::Digest,
    ids::{Kind, StreamId},
    record::Record,
};
use std::collections::BTreeMap;

/// Its state, folded from its stream.
pub enum Folded {
    /// An org with its members.
    Org(Active<Org>),
    /// What one principal was given.
    Grant(Active<Grant>),
    /// An org's own roles.
    Roles(Active<Role>),
    /// A key.
    Key(Active<ApiKey>),
    /// A client of OAuth.
    Application(Active<Application>),
    /// A project.
    Project(Active<Project>),
    /// A principal.
    Principal(Box<Active<Principal>>),
}

macro_rules! of_any {
    ($self:expr, $entity:ident => $use:expr) => {
        match $self {
            Folded::Org($entity) => $use,
            Folded::Grant($entity) => $use,
            Folded::Roles($entity) => $use,
            Folded::Key($entity) => $use,
            Folded::Application($entity) => $use,
            Folded::Project($entity) => $use,
            Folded::Principal($entity) => $use,
        }
    };
}

impl Folded {
    /// Before its first event; `None` for a kind by which no rights are decided.
    pub fn empty(stream: StreamId) -> Option<Self> {
        let kind = stream.kind.clone();
        Some(match kind {
            kind if kind == Kind::ORG => Self::Org(Active::empty(stream)),
            kind if kind == Kind::GRANT => Self::Grant(Active::empty(stream)),
            kind if kind == Kind::ROLE => Self::Roles(Active::empty(stream)),
            kind if kind == Kind::API_KEY => Self::Key(Active::empty(stream)),
            kind if kind == Kind::APPLICATION => Self::Application(Active::empty(stream)),
            kind if kind == Kind::PROJECT => Self::Project(Active::empty(stream)),
            kind if kind == Kind::PRINCIPAL => Self::Principal(Box::new(Active::empty(stream))),
            _ => return None,
        })
    }

    /// As a snapshot had it; `None` where that does not decode, or for a kind by which no rights are decided.
    pub(super) fn from_snapshot(stream: StreamId, base: &Base) -> Option<Self> {
        match stream.kind.clone() {
            kind if kind == Kind::ORG => Active::from_snapshot(stream, base).map(Self::Org),
            kind if kind == Kind::GRANT => Active::from_snapshot(stream, base).map(Self::Grant),
            kind if kind == Kind::ROLE => Active::from_snapshot(stream, base).map(Self::Roles),
            kind if kind == Kind::API_KEY => Active::from_snapshot(stream, base).map(Self::Key),
            kind if kind == Kind::APPLICATION => Active::from_snapshot(stream, base).map(Self::Application),
            kind if kind == Kind::PRINCIPAL => Active::from_snapshot(stream, base).map(|of| Self::Principal(Box::new(of))),
            _ => None,
        }
    }

    /// Its state as a snapshot has it; `None` before its first event, and where the state is gone.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        of_any!(self, entity => entity.snapshot())
    }

    /// Its stream.
    pub fn stream(&self) -> &StreamId {
        of_any!(self, entity => entity.stream())
    }

    /// Version of its stream.
    pub fn version(&self) -> u64 {
        of_any!(self, entity => entity.version())
    }

    /// Hash of its last record.
    pub fn hash(&self) -> Digest {
        of_any!(self, entity => entity.hash())
    }

    /// Folds its next record.
    pub fn fold(&mut self, record: &Record) -> Result<(), ParkedError> {
        of_any!(self, entity => entity.fold(record))
    }

    /// Whether a record that did not fit took its state with it.
    pub fn is_lost(&self) -> bool {
        of_any!(self, entity => entity.is_lost())
    }

    /// Members, grants, patterns: what it costs in memory, roughly.
    pub(super) fn parts(&self) -> usize {
        if self.is_lost() {
            return 1;
        }
        let parts = match self {
            Self::Org(org) => match org.typed_state() {
                OrgState::Missing => 0,
                OrgState::Active(org) | OrgState::Suspended { org, .. } => org.members.len(),
            },
            Self::Grant(grant) => grant.typed_state().grants.len(),
            Self::Roles(roles) => roles.typed_state().roles.values().map(|holds| 1 + holds.len()).sum(),
            Self::Key(key) => key.typed_state().scopes().len() + key.typed_state().networks().len(),
            Self::Application(application) => application
                .typed_state()
                .app()
                .map_or(0, |app| app.is.scopes.len() + app.is.redirect_uris.len() + app.is.keys.len()),
            // So few that whatever one principal was granted has room.
            Self::Project(project) => match project.typed_state() {
                ProjectState::Missing => 0,
                ProjectState::Active(project) | ProjectState::Archived { project, .. } => project.applications.len() / 8,
            },
            // Counted apart.
            Self::Principal(_) => 0,
        };
        1 + parts
    }

    /// The org, where it is one.
    pub(super) fn org(&self) -> Option<&Active<Org>> {
        match self {
            Self::Org(org) => Some(org),
            Self::Grant(_) | Self::Roles(_) | Self::Key(_) | Self::Application(_) | Self::Project(_) | Self::Principal(_) => None,
        }
    }

    /// What was given, where it is a principal's.
    pub(super) fn given(&self) -> &[Given] {
        match self {
            Self::Grant(grant) => &grant.typed_state().grants,
            Self::Org(_) | Self::Roles(_) | Self::Key(_) | Self::Application(_) | Self::Project(_) | Self::Principal(_) => &[],
        }
    }

    /// The roles, where it is an org's.
    pub(super) fn own_roles(&self) -> BTreeMap<String, RoleSpec> {
        match self {
            Self::Roles(roles) => roles.typed_state().specs().map(|(name, spec)| (name.to_owned(), spec)).collect(),
            Self::Org(_) | Self::Grant(_) | Self::Key(_) | Self::Application(_) | Self::Project(_) | Self::Principal(_) => BTreeMap::new(),
        }
    }

    /// The key, where it is one.
    pub(super) fn key(&self) -> Option<&ApiKeyState> {
        match self {
            Self::Key(key) => Some(key.typed_state()),
            Self::Org(_) | Self::Grant(_) | Self::Roles(_) | Self::Application(_) | Self::Project(_) | Self::Principal(_) => None,
        }
    }

    /// Whether it is a project that has ended.
    pub(super) fn is_archived(&self) -> bool {
        match self {
            Self::Project(project) => matches!(project.typed_state(), ProjectState::Archived { .. }),
            Self::Org(_) | Self::Grant(_) | Self::Roles(_) | Self::Key(_) | Self::Application(_) | Self::Principal(_) => false,
        }
    }

    /// The principal, where it is one.
    pub(super) fn principal(&self) -> Option<&Active<Principal>> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Org(_) | Self::Grant(_) | Self::Roles(_) | Self::Key(_) | Self::Application(_) | Self::Project(_) => None,
        }
    }

    /// The client, where it is one.
    pub(super) fn application(&self) -> Option<&ApplicationState> {
        match self {
            Self::Application(application) => Some(application.typed_state()),
            Self::Org(_) | Self::Grant(_) | Self::Roles(_) | Self::Key(_) | Self::Project(_) | Self::Principal(_) => None,
        }
    }
}
