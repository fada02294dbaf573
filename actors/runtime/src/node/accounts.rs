//! Accounts of people: who registers, and what is changed of theirs.

use super::{Admission, Node};
use crate::{
    accounts::{AboutPerson, OwnAddress, Password, RECOVERY_CODES, Register, addresses::Normal, passwords::check_chosen, step_of},
    ingress,
    off_worker::off_worker,
    refusals::stopping,
};
use quipu_kinds::principal::{ConfirmTotp, MakeOperator, SetPassword};
use quipu_rules::principal::{Person, Totp};
use quipu_schemas::{
    context::uuid_v7,
    envelope::{Receipt, Shown},
    ids::{CredentialId, EntityId, Home, OrgId, PERSON_PREFIX, PrincipalId, type_id},
    limits::NAME_MAX_CHARS,
    personal::Opened,
    problem::Problem,
    text::is_printable_line,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{net::IpAddr, sync::atomic::Ordering};

/// `{"<word>": {…}}`.
pub(super) fn word(name: &str, fields: &impl Serialize) -> Result<Value, Problem> {
    let fields = serde_json::to_value(fields).map_err(|e| Problem::new(500, "command_unstorable", format!("{name}: {e}")))?;
    Ok(Value::Object(Map::from_iter([(name.to_owned(), fields)])))
}

impl Node {
    /// Tells a principal something in the node's own name: a word, or a command for it. Nothing that a client sends comes here
    /// unseen, and so nobody is asked for a right.
    pub(super) async fn tell(&self, home: &Home, said: Value, credential: Option<CredentialId>) -> Result<Receipt, Problem> {
        let core = &self.0.core;
        if core.stopping.load(Ordering::Acquire) {
            return Err(stopping());
        }
        let admission = Admission { core, bytes: 0 };
        let depth = core.waiting.fetch_add(1, Ordering::AcqRel);
        if depth >= self.0.config.queue_max {
            core.counters.overloaded.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::new(429, "node_busy", format!("{depth} commands wait in this node")).retry_after(1));
        }
        // A person's first value makes their key, which is kept durably.
        let drawn = ingress::Drawn::fresh()?;
        let envelope = off_worker(|| ingress::told(home, said, &core.keys, &drawn, core.now(), credential))?;
        let answer = core.submit(envelope).await;
        drop(admission);
        answer
    }

    /// Makes an account. `409 address_taken` where somebody has the address: a face that anybody may ask answers alike. Of two who
    /// register one address at once, one is refused.
    pub async fn register(&self, register: Register) -> Result<Home, Problem> {
        register.name.as_deref().map_or(Ok(()), is_name)?;
        let address = register.address.as_deref().map(Normal::parse).transpose()?;
        let password = match &register.password {
            Some(password) => Some(self.hashed(password, false).await?),
            None => None,
        };
        self.is_free(address.as_ref())?;
        let home = Home {
            org: OrgId::PLATFORM,
            id: PrincipalId::parse(self.minted(PERSON_PREFIX)?).expect("a TypeID is an id"),
        };
        let id = self.address_id()?;
        let named = register
            .address
            .as_ref()
            .map(|address| json!({ "id": id, "address": address.trim() }));
        let said = json!({ "register": { "name": register.name, "address": named, "password": password } });
        let receipt = self.tell(&home, said, None).await?;
        if let Some(address) = address.filter(|_| !receipt.duplicate)
            && !self.is_first(&address, &home, &id, receipt.version)?
        {
            let given_up = json!({ "retire": { "reason": "the address was taken at the same time" } });
            self.tell(&home, given_up, None).await?;
            return Err(address_taken());
        }
        Ok(home)
    }

    /// Sets a password, whoever asks for it; every session ends where that is asked for.
    pub async fn set_password(&self, home: &Home, password: &Password, ends_sessions: bool) -> Result<(), Problem> {
        let set = self.hashed(password, ends_sessions).await?;
        self.tell(home, word("set_password", &set)?, None).await.map(|_| ())
    }

    pub(super) async fn hashed(&self, password: &Password, ends_sessions: bool) -> Result<SetPassword, Problem> {
        check_chosen(password)?;
        let phc = self.0.core.accounts.passwords.hash(password).await?;
        Ok(SetPassword { phc, ends_sessions })
    }

    /// Adds an address. `409 address_taken` where somebody has it.
    pub async fn add_address(&self, home: &Home, address: &str) -> Result<EntityId, Problem> {
        let normal = Normal::parse(address)?;
        self.is_free(Some(&normal))?;
        let id = self.address_id()?;
        let receipt = self
            .tell(home, json!({ "add_address": { "id": id, "address": address.trim() } }), None)
            .await?;
        if self.is_first(&normal, home, &id, receipt.version)? {
            return Ok(id);
        }
        self.remove_address(home, &id).await?;
        Err(address_taken())
    }

    /// Adds an address for whoever is logged in. That somebody else has one is told, and counts as a wrong guess: whoever tries many waits.
    pub async fn add_own_address(&self, home: &Home, address: &str, from: Option<IpAddr>) -> Result<EntityId, Problem> {
        let account = format!("address {home}");
        self.guess(&account, from)?;
        // Each letter that somebody asks for counts, whatever comes of it: nobody floods a mailbox.
        let normal = Normal::parse(address)?;
        self.guess(&format!("letter {}", String::from_utf8_lossy(normal.as_bytes())), from)?;
        match self.add_address(home, address).await {
            Err(problem) if problem.code == "address_taken" => Err(problem),
            other => {
                self.guess_undone(&account, from);
                other
            }
        }
    }

    /// Says what a person is called; nothing takes the name away.
    pub async fn set_name(&self, home: &Home, name: &str) -> Result<(), Problem> {
        is_name(name)?;
        self.tell(home, json!({ "set_name": { "name": name } }), None).await.map(|_| ())
    }

    /// What is known of a person, for them alone.
    pub fn about(&self, home: &Home) -> Result<AboutPerson, Problem> {
        let person = self.person(home)?;
        let addresses = person.addresses.iter().map(|address| {
            Ok(OwnAddress {
                id: address.id.clone(),
                address: self.opened(&address.address)?,
                verified: address.verified,
            })
        });
        Ok(AboutPerson {
            name: person.name.as_ref().map(|name| self.opened(name)).transpose()?,
            addresses: addresses.collect::<Result<_, Problem>>()?,
            has_password: person.password.is_some(),
            has_totp: matches!(person.totp, Totp::On { .. }),
            recovery_codes: person.recovery.len(),
        })
    }

    /// Notes that an address is the person's.
    pub async fn verify_address(&self, home: &Home, address: &EntityId) -> Result<(), Problem> {
        self.tell(home, json!({ "verify_address": { "id": address } }), None)
            .await
            .map(|_| ())
    }

    /// Takes an address away.
    pub async fn remove_address(&self, home: &Home, address: &EntityId) -> Result<(), Problem> {
        self.tell(home, json!({ "remove_address": { "id": address } }), None)
            .await
            .map(|_| ())
    }

    /// Says whether a person operates the platform.
    pub async fn make_operator(&self, home: &Home, operator: bool) -> Result<(), Problem> {
        self.tell(home, word("make_operator", &MakeOperator { operator })?, None)
            .await
            .map(|_| ())
    }

    /// Whether anybody operates the platform.
    pub fn has_operator(&self) -> Result<bool, Problem> {
        let core = &self.0.core;
        off_worker(|| core.addresses(|known| known.has_operator()))
    }

    /// Suspends a person, resumes or retires them.
    pub async fn suspend(&self, home: &Home, reason: &str) -> Result<(), Problem> {
        self.tell(home, json!({ "suspend": { "reason": reason } }), None).await.map(|_| ())
    }

    /// Ends a suspension.
    pub async fn resume(&self, home: &Home) -> Result<(), Problem> {
        self.tell(home, json!({ "resume": {} }), None).await.map(|_| ())
    }

    /// Takes the first code of a secret that was made, and answers with recovery codes, which are shown this once.
    pub async fn confirm_totp(&self, home: &Home, code: &Password) -> Result<Vec<Shown>, Problem> {
        let person = self.person(home)?;
        let waiting = person.totp.waiting().map(|secret| self.opened(secret)).transpose()?;
        let wrong = || Problem::new(403, "wrong_code", "the code is not one of the secret that waits").fix("see what the clock says");
        let step = waiting.and_then(|secret| step_of(&secret, code, self.now())).ok_or_else(wrong)?;
        let codes = &self.0.core.accounts.codes;
        let made: Vec<_> = (0..RECOVERY_CODES).map(|_| codes.recovery(home)).collect::<Result<_, _>>()?;
        let recovery = made.iter().map(|(_, hash)| *hash).collect();
        self.tell(home, word("confirm_totp", &ConfirmTotp { step, recovery })?, None)
            .await?;
        Ok(made.into_iter().map(|(text, _)| Shown::new(text)).collect())
    }

    /// A person who is there.
    pub(super) fn person(&self, home: &Home) -> Result<Person, Problem> {
        let nobody = || Problem::new(404, "principal_not_found", format!("no such person: {home}")).fix("register first");
        self.0.core.person(home)?.ok_or_else(nobody)
    }

    pub(super) fn opened(&self, secret: &quipu_schemas::personal::Personal<String>) -> Result<String, Problem> {
        match secret.open(&*self.0.core.keys).map_err(|e| e.problem())? {
            Opened::Value(secret) => Ok(secret),
            Opened::Erased => Err(Problem::new(410, "erased", "what is known of this person was erased")),
        }
    }

    pub(super) fn minted(&self, prefix: &str) -> Result<String, Problem> {
        Ok(type_id(prefix, uuid_v7(self.now(), ingress::entropy()?, 0)))
    }

    fn address_id(&self) -> Result<EntityId, Problem> {
        Ok(EntityId::parse(self.minted("adr")?).expect("a TypeID is an id"))
    }

    fn is_free(&self, address: Option<&Normal>) -> Result<(), Problem> {
        let core = &self.0.core;
        match address
            .map(|address| off_worker(|| core.addresses(|known| known.holder(address).is_some())))
            .transpose()?
        {
            Some(true) => Err(address_taken()),
            Some(false) | None => Ok(()),
        }
    }

    /// Whether nobody had an address before, once all is known that was durable then.
    fn is_first(&self, address: &Normal, home: &Home, id: &EntityId, version: u64) -> Result<bool, Problem> {
        let core = &self.0.core;
        core.principal_at(home, version)?;
        off_worker(|| core.addresses(|known| known.holds(address, home, id)))
    }
}

/// A name is shown to others, on terminals too.
fn is_name(name: &str) -> Result<(), Problem> {
    if is_printable_line(name) && name.chars().count() <= NAME_MAX_CHARS {
        return Ok(());
    }
    Err(
        Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
            .field("name")
            .fix("use letters that can be seen, on one line"),
    )
}

fn address_taken() -> Problem {
    Problem::new(409, "address_taken", "somebody has this address")
        .field("address")
        .fix("log in, or use another one")
}

#[cfg(test)]
mod tests;
