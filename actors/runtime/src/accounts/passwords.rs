//! Passwords: how they are hashed, and on which threads.
//!
//! Argon2id (19 MiB, two passes) under a pepper that stays with the keys: who has the log alone cannot even tell whether a guess is
//! right. Parameters stand in the stored text, so that another release may raise them and renew a hash when its password is next
//! shown. An account that nobody has costs the same as one that somebody has.

use super::Password;
use crate::{background::lower_priority, refusals::stopping};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use parking_lot::Mutex;
use quipu_schemas::{
    digest::Digest,
    ids::StreamId,
    limits::{LOGINS_WAITING_MAX, PASSWORD_HASH_KIB, PASSWORD_MAX_BYTES, PASSWORD_MAX_CHARS, PASSWORD_MIN_CHARS},
    problem::Problem,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{Semaphore, oneshot};

/// Passes over the memory.
const PASSES: u32 = 2;

/// What a password was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is another one.
    Wrong,
    /// It is this one.
    Right,
    /// It is this one, and was hashed more cheaply than is usual now.
    RightAndOld,
}

/// Hashes passwords, a few at a time.
pub struct Passwords {
    pepper: [u8; 32],
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// What accounts that nobody has are compared with.
    nobodys: Mutex<Option<Arc<str>>>,
}

impl Passwords {
    /// Hashes under a pepper that follows from the key of a log's digests, on at most so many threads.
    pub fn new(digest_key: &[u8; 32], threads: usize) -> Self {
        Self {
            pepper: Digest::keyed(digest_key, &[b"quipu password pepper v1"]).0,
            running: Arc::new(Semaphore::new(threads.max(1))),
            waiting: AtomicUsize::new(0),
            nobodys: Mutex::default(),
        }
    }

    /// The stored form of a password. `503 login_busy` where too many wait.
    pub async fn hash(self: &Arc<Self>, password: &Password) -> Result<String, Problem> {
        let password = password.clone();
        self.on_a_thread(move |passwords| passwords.hashed(&password)).await?
    }

    /// Whether a password is the one with this stored form; of an account without one it never is, and takes as long.
    pub async fn verify(self: &Arc<Self>, password: &Password, stored: Option<&str>) -> Result<Verdict, Problem> {
        let (password, stored) = (password.clone(), stored.map(str::to_owned));
        self.on_a_thread(move |passwords| passwords.compared(&password, stored.as_deref()))
            .await?
    }

    /// Argon2id of an API key's keyed hash, by the same parameters. Its salt follows from the key's stream: the same text has the same
    /// hash whenever it is shown, and no two keys share one.
    pub async fn of_key(self: &Arc<Self>, key: StreamId, hash: Digest) -> Result<Digest, Problem> {
        self.on_a_thread(move |passwords| {
            let salt = Digest::keyed(&passwords.pepper, &[b"quipu api-key salt v1", key.to_string().as_bytes()]);
            let mut made = [0; 32];
            let filled = passwords.argon2()?.hash_password_into(&hash.0, &salt.0[..16], &mut made);
            filled.map(|()| Digest(made)).map_err(|e| broken(&e))
        })
        .await?
    }

