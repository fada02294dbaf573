//! `quipu send`.

use super::{
    connect::Connect,
    failure::Failure,
    kind::singular,
    terminal::{Terminal, Tone},
};
use crate::{
    client::Command,
    json::{self, JsonError},
};
use clap::Args;
use quipu_schemas::ids::{CommandId, EntityId, Kind, OrgId, PrincipalId};
use serde_json::Value;
use std::io::Read;

const AFTER: &str = "\
Examples:
  quipu send acme org acme create '{\"name\":\"Acme\"}'
  quipu send acme conversation + create '{\"type\":\"group\"}' --as ada        + lets the node choose the id
  quipu send acme conversation c-1 post '{\"body\":\"hello\"}' --as ada --id mail-7
  quipu send acme run r-1 approve '{\"node\":\"approval\"}' --as ada --expect 12
  echo '{\"reason\":\"lunch\"}' | quipu send acme conversation c-1 pause -

The same --id is decided once, however often it is sent.";

/// Send a command; the answer is the receipt of what is decided and durable
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Send {
    /// The org
    org: OrgId,
    /// Kind of the entity: org, agent, conversation, run…
    #[arg(value_parser = singular)]
    kind: Kind,
    /// Id of the entity, or + for a new one of the node's choice
    id: String,
    /// The command, such as create or post
    command: String,
    /// Its fields as a JSON object, or - to read them from standard input
    #[arg(default_value = "{}")]
    body: String,
    /// Identity of the command: sent again under the same identity, it is decided only once
    #[arg(long = "id", id = "command_id", value_name = "COMMAND_ID")]
    command_id: Option<CommandId>,
    /// Version that the entity must be at (0: it must not exist)
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
    /// On whose behalf
    #[arg(long = "as", value_name = "PRINCIPAL", env = "QUIPU_ON_BEHALF_OF")]
    actor: Option<PrincipalId>,
    #[command(flatten)]
    connect: Connect,
}

impl Send {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let text = match self.body.as_str() {
            "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                text
            }
            text => text.to_owned(),
        };
        let body = match json::parse(json::without_mark(text.as_bytes())) {
            Err(e @ (JsonError::Repeated { .. } | JsonError::Inexact { .. })) => return Err(Failure::Usage(e.problem().to_string())),
            other => other.ok(),
        };
        let body = body
            .filter(Value::is_object)
            .ok_or_else(|| Failure::Usage("the fields must be a JSON object; quote them: '{\"name\":\"value\"}'".into()))?;
        let id = match self.id.as_str() {
            "+" if self.command != "create" => return Err(Failure::Usage("+ means a new entity, which only `create` makes".into())),
            "+" => None,
            id => Some(EntityId::parse(id).map_err(|e| Failure::Usage(e.to_string()))?),
        };
        let command = Command {
            org: self.org,
            kind: self.kind,
            id,
            name: self.command,
            body,
            command_id: self.command_id,
            expected_version: self.expect,
            on_behalf_of: self.actor,
        };
        let receipt = self.connect.client()?.command(&command).await?;
        if terminal.json {
            return terminal.value(&receipt);
        }
        let what = match (receipt.duplicate, receipt.unchanged) {
            (true, _) => terminal.paint(Tone::Notice, "decided before"),
            (false, true) => terminal.paint(Tone::Notice, "unchanged"),
            (false, false) => terminal.paint(Tone::Good, "done"),
        };
        let durability = serde_json::to_value(receipt.durability)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        terminal.line(&format!("{what}  {} is at version {}", receipt.stream, receipt.version))?;
        let detail = format!(
            "command {}  position {}  durable by {durability}",
            receipt.command_id, receipt.position
        );
        terminal.line(&terminal.paint(Tone::Faint, &detail))?;
        if let Some(shown) = &receipt.shown {
            terminal.line(shown.as_str())?;
            terminal.line(&terminal.paint(Tone::Notice, "shown this once, and kept nowhere: if it is lost, rotate the key"))?;
        }
        Ok(())
    }
}
