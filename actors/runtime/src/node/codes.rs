//! Codes that are sent to an address, or shown to whoever operates the node: how they are asked for, and what they do.

use super::{Node, accounts::word};
use crate::{
    accounts::{Password, addresses::Normal},
    off_worker::off_worker,
    performers::link,
};
use quipu_kinds::principal::{Address, AskCode, SetPassword, UseCode};
use quipu_rules::principal::code_refused;
use quipu_schemas::{
    ids::{EntityId, Home, PrincipalId},
    mail::{MailCode, MailPurpose},
    problem::Problem,
};
use std::net::IpAddr;

/// A code with the place where it is taken.
#[derive(Debug, Clone)]
pub struct ShownCode {
    /// The code.
    pub code: String,
    /// Where whoever has it goes.
    pub link: String,
}

impl Node {
    /// Whether letters go anywhere.
    pub fn has_mail(&self) -> bool {
        self.0.config.mail.is_some()
    }

    /// Sends a person a code to one of their addresses: the one that is named, else the first that was not verified. Once it has been
    /// verified, and a minute after another letter, none is sent.
    pub async fn send_verification(&self, home: &Home, address: Option<&EntityId>) -> Result<(), Problem> {
        self.needs_mail()?;
        let address = self.address_of(home, address, |address| !address.verified)?;
        self.ask_code(home, MailPurpose::VerifyAddress, &address, true).await.map(|_| ())
    }

    /// Sends a code by which whoever has this address sets another password. What is answered, and when, says nothing of whether there is
    /// such an account: it is looked for behind the answer.
    pub fn send_reset(&self, typed: &str, from: Option<IpAddr>) -> Result<(), Problem> {
        self.needs_mail()?;
        let address = Normal::parse(typed)?;
        // Each letter that somebody asks for counts as a guess: nobody floods a mailbox.
        self.guess(&format!("reset {}", String::from_utf8_lossy(address.as_bytes())), from)?;
        let busy = || Problem::new(503, "login_busy", "too many ask at once").retry_after(1);
        let held = self.0.core.accounts.resets.clone().try_acquire_owned().map_err(|_| busy())?;
        let node = self.clone();
        tokio::spawn(async move {
            if let Err(problem) = node.reset_to(&address).await {
                tracing::warn!(code = problem.code, "no code was sent to whoever has lost a password");
            }
            drop(held);
        });
        Ok(())
    }

    async fn reset_to(&self, typed: &Normal) -> Result<(), Problem> {
        let core = self.0.core.clone();
        let found = off_worker(|| core.addresses(|known| known.named(typed)))?;
        let Some((home, address)) = found else { return Ok(()) };
        self.ask_code(&home, MailPurpose::ResetPassword, &address, true).await.map(|_| ())
    }

    /// A code for whoever operates the node to hand on; an earlier one for the same is worth nothing any more.
    pub async fn show_code(&self, home: &Home, purpose: MailPurpose, address: Option<&EntityId>) -> Result<ShownCode, Problem> {
        let address = self.address_of(home, address, |_| true)?;
        let code = self.ask_code(home, purpose, &address, false).await?;
        Ok(self.shown(&code))
    }

    /// A code with the place where it is taken.
    pub(super) fn shown(&self, code: &MailCode) -> ShownCode {
        ShownCode {
            code: code.to_text(),
            link: link(self.issuer(), code),
        }
    }

    /// Notes that an address is its person's, by the code that was sent to it.
    pub async fn verify_by_code(&self, code: &str, from: Option<IpAddr>) -> Result<Home, Problem> {
        self.use_code(code, MailPurpose::VerifyAddress, None, from).await
    }

    /// Sets another password by the code that was sent to its owner; every session ends.
    pub async fn reset_by_code(&self, code: &str, password: &Password, from: Option<IpAddr>) -> Result<Home, Problem> {
        // A guess costs no hash.
        self.authentic(code, MailPurpose::ResetPassword, from)?;
        let set = self.hashed(password, true).await?;
        self.use_code(code, MailPurpose::ResetPassword, Some(set), from).await
    }

    async fn use_code(
        &self,
        text: &str,
        purpose: MailPurpose,
        password: Option<SetPassword>,
        from: Option<IpAddr>,
    ) -> Result<Home, Problem> {
        let code = self.authentic(text, purpose, from)?;
        let id = PrincipalId::parse(code.id.as_str()).map_err(|_| code_refused())?;
        let home = Home { org: code.org.clone(), id };
        if !home.is_person() {
            return Err(code_refused());
        }
        let used = UseCode {
            id: code.ask.clone(),
            purpose,
            hash: code.hash(&self.0.core.keys.digest_key()),
            password,
        };
        self.tell(&home, word("use_code", &used)?, None).await?;
        Ok(home)
    }

    /// The code, where this log has made it. Whoever guesses waits longer each time.
    pub(super) fn authentic(&self, text: &str, purpose: MailPurpose, from: Option<IpAddr>) -> Result<MailCode, Problem> {
        const WHOSE: &str = "code";
        let code = MailCode::parse(text.trim()).ok().filter(|code| code.purpose == purpose);
        if let Some(code) = code.filter(|code| code.is_authentic(&self.0.core.keys.digest_key())) {
            return Ok(code);
        }
        // Guesses of a network wait for each other, and for nobody who has a code.
        self.guess(WHOSE, from)?;
        Err(code_refused())
    }

    async fn ask_code(&self, home: &Home, purpose: MailPurpose, address: &EntityId, mail: bool) -> Result<MailCode, Problem> {
        let keys = self.0.core.keys.digest_key();
        let id = EntityId::parse(self.minted("ask")?).expect("a TypeID is an id");
        let owner = EntityId::parse(home.id.as_str()).map_err(|_| code_refused())?;
        let code = MailCode::of(purpose, home.org.clone(), owner, id.clone(), &keys);
        let ask = AskCode {
            id,
            purpose,
            address: address.clone(),
            hash: code.hash(&keys),
            mail,
        };
        self.tell(home, word("ask_code", &ask)?, None).await?;
        Ok(code)
    }

    fn address_of(&self, home: &Home, named: Option<&EntityId>, fits: impl Fn(&Address) -> bool) -> Result<EntityId, Problem> {
        let person = self.person(home)?;
        let mut addresses = person.addresses.iter();
        let found = match named {
            Some(id) => addresses.find(|address| address.id == *id),
            None => addresses.find(|address| fits(address)),
        };
        let none = || Problem::new(404, "address_not_found", "no such address of the account").fix("see the addresses of the account");
        found.map(|address| address.id.clone()).ok_or_else(none)
    }

    fn needs_mail(&self) -> Result<(), Problem> {
        if self.has_mail() {
            return Ok(());
        }
        Err(
            Problem::new(409, "mail_not_configured", "this node has no mail server, and sends no letters")
                .fix("ask whoever operates the node for a link: `quipu account link`"),
        )
    }
}
