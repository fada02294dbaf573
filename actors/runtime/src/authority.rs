//! The in-memory view of the authority streams: org status and roles, read just before each decision.

use crate::core::{Core, index_problem, lock};
use quipu_rules::org::OrgState;
use quipu_schemas::{
    ids::{OrgId, PrincipalId, StreamId},
    org::Role,
    problem::Problem,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// What the view knows of one org.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrgView {
    pub(crate) version: u64,
    pub(crate) suspended: bool,
    state: OrgState,
}

impl OrgView {
    pub(crate) fn role(&self, principal: &PrincipalId) -> Option<Role> {
        self.state.role(principal)
    }
}

/// Filled on first use, dropped when the org's stream has a new durable record: never stale on the node that owns it.
#[derive(Default)]
pub(crate) struct AuthorityView {
    orgs: Mutex<BTreeMap<OrgId, Arc<OrgView>>>,
}

impl AuthorityView {
    pub(crate) fn forget(&self, org: &OrgId) {
        lock(&self.orgs).remove(org);
    }

    /// Forgets what is placed in a partition that was read anew.
    pub(crate) fn forget_partition(&self, partition: u16, partitions: u16) {
        lock(&self.orgs).retain(|org, _| StreamId::of_org(org).partition(partitions) != partition);
    }

    pub(crate) fn org(&self, core: &Core, org: &OrgId) -> Result<Arc<OrgView>, Problem> {
        if let Some(view) = lock(&self.orgs).get(org) {
            return Ok(view.clone());
        }
        // The head is read before and after: a record that became durable in between would be missed.
        loop {
            let stream = StreamId::of_org(org);
            let before = core.index.stream_head(&stream).map_err(|e| index_problem(&e))?;
            let entity = core.recover(&stream)?;
            let version = entity.version();
            let state: OrgState = serde_json::from_value(entity.state().0)
                .map_err(|e| Problem::new(500, "rules_broken", format!("state of {stream} does not round-trip: {e}")))?;
            let view = Arc::new(OrgView {
                version,
                suspended: matches!(state, OrgState::Suspended { .. }),
                state,
            });
            let mut orgs = lock(&self.orgs);
            let after = core.index.stream_head(&stream).map_err(|e| index_problem(&e))?;
            if before.as_ref().map(|h| h.hash) == after.as_ref().map(|h| h.hash) {
                orgs.insert(org.clone(), view.clone());
                return Ok(view);
            }
        }
    }
}
