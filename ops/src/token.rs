//! The bootstrap token: minted on the first start, kept beside the data for the CLI of the same machine.

use sha2::{Digest, Sha256};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

/// Name of the token's file inside the data directory.
pub const FILE: &str = "token";

/// A bearer token; `Debug` hides it.
#[derive(Clone)]
pub struct Token {
    text: String,
    digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or written.
    #[error("token file {0}: {1}")]
    Io(PathBuf, io::Error),
    /// The file holds something else.
    #[error("token file {0} does not hold a token (qp_ and 43 characters); delete it to have one minted")]
    Malformed(PathBuf),
    /// Other users could read it.
    #[error("token file {0} can be read by others (mode {1:o}); run chmod 600 on it, or delete it to have a new one minted")]
    Exposed(PathBuf, u32),
    /// No randomness.
    #[error("no randomness for a token: {0}")]
    Random(String),
}

impl Token {
    /// Mints a token of 256 random bits.
    pub fn mint() -> Result<Self, TokenError> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|e| TokenError::Random(e.to_string()))?;
        Ok(Self::of(format!("qp_{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    fn of(text: String) -> Self {
        let digest = Sha256::digest(text.as_bytes()).into();
        Self { text, digest }
    }

    /// The token of a node, and whether somebody is to be told of it. Where it is off it is one that nobody knows, and opens nothing to anybody.
    /// The file is removed later, by [`switched_off`]: a node that does not start takes nothing from one that runs.
    pub fn of_node(data: Option<&Path>, is_on: bool) -> Result<(Self, bool), TokenError> {
        match data {
            _ if !is_on => Ok((Self::mint()?, false)),
            Some(data) => Self::load_or_mint(data),
            None => Ok((Self::mint()?, true)),
        }
    }

    /// The token of a data directory, minted (readable by its owner alone, synced) if there is none; says whether it is new.
    pub fn load_or_mint(data: &Path) -> Result<(Self, bool), TokenError> {
        match Self::load(data)? {
            Some(token) => Ok((token, false)),
            None => {
                let token = Self::mint()?;
                let path = data.join(FILE);
                token.store(data, &path).map_err(|e| TokenError::Io(path, e))?;
                Ok((token, true))
            }
        }
    }

    /// Removes the token of a data directory, so that whoever has read it holds nothing; the next one is another.
    pub fn remove(data: &Path) -> Result<(), TokenError> {
        let path = data.join(FILE);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(TokenError::Io(path, e)),
            _ => Ok(()),
        }
    }

    /// The token of a data directory, if one was minted.
    pub fn load(data: &Path) -> Result<Option<Self>, TokenError> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(TokenError::Io(path, e)),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path)
                .map_err(|e| TokenError::Io(path.clone(), e))?
                .permissions()
                .mode()
                & 0o777;
            if mode & 0o077 != 0 {
                return Err(TokenError::Exposed(path, mode));
            }
        }
        let text = text.trim();
        if text.len() != 46 || !text.starts_with("qp_") || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Err(TokenError::Malformed(path));
        }
        Ok(Some(Self::of(text.to_owned())))
    }

    fn store(&self, data: &Path, path: &Path) -> io::Result<()> {
        fs::create_dir_all(data)?;
        // Written aside and renamed, so that a crash leaves no half token.
        let aside = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&aside)?;
        writeln!(file, "{}", self.text)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        fs::File::open(data)?.sync_all()
    }

    /// The token, to be shown once or sent.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether `given` is this token, in time that does not depend on where they differ.
    pub fn matches(&self, given: &str) -> bool {
        // Digests of equal length, compared without an early exit.
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        self.digest.iter().zip(given).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

/// Removes the file of a token that is off, once the node has its data, and says so where nobody operates the platform either.
pub fn switched_off(data: Option<&Path>, has_operator: impl FnOnce() -> bool) -> Result<(), TokenError> {
    data.map(Token::remove).transpose()?;
    if !has_operator() {
        tracing::warn!(
            "nobody operates this node and its own token is off: start it once with `file` for auth.node_token and run `quipu login --first`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_minted_once_kept_private_and_compared_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (first, minted) = Token::load_or_mint(dir.path()).unwrap();
        let (again, anew) = Token::load_or_mint(dir.path()).unwrap();
        assert!(minted && !anew);
        assert_eq!(first.expose(), again.expose());
        assert!(first.matches(again.expose()));
        for other in ["", "qp_", &first.expose()[..45], &format!("{} ", first.expose())] {
            assert!(!first.matches(other));
        }
        assert!(!format!("{first:?}").contains(&first.expose()[3..]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = dir.path().join(FILE);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(Token::load(dir.path()), Err(TokenError::Exposed(..))));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&path, "nonsense").unwrap();
            assert!(matches!(Token::load(dir.path()), Err(TokenError::Malformed(_))));
        }
    }
}
