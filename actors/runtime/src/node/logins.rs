//! Who logs in: a password, and a code where one is asked for. Whatever is wrong is answered alike, and costs the same.

use super::{Node, accounts::word};
use crate::{
    accounts::{
        LogIn, LoggedIn, Password, WhoLogsIn,
        addresses::Normal,
        fresh_secret, is_from_time,
        passwords::{Verdict, check_chosen, may_be_one},
        step_of,
    },
    off_worker::off_worker,
};
use quipu_kinds::principal::{SetPassword, UseRecoveryCode, UseTotp};
use quipu_rules::principal::{Person, Totp};
use quipu_schemas::{digest::Digest, envelope::Shown, ids::Home, problem::Problem};
use serde_json::json;
use std::net::IpAddr;

impl Node {
    /// Whether a guess at a secret is taken now: whoever fails waits, longer each time. `account` names whose secret it is, in
    /// words that nobody else's share. `429 login_slowed` says how long to wait. One that is taken counts as failed until
    /// [`Node::guessed_right`].
    pub fn guess(&self, account: &str, from: Option<IpAddr>) -> Result<(), Problem> {
        let now = self.0.core.monotonic();
        let waits = self
            .0
            .core
            .accounts
            .guessing
            .lock()
            .guess(account_key(account.as_bytes()), from, now);
        waits.map_err(|wait_ms| {
            let seconds = u32::try_from(wait_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
            Problem::new(429, "login_slowed", "too many wrong guesses; the next one has to wait")
                .fix("wait, and try again")
                .retry_after(seconds.max(1))
        })
    }

    /// The guess was right.
    pub fn guessed_right(&self, account: &str, from: Option<IpAddr>) {
        self.0.core.accounts.guessing.lock().right(account_key(account.as_bytes()), from);
    }

    /// The guess was right, and says nothing of earlier ones: they count as before.
    pub fn guess_undone(&self, account: &str, from: Option<IpAddr>) {
        self.0
            .core
            .accounts
            .guessing
            .lock()
            .taken_back(account_key(account.as_bytes()), from);
    }

    /// Whether somebody is who they say. `401 wrong_login` whatever was wrong, `401 totp_required` where a code is asked for,
    /// `429 login_slowed`, `503 login_busy`, and `403 principal_suspended` for whoever knows the password.
    pub async fn log_in(&self, log_in: LogIn) -> Result<LoggedIn, Problem> {
        let (home, account) = self.meant(&log_in.who)?;
        self.guess(&account, log_in.from)?;
        let person = home.as_ref().map(|home| self.0.core.person(home)).transpose()?.flatten();
        let stored = person.as_ref().and_then(|person| person.password.as_deref());
        if !may_be_one(&log_in.password) {
            return Err(wrong_login());
        }
        let verdict = self.judged(&account, log_in.from, &log_in.password, stored).await?;
        let (Some(home), Some(person)) = (home, person) else {
            return Err(wrong_login());
        };
        if verdict == Verdict::Wrong {
            return Err(wrong_login());
        }
        self.acting(&home)?;
        let mut amr = vec!["pwd".to_owned()];
        amr.extend(self.second(&home, &person, log_in.code.as_ref()).await?);
        self.guessed_right(&account, log_in.from);
        if verdict == Verdict::RightAndOld {
            // A login succeeds all the same while the old one is still used.
            let renewed = self.renew_hash(&home, &log_in.password).await;
            renewed.unwrap_or_else(|problem| tracing::warn!(%home, code = problem.code, "a password was not hashed again"));
        }
        Ok(LoggedIn {
            home,
            amr,
            auth_time: self.now(),
        })
    }

    /// Sets another password for whoever knows the old one; every session ends.
    /// An account that asks for a code at login asks for one here.
    pub async fn change_password(
        &self,
        home: &Home,
        old: &Password,
        new: &Password,
        code: Option<&Password>,
        from: Option<IpAddr>,
    ) -> Result<(), Problem> {
        // One that cannot be taken uses up no code.
        check_chosen(new)?;
        self.show_again(home, old, code, from).await?;
        self.set_password(home, new, true).await
    }

    /// Whether somebody who is logged in is still the person: an access token that was stolen knows no password. A code is asked for as at
    /// login. `409 no_password` where there is none to show.
    pub async fn show_again(&self, home: &Home, password: &Password, code: Option<&Password>, from: Option<IpAddr>) -> Result<(), Problem> {
        let account = home.to_string();
        self.guess(&account, from)?;
        let person = self.person(home)?;
        let Some(stored) = person.password.as_deref() else {
            self.guess_undone(&account, from);
            return Err(no_password());
        };
        if !may_be_one(password) || self.judged(&account, from, password, Some(stored)).await? == Verdict::Wrong {
            return Err(wrong_login());
        }
        self.second(home, &person, code).await?;
        self.guessed_right(&account, from);
        Ok(())
    }

    /// Makes a secret for codes that follow from the time; it is shown this once, in base 32. It is asked for until a code of the new one was
    /// shown. Whoever has one already shows a code of it, or a recovery code, and whoever has none shows the password: an access token alone
    /// neither puts another in its place nor locks its owner out.
    pub async fn enrol_totp(
        &self,
        home: &Home,
        password: Option<&Password>,
        code: Option<&Password>,
        from: Option<IpAddr>,
    ) -> Result<Shown, Problem> {
        let person = self.person(home)?;
        match (&person.totp, password) {
            (Totp::On { .. }, None) => {
                let account = home.to_string();
                self.guess(&account, from)?;
                self.second(home, &person, code).await?;
                self.guessed_right(&account, from);
            }
            (_, Some(password)) => self.show_again(home, password, code, from).await?,
            (Totp::Off | Totp::Enrolled(_), None) if person.password.is_none() => return Err(no_password()),
            (Totp::Off | Totp::Enrolled(_), None) => {
                return Err(
                    Problem::new(401, "password_required", "a first authenticator takes the password of the account")
                        .field("password")
                        .fix("send the password as well"),
                );
            }
        }
        let secret = fresh_secret()?;
        self.tell(home, json!({ "enrol_totp": { "secret": secret } }), None).await?;
        Ok(Shown::new(secret))
    }

    /// Whether a password is right. A guess that nobody had the time to judge was none.
    async fn judged(&self, account: &str, from: Option<IpAddr>, password: &Password, stored: Option<&str>) -> Result<Verdict, Problem> {
        let accounts = &self.0.core.accounts;
        let verdict = accounts.passwords.verify(password, stored).await;
        if verdict.is_err() {
            accounts.guessing.lock().taken_back(account_key(account.as_bytes()), from);
        }
        verdict
    }

    async fn renew_hash(&self, home: &Home, password: &Password) -> Result<(), Problem> {
        let phc = self.0.core.accounts.passwords.hash(password).await?;
        let set = SetPassword { phc, ends_sessions: false };
        self.tell(home, word("set_password", &set)?, None).await.map(|_| ())
    }

    /// Who is meant, and by which name their failures are counted: one for each account, however it is named.
    fn meant(&self, who: &WhoLogsIn) -> Result<(Option<Home>, String), Problem> {
        let core = &self.0.core;
        let home = match who {
            WhoLogsIn::Person(home) => Some(home.clone()),
            WhoLogsIn::Address(typed) => match Normal::of(typed) {
                Some(address) => off_worker(|| core.addresses(|known| known.holder(&address).cloned()))?,
                None => None,
            },
        };
        let account = match (&home, who) {
            (Some(home), _) => home.to_string(),
            (None, WhoLogsIn::Address(typed)) => match Normal::of(typed) {
                Some(address) => String::from_utf8_lossy(address.as_bytes()).into_owned(),
                None => String::new(),
            },
            (None, WhoLogsIn::Person(home)) => home.to_string(),
        };
        Ok((home, account))
    }

    /// The second proof, where one is asked for: what it adds to the ways of proving.
    async fn second(&self, home: &Home, person: &Person, code: Option<&Password>) -> Result<Vec<String>, Problem> {
        let Totp::On { secret, .. } = &person.totp else {
            return Ok(Vec::new());
        };
        let required = || {
            Problem::new(401, "totp_required", "this account asks for a code")
                .field("code")
                .fix("send the code as well")
        };
        let code = code.ok_or_else(required)?;
        let said = if is_from_time(code) {
            let step = step_of(&self.opened(secret)?, code, self.now()).ok_or_else(wrong_login)?;
            word("use_totp", &UseTotp { step })?
        } else {
            let hash = self.0.core.accounts.codes.hash(home, code.as_str());
            word("use_recovery_code", &UseRecoveryCode { hash })?
        };
        match self.tell(home, said, None).await {
            Ok(_) => Ok(vec!["otp".to_owned(), "mfa".to_owned()]),
            Err(problem) if problem.status == 403 => Err(wrong_login()),
            Err(problem) => Err(problem),
        }
    }
}

fn no_password() -> Problem {
    Problem::new(409, "no_password", "this account has no password to show").fix("set one by a letter first: quipu account forgot ADDRESS")
}

/// Failures are remembered by this and not by names.
fn account_key(account: &[u8]) -> [u8; 32] {
    Digest::of(&[b"quipu guess ", account]).0
}

fn wrong_login() -> Problem {
    Problem::new(401, "wrong_login", "no such account, or what was shown is wrong").fix("check what you typed")
}
