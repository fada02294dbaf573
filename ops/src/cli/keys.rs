//! `quipu keys`: short forms of the commands and queries of API keys.

use super::{
    connect::Connect,
    failure::Failure,
    terminal::{Terminal, Tone, cell},
};
use crate::client::Command;
use clap::{Args, Subcommand};
use quipu_schemas::ids::{EntityId, Kind, OrgId, PrincipalId};
use serde_json::{Value, json};

/// See, make, renew and end the API keys of an org
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  quipu keys list acme
  quipu keys create acme CI --scope 'cap:conversation.*' --days 30
  quipu keys rotate acme key_01k9x1 --grace-hours 1
  quipu keys revoke acme key_01k9x1 --reason 'no longer needed'")]
pub(super) enum Keys {
    /// The keys of an org, without their texts
    #[command(after_help = "Examples:\n  quipu keys list acme")]
    List(List),
    /// Make a key; its text is shown this once
    #[command(after_help = "Examples:\n  quipu keys create acme CI --principal ci-bot --scope cap:run.start --days 30")]
    Create(Create),
    /// Give a key another text; the old one ends at once, or after a grace
    #[command(after_help = "Examples:\n  quipu keys rotate acme key_01k9x1 --grace-hours 1")]
    Rotate(Rotate),
    /// End a key
    #[command(after_help = "Examples:\n  quipu keys revoke acme key_01k9x1 --reason 'it leaked'")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The org
    org: OrgId,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The org
    org: OrgId,
    /// What the key is called
    name: String,
    /// Who acts by it; you, unless given
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<PrincipalId>,
    /// What it may be used for at most; may be repeated
    #[arg(long = "scope", value_name = "RIGHT")]
    scopes: Vec<String>,
    /// How long it lives, days
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The org
    org: OrgId,
    /// The key's id
    id: EntityId,
    /// How long the old text still opens, hours
    #[arg(long, value_name = "HOURS")]
    grace_hours: Option<u32>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The org
    org: OrgId,
    /// The key's id
    id: EntityId,
    /// Why, for the audit
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connect: Connect,
}

impl Keys {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Keys::List(verb) => verb.run(terminal).await,
            Keys::Create(verb) => {
                let mut body = json!({ "name": verb.name, "scopes": verb.scopes });
                if let Some(principal) = verb.principal {
                    body["principal"] = principal.as_str().into();
                }
                if let Some(days) = verb.days {
                    body["expires_in_days"] = days.into();
                }
                send(terminal, &verb.connect, verb.org, None, "create", body).await
            }
            Keys::Rotate(verb) => {
                let body = verb.grace_hours.map_or_else(|| json!({}), |hours| json!({ "grace_hours": hours }));
                send(terminal, &verb.connect, verb.org, Some(verb.id), "rotate", body).await
            }
            Keys::Revoke(verb) => {
                let body = json!({ "reason": verb.reason });
                send(terminal, &verb.connect, verb.org, Some(verb.id), "revoke", body).await
            }
        }
    }
}

impl List {
    async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let path = format!("/v1/orgs/{}/{}", self.org, Kind::API_KEY.plural());
        let rows = self.connect.client()?.all(&path, &[]).await?;
        if terminal.json {
            return terminal.value(&rows);
        }
        const COLUMNS: [&str; 5] = ["id", "name", "principal", "status", "expires_at"];
        let of_row = |row: &Value| COLUMNS.iter().map(|name| cell(name, &row[*name])).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(of_row).collect();
        terminal.table(&COLUMNS, &rows, "no keys yet")
    }
}

async fn send(terminal: &Terminal, connect: &Connect, org: OrgId, id: Option<EntityId>, name: &str, body: Value) -> Result<(), Failure> {
    let command = Command {
        org,
        kind: Kind::API_KEY,
        id,
        name: name.to_owned(),
        body,
        command_id: None,
        expected_version: None,
        on_behalf_of: None,
    };
    let receipt = connect.client()?.command(&command).await?;
    if terminal.json {
        return terminal.value(&receipt);
    }
    terminal.line(&format!("{}  {}", terminal.paint(Tone::Good, "done"), receipt.stream.id))?;
    if let Some(shown) = &receipt.shown {
        terminal.line(shown.as_str())?;
        terminal.line(&terminal.paint(Tone::Notice, "shown this once, and kept nowhere: if it is lost, rotate the key"))?;
    }
    Ok(())
}
