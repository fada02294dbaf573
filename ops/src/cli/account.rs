//! `quipu account`: what a person changes of their own, what they do by the code of a letter, and the links of a node that sends none.

mod own;

use super::{
    connect::Connect,
    failure::Failure,
    login,
    terminal::{Terminal, Tone},
};
use crate::client::Client;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// Your name, addresses and authenticator; lost passwords; the links of a node that sends no letters
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  quipu account show
  quipu account add-address ada@example.net
  quipu account totp
  quipu account forgot ada@example.com
  quipu account reset qpw_…
  quipu account verify qpv_…
  quipu account link reset-password usr_01k9x1v9t4e8f")]
pub(super) enum Account {
    /// Show your name, your addresses, and what login asks for
    #[command(after_help = "Examples:\n  quipu account show\n  quipu account show --json")]
    Show(own::Show),
    /// Say what you are called
    #[command(after_help = "Examples:\n  quipu account name 'Ada Lovelace'")]
    Name(own::Name),
    /// Add an address; your password is asked for
    #[command(after_help = "Examples:\n  quipu account add-address ada@example.net\n\nScripts give the password in QUIPU_PASSWORD.")]
    AddAddress(own::OfAddress),
    /// Remove an address; your password is asked for
    #[command(after_help = "Examples:\n  quipu account remove-address adr_01k9x1v9t4e8f\n\n`quipu account show` lists the ids.")]
    RemoveAddress(own::OfAddress),
    /// Set up an authenticator, or another one: codes that follow from the time
    #[command(after_help = "Examples:\n  quipu account totp\n  quipu account totp --code 123456     replaces the one that you have")]
    Totp(own::Totp),
    /// Have a code sent to your address, by which you set another password
    #[command(after_help = "Examples:\n  quipu account forgot ada@example.com")]
    Forgot(Forgot),
    /// Set another password by the code of a letter; every session ends
    #[command(after_help = "Examples:\n  quipu account reset qpw_…\n\nThe password is asked for; scripts give it in QUIPU_PASSWORD.")]
    Reset(WithCode),
    /// Show that an address is yours, by the code that was sent to it
    #[command(after_help = "Examples:\n  quipu account verify qpv_…")]
    Verify(WithCode),
    /// Make the link of a letter that nobody sends, by the node's own token
    #[command(
        after_help = "Examples:\n  quipu account link reset-password usr_01k9x1v9t4e8f\n  quipu account link verify-address usr_01k9x1v9t4e8f"
    )]
    Link(Link),
}

#[derive(Debug, Args)]
pub(super) struct Forgot {
    /// Your address
    address: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct WithCode {
    /// The code
    code: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub(super) struct Link {
    /// What it is for
    purpose: Purpose,
    /// The person, usr_…
    id: String,
    /// One of their addresses, adr_…; the first unless given
    #[arg(long, value_name = "ID")]
    address: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Purpose {
    /// Set another password
    ResetPassword,
    /// Show that an address is theirs
    VerifyAddress,
}

impl Account {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let open = |connect: &Connect| Client::new(&connect.address(), "");
        let (answer, said) = match self {
            Self::Show(show) => return show.run(terminal).await,
            Self::Name(name) => return name.run(terminal).await,
            Self::AddAddress(address) => return address.add(terminal).await,
            Self::RemoveAddress(address) => return address.remove(terminal).await,
            Self::Totp(totp) => return totp.run(terminal).await,
            Self::Forgot(Forgot { address, connect }) => {
                let asked = json!({ "address": address });
                let answer = open(&connect)?.post_once("/v1/auth/password/forgot", &asked).await?;
                (answer, "a letter is on its way, if somebody has this address")
            }
            Self::Reset(WithCode { code, connect }) => {
                let asked = json!({ "code": code, "password": login::password(true)? });
                let answer = open(&connect)?.post_once("/v1/auth/password/reset", &asked).await?;
                (answer, "the password is set, and every session has ended")
            }
            Self::Verify(WithCode { code, connect }) => {
                let answer = open(&connect)?
                    .post_once("/v1/auth/address/verify", &json!({ "code": code }))
                    .await?;
                (answer, "the address is verified")
            }
            Self::Link(link) => return link.run(terminal).await,
        };
        if terminal.json {
            return terminal.value(&answer);
        }
        terminal.line(&terminal.paint(Tone::Good, said))
    }
}

impl Link {
    async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let purpose = match self.purpose {
            Purpose::ResetPassword => "reset_password",
            Purpose::VerifyAddress => "verify_address",
        };
        let mut asked = json!({ "purpose": purpose, "id": self.id });
        if let Some(address) = self.address {
            asked["address"] = address.into();
        }
        let answer: Value = self.connect.by_node()?.post_once("/v1/auth/link", &asked).await?;
        if terminal.json {
            return terminal.value(&answer);
        }
        terminal.line(answer["link"].as_str().unwrap_or_default())?;
        terminal.line(&terminal.paint(Tone::Faint, "whoever has this link is that person: hand it on to them alone"))
    }
}
