//! Who somebody logged in as, on this machine: one file a node, which nobody else can read.
//!
//! Several programs of one person use a file at once. A refresh token is shown once, so that whoever uses it holds the file's lock
//! and reads it again first.

use crate::{
    client::{Client, ClientError},
    clock,
};
use quipu_schemas::{context::Millis, limits::CLIENT_RENEW_MS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Nothing says where profiles are kept.
    #[error("no place for profiles: set QUIPU_PROFILES to a directory, or HOME")]
    Nowhere,
    /// The file could not be read or written.
    #[error("profile {0}: {1}")]
    Io(PathBuf, io::Error),
    /// The file holds something else.
    #[error("profile {0} does not read; delete it, and log in again")]
    Malformed(PathBuf),
    /// Other users could read it.
    #[error("profile {0} can be read by others (mode {1:o}); run chmod 600 on it, and change your password")]
    Exposed(PathBuf, u32),
    /// The node did not answer with a session.
    #[error("the node answered with something that is not a session")]
    Odd,
    /// The node refused, or does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Who somebody logged in as at one node; `Debug` hides what opens it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Who.
    pub principal: String,
    /// The session.
    pub session: String,
    /// When the access token ends.
    pub ends_at: Millis,
    access_token: String,
    refresh_token: Option<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Profile({} by {})", self.principal, self.session)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client on its own, compared with what a node said in seconds"
)]
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Profile {
    /// Of an answer of `/v1/auth/login` or `/v1/auth/refresh`.
    pub fn of(answer: &Value) -> Result<Self, ProfileError> {
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let seconds = answer["expires_in"].as_u64().ok_or(ProfileError::Odd)?;
        Ok(Self {
            principal: text("principal").ok_or(ProfileError::Odd)?,
            session: text("session").ok_or(ProfileError::Odd)?,
            ends_at: now().saturating_add(seconds.saturating_mul(1_000)),
            access_token: text("access_token").ok_or(ProfileError::Odd)?,
            refresh_token: text("refresh_token"),
        })
    }

    /// When the access token ends, for people.
    pub fn until(&self) -> String {
        clock::rfc3339(self.ends_at)
    }
}

/// The profiles of this machine's user.
#[derive(Debug, Clone)]
pub struct Profiles(PathBuf);

impl Profiles {
    /// Where they are: `QUIPU_PROFILES`, or `quipu` in the user's directory of configurations.
    pub fn of_user() -> Result<Self, ProfileError> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = named("QUIPU_PROFILES")
            .or_else(|| named("XDG_CONFIG_HOME").map(|dir| dir.join("quipu")))
            .or_else(|| named("HOME").map(|home| home.join(".config").join("quipu")));
        directory.map(Self).ok_or(ProfileError::Nowhere)
    }

    /// In this directory.
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The file for a node, by its address without what file systems do not take.
    fn path(&self, url: &str) -> PathBuf {
        let plain = url.trim_end_matches('/').to_ascii_lowercase();
        let name: String = plain
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        self.0.join(format!("{name}.json"))
    }

    /// Whoever is logged in at a node.
    pub fn load(&self, url: &str) -> Result<Option<Profile>, ProfileError> {
        let path = self.path(url);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ProfileError::Io(path, e)),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs::metadata(&path).map_err(|e| ProfileError::Io(path.clone(), e))?;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(ProfileError::Exposed(path, mode));
            }
        }
        serde_json::from_str(&text).map(Some).map_err(|_| ProfileError::Malformed(path))
    }

    /// Remembers who is logged in at a node.
    pub fn store(&self, url: &str, profile: &Profile) -> Result<(), ProfileError> {
        let path = self.path(url);
        self.write(&path, profile).map_err(|e| ProfileError::Io(path, e))
    }

    fn write(&self, path: &Path, profile: &Profile) -> io::Result<()> {
        private_directory(&self.0)?;
        // Written aside and renamed, so that a crash leaves no half profile.
        let aside = path.with_extension("new");
        let mut file = private(&aside, true)?;
        file.write_all(serde_json::to_string(profile)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)
    }

    /// Forgets who was.
    pub fn remove(&self, url: &str) -> Result<(), ProfileError> {
        let path = self.path(url);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ProfileError::Io(path, e)),
            _ => Ok(()),
        }
    }

    /// What opens a node for whoever is logged in there, made new where it is about to end; `None` where nobody is.
    pub async fn token(&self, url: &str) -> Result<Option<String>, ProfileError> {
        match self.load(url)? {
            Some(profile) if !is_ending(&profile) => Ok(Some(profile.access_token)),
            Some(_) => self.renewed(url).await,
            None => Ok(None),
        }
    }

    async fn renewed(&self, url: &str) -> Result<Option<String>, ProfileError> {
        let path = self.path(url).with_extension("lock");
        let io = |e| ProfileError::Io(path.clone(), e);
        let lock = private(&path, false).map_err(io)?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
        let lock = lock.map_err(io::Error::other).and_then(|held| held).map_err(io)?;
        // Somebody else may have done it meanwhile.
        let Some(profile) = self.load(url)? else { return Ok(None) };
        if !is_ending(&profile) {
            return Ok(Some(profile.access_token));
        }
        let Some(refresh) = profile.refresh_token else {
            return Ok(Some(profile.access_token));
        };
        let client = Client::new(url, "")?;
        let answer = client.post_once("/v1/auth/refresh", &json!({ "refresh_token": refresh })).await?;
        let next = Profile::of(&answer)?;
        self.store(url, &next)?;
        drop(lock);
        Ok(Some(next.access_token))
    }
}

fn is_ending(profile: &Profile) -> bool {
    now().saturating_add(CLIENT_RENEW_MS) >= profile.ends_at
}

fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn private(path: &Path, truncate: bool) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(truncate);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(seconds: u64) -> Profile {
        Profile::of(&json!({
            "principal": "usr_1", "session": "ses_1", "expires_in": seconds,
            "access_token": "eyJ.secret.x", "refresh_token": "qpr_secret",
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_profile_is_kept_private_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let profiles = Profiles::at(&dir.path().join("quipu"));
        let url = "http://127.0.0.1:7077";
        assert_eq!(profiles.token(url).await.unwrap(), None);
        profiles.store(url, &profile(3_600)).unwrap();
        assert_eq!(
            profiles.token("http://127.0.0.1:7077/").await.unwrap().as_deref(),
            Some("eyJ.secret.x")
        );
        assert_eq!(profiles.load("http://127.0.0.1:7078").unwrap(), None);
        assert!(!format!("{:?}", profile(1)).contains("secret"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = profiles.path(url);
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(profiles.load(url), Err(ProfileError::Exposed(..))));
        }
        profiles.remove(url).unwrap();
        profiles.remove(url).unwrap();
        assert_eq!(profiles.load(url).unwrap(), None);
        fs::write(profiles.path(url), "{}").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(profiles.path(url), fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(matches!(profiles.load(url), Err(ProfileError::Malformed(_))));
    }

    #[test]
    fn a_token_that_is_about_to_end_is_made_new() {
        assert!(is_ending(&profile(30)) && !is_ending(&profile(3_600)));
    }
}
