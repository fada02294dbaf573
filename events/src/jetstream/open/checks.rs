//! What the streams of a log must be like.

use super::super::durability;
use super::{FORMAT, Identity, Info, Opening, error::OpenError};
use crate::broker::durability::{Known, class, is_synced, name};
use quipu_schemas::{envelope::Durability, position::LogId};
use serde_json::json;
use std::collections::BTreeMap;

impl Opening<'_> {
    pub(super) fn unfit(&self, partition: u16, detail: String) -> OpenError {
        OpenError::Stream {
            stream: self.options.stream(partition),
            detail,
        }
    }

    pub(super) fn other_log(&self, partition: u16, found: LogId, asked: LogId) -> OpenError {
        OpenError::OtherLog {
            stream: self.options.stream(partition),
            found: hex::encode(found.0),
            asked: hex::encode(asked.0),
        }
    }

    pub(super) fn identity(&self, partition: u16, info: &Info) -> Result<Identity, OpenError> {
        let metadata: BTreeMap<String, String> =
            serde_json::from_value(info.config["metadata"].clone()).map_err(|_| self.unfit(partition, "it is not a log's".into()))?;
        let get = |key: &str| {
            let missing = || self.unfit(partition, format!("its metadata has no `{key}`: it is not a log's"));
            metadata.get(key).map(String::as_str).ok_or_else(missing)
        };
        let bad = |key: &str| self.unfit(partition, format!("`{key}` in its metadata is not valid"));
        if get("quipu.format")? != FORMAT {
            return Err(self.unfit(
                partition,
                format!("it is of format {}, this release reads {FORMAT}", get("quipu.format")?),
            ));
        }
        let id = hex::decode(get("quipu.log")?).ok().and_then(|id| id.try_into().ok());
        Ok(Identity {
            log_id: LogId(id.ok_or_else(|| bad("quipu.log"))?),
            generation: get("quipu.generation")?.parse().map_err(|_| bad("quipu.generation"))?,
            partitions: get("quipu.partitions")?.parse().map_err(|_| bad("quipu.partitions"))?,
            complete: metadata.contains_key("quipu.complete"),
        })
    }

    /// Refuses a stream that would lose or change what is in it; the servers that hold it.
    pub(super) fn check(&self, partition: u16, info: &Info) -> Result<Vec<String>, OpenError> {
        let config = &info.config;
        let unlimited = |key: &str| config[key].as_i64().unwrap_or(-1) <= 0;
        let wrong = if config["storage"] != "file" {
            "its storage is not in files".into()
        } else if config["retention"] != "limits" || config["discard"] != "new" {
            "it discards old messages".into()
        } else if let Some(key) = ["max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"]
            .iter()
            .find(|key| !unlimited(key))
        {
            format!("it limits {key}")
        } else if config["deny_delete"] != true || config["deny_purge"] != true {
            "its messages may be deleted or purged".into()
        } else if config["allow_direct"] != true {
            "it does not allow direct reads".into()
        } else if config["subjects"] != json!([self.options.subject(partition)]) {
            format!("its subjects are {}", config["subjects"])
        } else if config["num_replicas"].as_u64() != Some(self.options.replicas as u64) {
            format!("it has {} replicas, not {}", config["num_replicas"], self.options.replicas)
        } else if ["mirror", "sources", "subject_transform"].iter().any(|key| !config[*key].is_null()) || config["sealed"] == true {
            "it mirrors, transforms or is sealed".into()
        } else if config["persist_mode"] == "async" {
            "it acknowledges before it writes".into()
        } else {
            let cluster = info.cluster.iter();
            return Ok(cluster
                .flat_map(|c| c.leader.iter().cloned().chain(c.replicas.iter().map(|r| r.name.clone())))
                .collect());
        };
        Err(self.unfit(partition, wrong))
    }

    pub(super) async fn durability(&self, holders: &[String]) -> Result<Durability, OpenError> {
        let (known, why) = match (&self.options.system, self.options.declared_sync) {
            (Some(system), _) => match durability::ask(self.options, system, &self.holders(holders)).await {
                Ok(mode) => (Known::Told(mode), String::new()),
                Err(why) => (Known::Assumed, format!(" (its servers were asked: {why})")),
            },
            (None, Some(mode)) => (Known::Declared(mode), String::new()),
            (None, None) => (
                Known::Assumed,
                " (nothing says when its servers sync, and by default they do not before they acknowledge)".into(),
            ),
        };
        let class = class(self.options.replicas, known);
        if is_synced(class) || self.options.accept_unsynced {
            return Ok(class);
        }
        Err(OpenError::Unsynced { class: name(class), why })
    }

    /// A server alone names no leader.
    pub(super) fn holders(&self, named: &[String]) -> Vec<String> {
        if named.is_empty() {
            vec![self.wire.client.server_info().server_name]
        } else {
            named.to_vec()
        }
    }
}
