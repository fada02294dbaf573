//! Secrets that an org keeps as entities, read where they are used: what their stream says now, opened at that moment and held by
//! nobody.

use super::{Secret, SecretError, SecretSource, Secrets};
use crate::{core::Core, kernel::entity::Active, off_worker::off_worker, shadow};
use quipu_rules::{
    decider::Decider,
    secret::{self as rules, SecretState},
};
use quipu_schemas::{
    host::HostPattern,
    ids::{EntityId, Kind, OrgId, StreamId},
    personal::{Opened, SecretValue},
    problem::Problem,
};
use reqwest::Url;
use std::sync::{Arc, OnceLock, Weak};

/// The node's own source: what is configured wins, and cannot be taken; then what the org keeps.
pub(crate) struct NodeSecrets {
    configured: Secrets,
    core: OnceLock<Weak<Core>>,
}

impl NodeSecrets {
    pub(crate) fn new(configured: Secrets) -> Self {
        Self {
            configured,
            core: OnceLock::new(),
        }
    }

    /// Set once the core exists.
    pub(crate) fn set(&self, core: &Arc<Core>) {
        let _ = self.core.set(Arc::downgrade(core));
    }

    fn kept(&self, org: &OrgId, name: &str, to: Option<&Url>) -> Result<Vec<Secret>, SecretError> {
        let not_found = || SecretError::NotFound(format!("{org}/{name}").chars().take(160).collect());
        let id = EntityId::parse(name).map_err(|_| not_found())?;
        let core = self.core.get().and_then(Weak::upgrade);
        let core = core.ok_or_else(|| SecretError::Unavailable("the node is stopping".into()))?;
        let stream = StreamId::new(org.clone(), Kind::SECRET, id);
        let state = off_worker(|| core.secret(&stream))?;
        permitted(name, state.hosts(), to)?;
        let values = match &state {
            SecretState::Retired { .. } => return Err(SecretError::Retired(name.to_owned())),
            SecretState::Connected(connection) => match (state.values(core.now()), &connection.broken) {
                (Some(values), _) => values,
                (None, Some(_)) => return Err(SecretError::Broken(name.to_owned())),
                (None, None) => return Err(SecretError::Unavailable(format!("`{name}` waits for an access token"))),
            },
            state => state.values(core.now()).ok_or_else(not_found)?,
        };
        let opened = values.into_iter().map(|value| opened(name, value, &core));
        opened.collect()
    }
}

/// Refuses a receiver that the secret is not meant for.
fn permitted(name: &str, hosts: &[HostPattern], to: Option<&Url>) -> Result<(), SecretError> {
    let Some(to) = to.filter(|_| !hosts.is_empty()) else {
        return Ok(());
    };
    let (host, port) = (to.host_str().unwrap_or_default(), to.port_or_known_default().unwrap_or_default());
    if hosts.iter().any(|pattern| pattern.covers(host, port)) {
        return Ok(());
    }
    Err(SecretError::Elsewhere {
        name: name.to_owned(),
        host: format!("{host}:{port}").chars().take(120).collect(),
    })
}

fn opened(name: &str, value: &SecretValue, core: &Core) -> Result<Secret, SecretError> {
    match value.open(&*core.keys) {
        Ok(Opened::Value(text)) => Ok(Secret::new(text)),
        // Its key went, and the record that says so has not come here yet.
        Ok(Opened::Erased) => Err(SecretError::Unavailable(format!("`{name}` was replaced a moment ago"))),
        Err(error) if error.is_lasting() => Err(SecretError::Form {
            name: name.to_owned(),
            expected: "readable with the keys of this node",
        }),
        Err(error) => Err(SecretError::Unavailable(error.to_string())),
    }
}

impl Core {
    /// A secret as its stream has it. Where another node owns its partition: as that was followed, a moment ago at most. Blocks.
    pub(crate) fn secret(&self, stream: &StreamId) -> Result<SecretState, SecretError> {
        let unavailable = |problem: Problem| SecretError::Unavailable(problem.detail);
        let state = self.followed_state::<rules::Secret>(stream).map_err(unavailable)?;
        let partition = stream.partition(self.meta.partitions);
        if state != SecretState::Missing || !self.is_elsewhere(partition) {
            return Ok(state);
        }
        // It may have been made a moment ago, at another node.
        shadow::follow(self, partition);
        self.followed_state::<rules::Secret>(stream).map_err(unavailable)
    }

    /// The state of an entity that this node may not own, no older than what decisions on rights go by. Blocks.
    pub(crate) fn followed_state<D: Decider>(&self, stream: &StreamId) -> Result<D::State, Problem> {
        let partition = stream.partition(self.meta.partitions);
        if !self.is_fresh(partition) {
            let detail = format!("partition {partition} could not be followed to its end lately");
            return Err(Problem::new(503, "partition_stale", detail).retry_after(1));
        }
        let entity: Active<D> = self.recover_as(stream)?;
        Ok(entity.typed_state().clone())
    }
}

impl SecretSource for NodeSecrets {
    fn platform(&self, name: &str) -> Result<Secret, SecretError> {
        self.configured.platform(name)
    }

    fn all_of_org(&self, org: &OrgId, name: &str, to: Option<&Url>) -> Result<Vec<Secret>, SecretError> {
        match self.configured.all_of_org(org, name, to) {
            Err(SecretError::NotFound(_)) => self.kept(org, name, to),
            found => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_to_its_hosts_and_nowhere_else() {
        let hosts = ["api.example.com".parse().unwrap(), "127.0.0.1:9000".parse().unwrap()];
        let to = |url: &str| permitted("k", &hosts, Some(&url.parse().unwrap()));
        assert_eq!(to("https://api.example.com/v1"), Ok(()));
        assert_eq!(to("http://127.0.0.1:9000/x"), Ok(()));
        for url in [
            "http://api.example.com/v1",
            "https://api.example.com.evil.org/",
            "https://127.0.0.1/",
            "http://127.0.0.1:9001/",
        ] {
            let refused = to(url).unwrap_err();
            assert_eq!((refused.code(), refused.may_pass()), ("secret_host_refused", false), "{url}");
        }
        assert_eq!(permitted("k", &hosts, None), Ok(()), "nothing is sent");
        assert_eq!(permitted("k", &[], Some(&"http://anywhere.test".parse().unwrap())), Ok(()));
    }
}
