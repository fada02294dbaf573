//! What a node says of itself: parked streams, stopped partitions, the tree, health.

use super::Node;
use crate::{
    api::{HealthPart, ParkedStream, Stopped, TreeNode},
    kernel::refusals::outcome_unknown,
    refusals::index_problem,
};
use quipu_schemas::{ids::StreamId, limits, problem::Problem};
use std::sync::atomic::Ordering;

impl Node {
    /// Takes a parked stream back into service; what comes after its parked position is folded again.
    pub async fn unpark(&self, stream: &StreamId) -> Result<(), Problem> {
        let core = &self.0.core;
        if core.index.parked(stream).map_err(|e| index_problem(&e))?.is_none() {
            return Err(Problem::new(409, "not_parked", format!("{stream} is not parked")).field("stream"));
        }
        core.index.unpark(stream).map_err(|e| index_problem(&e))?;
        core.drop_entity(stream);
        let (reader, recovered) = (core.clone(), stream.clone());
        let fits = tokio::task::spawn_blocking(move || reader.recover(&recovered).map(|_| ())).await;
        core.due.lock().unparked(stream);
        core.timers.send_modify(|n| *n += 1);
        self.reload(stream);
        fits.unwrap_or_else(|_| Err(outcome_unknown()))
    }

    /// Streams that the node has taken out of service, by name. Those that only the views left alone are not among them.
    pub fn parked(&self) -> Result<Vec<ParkedStream>, Problem> {
        let found = self.0.core.index.all_parked().map_err(|e| index_problem(&e))?;
        let mut parked: Vec<ParkedStream> = found
            .into_iter()
            .map(|p| ParkedStream {
                stream: p.stream,
                position: p.position,
                detail: p.detail,
            })
            .collect();
        parked.sort_by(|a, b| a.stream.cmp(&b.stream));
        Ok(parked)
    }

    /// Partitions that stop before their end because the log is damaged there.
    pub fn stopped(&self) -> Vec<Stopped> {
        (0..self.0.core.meta.partitions)
            .filter_map(|partition| self.0.core.stopped(partition))
            .collect()
    }

    /// The supervision tree.
    pub fn tree(&self) -> TreeNode {
        let core = &self.0.core;
        let partitions = (0..core.meta.partitions).map(|number| {
            let partition = core.partition(number);
            let restarts = partition.restarts.load(Ordering::Relaxed);
            let leaf = |name: String, role: &str, status: &str| TreeNode {
                name,
                role: role.into(),
                status: status.into(),
                restarts: 0,
                children: vec![],
            };
            let stopped = partition.writer.lock().stopped().is_some() || core.stopped(number).is_some();
            let relay = partition.relay.lock().is_some();
            let mut children = vec![
                leaf("writer".into(), "writer", if stopped { "stopped" } else { "running" }),
                leaf("relay".into(), "relay", if relay { "running" } else { "stopped" }),
            ];
            children.extend(
                core.registry
                    .sample(number, core.meta.partitions, 100)
                    .into_iter()
                    .map(|s| leaf(s.to_string(), "entity", "running")),
            );
            TreeNode {
                name: format!("partition-{number}"),
                role: "partition".into(),
                status: if stopped { "stopped" } else { "running" }.into(),
                restarts,
                children,
            }
        });
        let status = if core.stopping.load(Ordering::Acquire) {
            "stopping"
        } else {
            "running"
        };
        TreeNode {
            name: core.cluster().map_or_else(String::new, |cluster| cluster.me.node.clone()),
            role: "node".into(),
            status: status.into(),
            restarts: 0,
            children: partitions.collect(),
        }
    }

    /// Appends that wait for the storage longer than they should; `None` where none does.
    fn slow_appends(&self) -> Option<HealthPart> {
        let core = &self.0.core;
        let now = core.monotonic();
        let waits = (0..core.meta.partitions).map(|number| core.partition(number).appending_for(now));
        let longest = waits.max().unwrap_or(0);
        (longest > limits::APPEND_SLOW_MS).then(|| HealthPart {
            count: None,
            name: "appends".into(),
            ok: false,
            critical: false,
            detail: format!("an append has been waiting for the storage for {} s", longest / 1000),
        })
    }

    /// Health of the parts that the node itself runs.
    pub fn health(&self) -> Vec<HealthPart> {
        let core = &self.0.core;
        let trouble = core.log.trouble();
        let mut parts = vec![HealthPart {
            count: None,
            name: "log".into(),
            ok: trouble.is_none(),
            critical: true,
            detail: trouble.unwrap_or_else(|| {
                let durability = serde_json::to_value(core.meta.durability).unwrap_or_default();
                format!(
                    "{}, {} partitions, {}",
                    core.meta.backend,
                    core.meta.partitions,
                    durability.as_str().unwrap_or_default()
                )
            }),
        }];
        parts.extend(self.slow_appends());
        parts.extend(core.tasks.health());
        parts.extend((0..core.meta.partitions).filter_map(|partition| self.stopped_partition(partition)));
        if let Some(damage) = core.index.damage() {
            let detail = format!("damaged: {damage}; lookups of the damaged rows are refused, and the next start rebuilds it from the log");
            parts.push(HealthPart {
                count: None,
                name: "index".into(),
                ok: false,
                critical: false,
                detail,
            });
        }
        if let Some(detail) = core.clock.trouble() {
            parts.push(HealthPart {
                count: None,
                name: "clock".into(),
                ok: false,
                critical: false,
                detail,
            });
        }
        let parked = core.index.all_parked().unwrap_or_default();
        if !parked.is_empty() {
            let names: Vec<String> = parked.iter().take(5).map(|p| p.stream.to_string()).collect();
            let detail = format!("{} parked: {}", parked.len(), names.join(", "));
            parts.push(HealthPart::degraded("streams", parked.len() as u64, detail));
        }
        parts.extend(self.troubles());
        parts
    }

    /// Why a partition is not served here, where it should be.
    fn stopped_partition(&self, number: u16) -> Option<HealthPart> {
        let core = &self.0.core;
        // What another node serves is nothing to worry about here.
        let is_elsewhere = core.cluster().is_some_and(|cluster| cluster.is_anothers(number));
        let refused = || core.partition(number).writer.lock().refuses().map(|problem| problem.detail.clone());
        // Damage says more than what follows from it.
        let detail = core
            .stopped(number)
            .map(|stopped| format!("stopped at offset {}: {}", stopped.offset, stopped.detail))
            .or_else(|| if is_elsewhere { None } else { refused() })?;
        Some(HealthPart {
            count: None,
            name: format!("partition-{number}"),
            ok: false,
            critical: false,
            detail,
        })
    }
}
