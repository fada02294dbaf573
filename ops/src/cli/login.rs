//! `quipu login`, `logout` and `whoami`.

mod device;

use super::{
    connect::Connect,
    failure::Failure,
    terminal::{Terminal, Tone},
};
use crate::{
    client::{Client, ClientError},
    profiles::{Profile, Profiles},
};
use clap::Args;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};

const LOGIN: &str = "\
Examples:
  quipu login --first --address ada@example.com     the first account: an operator, made by the node's own token
  quipu login --address ada@example.com
  quipu login --id usr_01k9x1v9t4e8f --url https://quipu.example
  quipu login --device                              sign in with a browser elsewhere, where the node has its page
  quipu login --id usr_01k9x1v9t4e8f --reset        another password, by the node's own token
  QUIPU_PASSWORD=… quipu login --address ada@example.com --json

The password is asked for on the terminal and not shown; scripts give it in QUIPU_PASSWORD. Who is logged in where is kept in
QUIPU_PROFILES, else in ~/.config/quipu, in files that nobody else can read.";

/// Log in at a node, as a person with an account there
#[derive(Debug, Args)]
#[command(after_help = LOGIN)]
pub(super) struct Login {
    /// Your address, such as ada@example.com
    #[arg(long, value_name = "ADDRESS", conflicts_with = "id")]
    address: Option<String>,
    /// Your id, usr_…
    #[arg(long, value_name = "ID", conflicts_with = "first")]
    id: Option<String>,
    /// Show a short code, and wait until somebody has signed in with it in a browser
    #[arg(long, conflicts_with_all = ["address", "id", "first", "reset", "code"])]
    device: bool,
    /// Make the account before, by the node's own token: it operates the platform
    #[arg(long)]
    first: bool,
    /// Set the password before, by the node's own token: for whoever has lost theirs
    #[arg(long, requires = "id", conflicts_with = "first")]
    reset: bool,
    /// What you are called, for a new account
    #[arg(long, value_name = "NAME", requires = "first")]
    name: Option<String>,
    /// A code, where the account asks for one
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// What this session may be used for at most, such as "cap:run.* role:viewer"
    #[arg(long, value_name = "RIGHTS")]
    scope: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Login {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let profiles = Profiles::of_user()?;
        let url = self.connect.address();
        if self.device {
            let profile = device::log_in(&url, self.scope.as_deref()).await?;
            return keep(&profiles, &url, &profile, terminal);
        }
        let who = match (&self.id, &self.address) {
            (Some(id), _) => ("id", id.clone()),
            (None, Some(address)) => ("address", address.clone()),
            (None, None) => ("address", asked("Address: ")?),
        };
        let password = password(self.first || self.reset)?;
        if self.first {
            let mut account = json!({ "password": password, "operator": true, "first": true });
            account[who.0] = who.1.clone().into();
            if let Some(name) = &self.name {
                account["name"] = name.as_str().into();
            }
            self.connect.by_node()?.post_once("/v1/auth/register", &account).await?;
        }
        if self.reset {
            let lost = json!({ "id": who.1, "password": password });
            self.connect.by_node()?.post_once("/v1/auth/password/set", &lost).await?;
        }
        let mut login = json!({ "password": password });
        login[who.0] = who.1.into();
        for (field, given) in [("code", &self.code), ("scope", &self.scope)] {
            if let Some(text) = given {
                login[field] = text.as_str().into();
            }
        }
        let client = Client::new(&url, "")?;
        let answer = match client.post_once("/v1/auth/login", &login).await {
            Err(ClientError::Refused(problem)) if problem.code == "totp_required" && self.code.is_none() => {
                login["code"] = secret("Code: ")?.into();
                client.post_once("/v1/auth/login", &login).await?
            }
            other => other?,
        };
        keep(&profiles, &url, &Profile::of(&answer)?, terminal)
    }
}

/// Keeps who is logged in, and says so.
fn keep(profiles: &Profiles, url: &str, profile: &Profile, terminal: &Terminal) -> Result<(), Failure> {
    profiles.store(url, profile)?;
    if terminal.json {
        return terminal.value(&json!({ "principal": profile.principal, "session": profile.session, "url": url }));
    }
    let done = terminal.paint(Tone::Good, "logged in");
    terminal.line(&format!("{done}  {} at {url}", profile.principal))?;
    terminal.line(&terminal.paint(
        Tone::Faint,
        &format!("session {}, access until {}", profile.session, profile.until()),
    ))
}

const LOGOUT: &str = "\
Examples:
  quipu logout
  quipu logout --url https://quipu.example

