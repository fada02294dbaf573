//! What somebody who is logged in changes of their account.

use super::super::{
    connect::Connect,
    failure::Failure,
    login,
    terminal::{Terminal, Tone},
};
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Name {
    /// What you are called
    name: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OfAddress {
    /// The address to add, or the id of the one to remove, adr_…
    address: String,
    /// A code, where your account asks for one
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Totp {
    /// A code of the authenticator that is to be replaced, or a recovery code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Show {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let me = self.connect.client()?.get("/v1/me", &[]).await?.body;
        let account = &me["account"];
        if terminal.json {
            return terminal.value(account);
        }
        let name = account["name"].as_str().unwrap_or("no name");
        terminal.line(&format!("{}  {name}", me["principal"].as_str().unwrap_or_default()))?;
        for address in account["addresses"].as_array().into_iter().flatten() {
            let verified = if address["verified"] == true { "verified" } else { "not verified" };
            let [id, text] = ["id", "address"].map(|field| address[field].as_str().unwrap_or_default());
            terminal.line(&format!("{id}  {text}  {}", terminal.paint(Tone::Faint, verified)))?;
        }
        let codes = match (account["has_totp"] == true, &account["recovery_codes"]) {
            (true, left) => format!("a code is asked for at login; {left} recovery codes are left"),
            (false, _) => "no code is asked for at login: `quipu account totp` sets up an authenticator".into(),
        };
        terminal.line(&terminal.paint(Tone::Faint, &codes))
    }
}

impl Name {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let answer = self
            .connect
            .client()?
            .post_once("/v1/auth/name", &json!({ "name": self.name }))
            .await?;
        done(terminal, &answer, "the name is changed")
    }
}

impl OfAddress {
    async fn say(self, path: &str, field: &str) -> Result<Value, Failure> {
        let mut asked = json!({ "password": login::password(false)? });
        asked[field] = self.address.into();
        if let Some(code) = self.code {
            asked["code"] = code.into();
        }
        Ok(self.connect.client()?.post_once(path, &asked).await?)
    }

    pub(super) async fn add(self, terminal: &Terminal) -> Result<(), Failure> {
        let answer = self.say("/v1/auth/address/add", "address").await?;
        let next = match answer["letter"] == true {
            true => "a letter with a code is on its way: quipu account verify qpv_…".to_owned(),
            false => format!("added as {}; this node sends no mail", answer["id"].as_str().unwrap_or_default()),
        };
        done(terminal, &answer, &next)
    }

    pub(super) async fn remove(self, terminal: &Terminal) -> Result<(), Failure> {
        let answer = self.say("/v1/auth/address/remove", "id").await?;
        done(terminal, &answer, "the address is removed")
    }
}

impl Totp {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let asked = match self.code {
            Some(code) => json!({ "code": code }),
            None => json!({ "password": login::password(false)? }),
        };
        let made = client.post_once("/v1/auth/totp", &asked).await?;
        if terminal.json {
            return terminal.value(&made);
        }
        terminal.line(made["uri"].as_str().unwrap_or_default())?;
        terminal.line(&terminal.paint(Tone::Faint, "add this to your authenticator, and type the code that it shows"))?;
        let shown = json!({ "code": login::secret("Code: ")? });
        let confirmed = client.post_once("/v1/auth/totp/confirm", &shown).await?;
        terminal.line(&terminal.paint(Tone::Good, "a code is asked for at login from now on"))?;
        terminal.line("Recovery codes, each good once; they are shown this one time:")?;
        for code in confirmed["recovery_codes"].as_array().into_iter().flatten() {
            terminal.line(&format!("  {}", code.as_str().unwrap_or_default()))?;
        }
        Ok(())
    }
}

fn done(terminal: &Terminal, answer: &Value, said: &str) -> Result<(), Failure> {
    if terminal.json {
        return terminal.value(answer);
    }
    terminal.line(&terminal.paint(Tone::Good, said))
}
