//! Requests at the rates of their orgs, wherever they come in: the node that owns the org counts them.

use super::Node;
use crate::{
    cluster::Cluster,
    core::Core,
    off_worker::off_worker,
    rates::{Asking, OrgRates, RATES_PATH, Taken, unknown},
};
use quipu_events::leases::Member;
use quipu_rules::quota::{ALL, Quota};
use quipu_schemas::{
    ids::{Kind, OrgId, StreamId},
    problem::Problem,
};
use std::sync::Arc;

impl Core {
    /// An org's rates; none for one that does not exist.
    fn rates_of(&self, org: &OrgId) -> Result<Arc<OrgRates>, Problem> {
        let changes = match self.rates.known(org) {
            Ok(known) => return Ok(known),
            Err(changes) => changes,
        };
        let stream = StreamId::new(org.clone(), Kind::QUOTA, ALL);
        // What is out of order is told by its own name.
        let named = |problem: Problem| {
            if problem.is_unavailable() {
                problem
            } else {
                unknown(problem.detail)
            }
        };
        let read = off_worker(|| self.recover_as::<Quota>(&stream)).map_err(named)?;
        let rates = Arc::new(read.typed_state().rates.clone());
        self.rates.keep(org, rates.clone(), changes);
        Ok(rates)
    }
}

impl Node {
    /// Counts a request at its org's rates, on the node that owns the org; `None` where it has none.
    pub async fn let_through(&self, asking: &Asking) -> Result<Option<Taken>, Problem> {
        let core = &self.0.core;
        let rates = core.rates_of(&asking.org)?;
        if rates.is_empty() {
            return Ok(None);
        }
        let partition = StreamId::of_org(&asking.org).partition(core.meta.partitions);
        if !core.is_elsewhere(partition) {
            return core.rates.take(&rates, asking, core.monotonic());
        }
        let owner = core.cluster().and_then(|cluster| Some((cluster, cluster.elsewhere(partition)?)));
        let (cluster, owner) = owner.ok_or_else(|| unknown("nobody who can be asked owns the org's partition"))?;
        cluster.ask_rates(&owner, asking).await
    }

    /// The same for another node that took this one for the owner.
    pub fn let_through_here(&self, asking: &Asking) -> Result<Option<Taken>, Problem> {
        let core = &self.0.core;
        if core.is_elsewhere(StreamId::of_org(&asking.org).partition(core.meta.partitions)) {
            return Err(unknown("this node does not own the org's partition"));
        }
        let rates = core.rates_of(&asking.org)?;
        core.rates.take(&rates, asking, core.monotonic())
    }
}

impl Cluster {
    async fn ask_rates(&self, owner: &Member, asking: &Asking) -> Result<Option<Taken>, Problem> {
        let request = self.post(owner, RATES_PATH).map_err(unknown)?;
        let answer = request.json(asking).send().await.map_err(|error| unknown(error.without_url()))?;
        let is_success = answer.status().is_success();
        let body = answer.bytes().await.map_err(|error| unknown(error.without_url()))?;
        if is_success {
            serde_json::from_slice(&body).map_err(unknown)
        } else {
            Err(serde_json::from_slice(&body).unwrap_or_else(|_| unknown("the owner answers in other words")))
        }
    }
}