The session ends at the node, and with it everything that was opened by it. Where the node's own token is at hand, in QUIPU_TOKEN or
in the data directory, later commands go by that.";

/// End the session that `quipu login` began
#[derive(Debug, Args)]
#[command(after_help = LOGOUT)]
pub(super) struct Logout {
    #[command(flatten)]
    connect: Connect,
}

impl Logout {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let (profiles, url) = (Profiles::of_user()?, self.connect.address());
        let Some(profile) = profiles.load(&url)? else {
            return Err(Failure::Usage(format!("nobody is logged in at {url}")));
        };
        let ended = match profiles.token(&url).await {
            Ok(Some(token)) => Client::new(&url, token)?.post_once("/v1/auth/logout", &json!({})).await.map(|_| ()),
            Ok(None) => Ok(()),
            Err(crate::profiles::ProfileError::Client(error)) => Err(error),
            Err(other) => return Err(other.into()),
        };
        match ended {
            // It has ended already.
            Err(ClientError::Refused(problem)) if matches!(problem.status, 401 | 403) => {}
            other => other?,
        }
        profiles.remove(&url)?;
        // Whoever logs out and has the node's token, or QUIPU_TOKEN, goes on by that.
        let acts_as = self.connect.by_node().is_ok().then_some("bootstrap");
        if terminal.json {
            return terminal.value(&json!({ "ended": [profile.session], "acts_as": acts_as }));
        }
        terminal.line(&format!("{}  {}", terminal.paint(Tone::Good, "logged out"), profile.principal))?;
        let left = match acts_as {
            Some(_) => "what you send from here goes by the node's own token, which opens all of the node: it lies in the data directory",
            None => "what you send from here goes by no credential",
        };
        terminal.line(&terminal.paint(Tone::Faint, left))
    }
}

const WHOAMI: &str = "\
Examples:
  quipu whoami
  quipu whoami --json";

/// See who you are at a node
#[derive(Debug, Args)]
#[command(after_help = WHOAMI)]
pub(super) struct Whoami {
    #[command(flatten)]
    connect: Connect,
}

impl Whoami {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let url = self.connect.address();
        let me = match self.connect.client()?.get("/v1/me", &[]).await {
            Err(ClientError::Refused(problem)) if problem.code == "no_account" => {
                if terminal.json {
                    return terminal.value(&json!({ "principal": "bootstrap", "operator": true, "orgs": null, "session": null }));
                }
                return terminal.line(&format!("the node's own token of {url}, which opens all of it"));
            }
            other => other?.body,
        };
        if terminal.json {
            return terminal.value(&me);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let operates = if me["operator"] == true { ", an operator" } else { "" };
        terminal.line(&format!(
            "{}{operates}, at {url}",
            terminal.paint(Tone::Strong, &text(&me["principal"]))
        ))?;
        let session = &me["session"];
        let scope = session["scope"].as_str().map_or(String::new(), |scope| format!(", cut to {scope}"));
        let line = format!("session {} until {}{scope}", text(&session["id"]), text(&session["expires_at"]));
        terminal.line(&terminal.paint(Tone::Faint, &line))?;
        match me["orgs"].as_array() {
            Some(orgs) => {
                let rows: Vec<_> = orgs.iter().map(|org| vec![text(&org["org"]), text(&org["role"])]).collect();
                terminal.table(&["org", "role"], &rows, "a member of no org yet")
            }
            None => Ok(()),
        }
    }
}

/// A line that somebody types, seen.
fn asked(prompt: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("say who you are: --address or --id".into()));
    }
    let mut err = io::stderr().lock();
    write!(err, "{prompt}").and_then(|()| err.flush()).map_err(Failure::of_write)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    match line.trim() {
        "" => Err(Failure::Usage("nothing was typed".into())),
        text => Ok(text.to_owned()),
    }
}

/// A line that somebody types, unseen.
pub(super) fn secret(prompt: &str) -> Result<String, Failure> {
    rpassword::prompt_password(prompt).map_err(|e| Failure::Usage(format!("no terminal to ask on ({e}): set QUIPU_PASSWORD")))
}

pub(super) fn password(is_new: bool) -> Result<String, Failure> {
    if let Ok(given) = std::env::var("QUIPU_PASSWORD")
        && !given.is_empty()
    {
        return Ok(given);
    }
    let typed = secret("Password: ")?;
    if is_new && secret("The same once more: ")? != typed {
        return Err(Failure::Usage("the two passwords differ".into()));
    }
    Ok(typed)
}