    async fn on_a_thread<T: Send + 'static>(self: &Arc<Self>, work: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T, Problem> {
        let waiting = Waiting::one_more(self)?;
        let turn = self.running.clone().acquire_owned().await.map_err(|_| stopping())?;
        drop(waiting);
        let (passwords, (said, heard)) = (self.clone(), oneshot::channel());
        // A thread of its own, because a lowered priority cannot be raised again; beside a hash it costs nothing.
        let hashing = move || {
            lower_priority("passwords");
            let made = catch_unwind(AssertUnwindSafe(|| work(&passwords)));
            // The turn is over when the work is, also where nobody waits for it any more.
            drop(turn);
            made.ok().map(|made| said.send(made))
        };
        let begun = std::thread::Builder::new().name("quipu-passwords".into()).spawn(hashing);
        begun.map_err(|error| {
            tracing::error!(%error, "no thread to hash a password on");
            Problem::new(503, "login_busy", "the machine starts no thread to hash a password on")
                .fix("try again in a moment")
                .retry_after(1)
        })?;
        heard.await.map_err(|_| Problem::new(500, "internal", "hashing a password crashed"))
    }

    fn argon2(&self) -> Result<Argon2<'_>, Problem> {
        let params = Params::new(PASSWORD_HASH_KIB, PASSES, 1, None).map_err(|e| broken(&e))?;
        Argon2::new_with_secret(&self.pepper, Algorithm::Argon2id, Version::V0x13, params).map_err(|e| broken(&e))
    }

    fn hashed(&self, password: &Password) -> Result<String, Problem> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| Problem::new(500, "no_entropy", format!("the system gives no randomness: {e}")))?;
        let hash = self.argon2()?.hash_password_with_salt(password.as_str().as_bytes(), &salt);
        hash.map(|hash| hash.to_string()).map_err(|e| broken(&e))
    }

    fn compared(&self, password: &Password, stored: Option<&str>) -> Result<Verdict, Problem> {
        let argon2 = self.argon2()?;
        let nobodys = match stored {
            Some(_) => None,
            None => Some(self.nobodys()?),
        };
        let text = stored.or(nobodys.as_deref()).unwrap_or_default();
        let hash = PasswordHash::new(text).map_err(|e| broken(&e))?;
        let is_right = argon2.verify_password(password.as_str().as_bytes(), &hash).is_ok();
        Ok(match is_right && stored.is_some() {
            false => Verdict::Wrong,
            true if text.starts_with(&self.beginning()) => Verdict::Right,
            true => Verdict::RightAndOld,
        })
    }

    /// How what is hashed now begins.
    fn beginning(&self) -> String {
        format!("$argon2id$v=19$m={PASSWORD_HASH_KIB},t={PASSES},p=1$")
    }

    /// Made once: a password that nobody knows.
    fn nobodys(&self) -> Result<Arc<str>, Problem> {
        if let Some(known) = &*self.nobodys.lock() {
            return Ok(known.clone());
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| Problem::new(500, "no_entropy", format!("the system gives no randomness: {e}")))?;
        let made: Arc<str> = self.hashed(&Password::new(hex::encode(random)))?.into();
        Ok(self.nobodys.lock().get_or_insert(made).clone())
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn one_more(passwords: &'a Passwords) -> Result<Self, Problem> {
        let waiting = passwords.waiting.fetch_add(1, Ordering::AcqRel);
        let counted = Self(&passwords.waiting);
        if waiting >= LOGINS_WAITING_MAX {
            return Err(Problem::new(503, "login_busy", format!("{waiting} logins wait already"))
                .fix("try again in a moment")
                .retry_after(1));
        }
        Ok(counted)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn broken(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(500, "internal", format!("a password cannot be hashed: {error}"))
}

/// Whether a password may be chosen: long enough to be hard to guess, short enough to be hashed. What it is made of is nobody's business.
pub fn check_chosen(password: &Password) -> Result<(), Problem> {
    let text = password.as_str();
    let chars = text.chars().count();
    if (PASSWORD_MIN_CHARS..=PASSWORD_MAX_CHARS).contains(&chars) && text.len() <= PASSWORD_MAX_BYTES {
        return Ok(());
    }
    Err(Problem::new(
        422,
        "bad_password",
        format!("a password has {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters, and at most {PASSWORD_MAX_BYTES} bytes"),
    )
    .field("password")
    .fix("choose one of that length; a sentence is good"))
}

/// Whether a password may be the one of anybody: a longer one is not hashed.
pub fn may_be_one(password: &Password) -> bool {
    password.as_str().len() <= PASSWORD_MAX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(key: u8) -> Arc<Passwords> {
        Arc::new(Passwords::new(&[key; 32], 2))
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_pepper() {
        let (here, elsewhere) = (passwords(1), passwords(2));
        let (right, wrong) = (Password::new("correct horse"), Password::new("correct horsf"));
        let stored = here.hash(&right).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, here.hash(&right).await.unwrap(), "each has a salt of its own");
        assert_eq!(here.verify(&right, Some(&stored)).await.unwrap(), Verdict::Right);
        assert_eq!(here.verify(&wrong, Some(&stored)).await.unwrap(), Verdict::Wrong);
        assert_eq!(elsewhere.verify(&right, Some(&stored)).await.unwrap(), Verdict::Wrong);
        assert_eq!(here.verify(&right, None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_cheaper_hash_is_taken_and_told() {
        let here = passwords(1);
        let params = Params::new(64, 1, 1, None).unwrap();
        let cheap = Argon2::new_with_secret(&here.pepper, Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let stored = cheap.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap().to_string();
        let shown = Password::new("correct horse");
        assert_eq!(here.verify(&shown, Some(&stored)).await.unwrap(), Verdict::RightAndOld);
    }

    #[tokio::test]
    async fn too_many_at_once_are_refused() {
        let here = passwords(1);
        let held = here.running.acquire_many(2).await.unwrap();
        let waiting: Vec<_> = (0..LOGINS_WAITING_MAX)
            .map(|_| {
                let here = here.clone();
                tokio::spawn(async move { here.verify(&Password::new("x"), None).await })
            })
            .collect();
        while here.waiting.load(Ordering::Acquire) < LOGINS_WAITING_MAX {
            tokio::task::yield_now().await;
        }
        let refused = here.verify(&Password::new("x"), None).await.unwrap_err();
        assert_eq!(
            (refused.status, refused.code.as_str(), refused.retry_after),
            (503, "login_busy", Some(1))
        );
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        drop(held);
    }

    #[tokio::test]
    async fn a_turn_is_taken_until_the_hash_is_done() {
        let here = Arc::new(Passwords::new(&[1; 32], 1));
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let hash = here.on_a_thread(move |_| waits.recv().is_err());
        {
            let mut hash = std::pin::pin!(hash);
            assert!(futures::poll!(hash.as_mut()).is_pending());
        }
        assert_eq!(
            here.running.available_permits(),
            0,
            "whoever waited for it has gone, and the thread has not"
        );
        drop(go_on);
        let crashed = here.on_a_thread(|_| panic!("a hash")).await.map(|(): ()| ()).unwrap_err();
        assert_eq!((crashed.status, here.running.available_permits()), (500, 1));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hashing_takes_what_others_leave() {
        let niceness = || rustix::process::getpriority_process(None).expect("this thread's niceness");
        let lowered = passwords(1).on_a_thread(move |_| niceness()).await.unwrap();
        assert!(lowered > niceness());
    }

    /// Time would tell whether there is an account: whoever has none waits for a turn and is hashed all the same, with the same parameters.
    #[tokio::test]
    async fn an_account_of_nobody_costs_a_hash_as_well() {
        let here = passwords(1);
        let shown = Password::new("correct horse");
        here.verify(&shown, None).await.unwrap();
        let nobodys = here.nobodys.lock().clone().expect("something to compare with");
        assert!(nobodys.starts_with(&here.beginning()), "{nobodys}");
        // While no turn is free, neither is answered.
        let stored = here.hash(&shown).await.unwrap();
        let held = here.running.acquire_many(2).await.unwrap();
        for stored in [Some(stored.as_str()), None] {
            let mut verdict = std::pin::pin!(here.verify(&shown, stored));
            assert!(futures::poll!(verdict.as_mut()).is_pending(), "{stored:?}");
        }
        drop(held);
    }

    #[test]
    fn passwords_are_bounded_and_never_shown() {
        for bad in ["123456789", &"x".repeat(257), &"\u{1f600}".repeat(257)] {
            assert_eq!(check_chosen(&Password::new(bad)).unwrap_err().code, "bad_password");
        }
        assert!(check_chosen(&Password::new("1234567890")).is_ok() && check_chosen(&Password::new("\u{1f600}".repeat(256))).is_ok());
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password(…)");
    }
}
