//! `quipu invites`: who is asked into an org, and how they join.

use super::{
    connect::Connect,
    failure::Failure,
    login,
    terminal::{Terminal, Tone, cell},
};
use crate::client::Command;
use clap::{Args, Subcommand};
use quipu_schemas::ids::{EntityId, Kind, OrgId};
use serde_json::{Value, json};

/// Ask people into an org, see who was asked, and join
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  quipu invites create acme bob@example.com --role member
  quipu invites list acme
  quipu invites revoke acme inv_01k9x1 --reason 'wrong address'
  quipu invites link acme inv_01k9x1
  quipu invites accept qpi_…")]
pub(super) enum Invites {
    /// The invites of an org
    #[command(after_help = "Examples:\n  quipu invites list acme")]
    List(List),
    /// Ask whoever has an address into an org; a letter with a link is sent there
    #[command(after_help = "Examples:\n  quipu invites create acme bob@example.com --role member --days 3")]
    Create(Create),
    /// Take an invite back
    #[command(after_help = "Examples:\n  quipu invites revoke acme inv_01k9x1 --reason 'wrong address'")]
    Revoke(Revoke),
    /// Make the link of a letter that nobody sends, by the node's own token
    #[command(after_help = "Examples:\n  quipu invites link acme inv_01k9x1")]
    Link(Link),
    /// Join an org by the code of a letter: as who you are logged in, else by your password
    #[command(after_help = "Examples:\n  quipu invites accept qpi_…\n  QUIPU_PASSWORD=… quipu invites accept qpi_… --by-password")]
    Accept(Accept),
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
    /// Their address
    address: String,
    /// The role that they get: viewer, member, admin or owner
    #[arg(long, value_name = "ROLE", default_value = "member")]
    role: String,
    /// How long they have, days
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The org
    org: OrgId,
    /// The invite's id
    id: EntityId,
    /// Why, for the audit
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Link {
    /// The org
    org: OrgId,
    /// The invite's id
    id: EntityId,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Accept {
    /// The code
    code: String,
    /// Join with the account of the address that was invited, or get one, by a password; so does whoever is not logged in
    #[arg(long)]
    by_password: bool,
    /// A code, where the account asks for one
    #[arg(long, value_name = "CODE")]
    totp: Option<String>,
    /// What you are called, for a new account
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Invites {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Self::List(verb) => verb.run(terminal).await,
            Self::Create(verb) => {
                let mut body = json!({ "address": verb.address, "role": verb.role });
                if let Some(days) = verb.days {
                    body["days"] = days.into();
                }
                send(terminal, &verb.connect, verb.org, None, "create", body).await
            }
            Self::Revoke(verb) => {
                let body = json!({ "reason": verb.reason });
                send(terminal, &verb.connect, verb.org, Some(verb.id), "revoke", body).await
            }
            Self::Link(verb) => {
                let asked = json!({ "purpose": "invite", "org": verb.org, "id": verb.id });
                let answer: Value = verb.connect.by_node()?.post_once("/v1/auth/link", &asked).await?;
                if terminal.json {
                    return terminal.value(&answer);
                }
                terminal.line(answer["link"].as_str().unwrap_or_default())
            }
            Self::Accept(verb) => verb.run(terminal).await,
        }
    }
}

impl List {
    async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let path = format!("/v1/orgs/{}/{}", self.org, Kind::INVITE.plural());
        let rows = self.connect.client()?.all(&path, &[]).await?;
        if terminal.json {
            return terminal.value(&rows);
        }
        const COLUMNS: [&str; 5] = ["id", "role", "status", "invited_by", "expires_at"];
        let of_row = |row: &Value| COLUMNS.iter().map(|name| cell(name, &row[*name])).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(of_row).collect();
        terminal.table(&COLUMNS, &rows, "nobody was invited yet")
    }
}

impl Accept {
    async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let mut asked = json!({ "code": self.code });
        let logged_in = if self.by_password { None } else { self.connect.logged_in()? };
        let client = if let Some(client) = logged_in {
            client
        } else {
            asked["password"] = login::password(false)?.into();
            for (field, given) in [("totp", &self.totp), ("name", &self.name)] {
                if let Some(text) = given {
                    asked[field] = text.as_str().into();
                }
            }
            self.connect.open()?
        };
        let answer: Value = client.post_once("/v1/auth/invite/accept", &asked).await?;
        if terminal.json {
            return terminal.value(&answer);
        }
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let done = terminal.paint(Tone::Good, "accepted");
        terminal.line(&format!("{done}  {} joins {} as {}", text("principal"), text("org"), text("role")))
    }
}

async fn send(terminal: &Terminal, connect: &Connect, org: OrgId, id: Option<EntityId>, name: &str, body: Value) -> Result<(), Failure> {
    let command = Command {
        org,
        kind: Kind::INVITE,
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
    terminal.line(&format!("{}  {}", terminal.paint(Tone::Good, "done"), receipt.stream.id))
}
