//! Which blob store a node uses, by its name or address.

#[cfg(feature = "s3")]
use super::s3::{S3Blobs, S3Options};
use super::{BlobError, Blobs};
use std::{fmt, str::FromStr, sync::Arc};

/// Where blobs are, if the log does not say so itself. Shown without passwords.
#[derive(Debug, Clone, Default)]
pub enum BlobsAt {
    /// Where the log is: the data directory of an embedded log, the object store of a log on NATS, nowhere for a log on
    /// Kafka.
    #[default]
    WithLog,
    /// A bucket of an S3-compatible server.
    #[cfg(feature = "s3")]
    S3(Box<S3Options>),
}

/// Text that names no store that this build can open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// Not the name of a store.
    #[error("not a blob store: `{0}`; use `log` or an address that begins with s3://")]
    Unknown(String),
    /// A store that was left out of this build.
    #[error("this build has no S3 store: build it with `--features s3`")]
    NotBuilt,
    /// An address with something wrong in it.
    #[error("{0}")]
    Address(String),
}

impl BlobsAt {
    /// Opens the store; `None` where the log's own is meant. Blocks.
    pub fn open(&self) -> Result<Option<Arc<dyn Blobs>>, BlobError> {
        match self {
            Self::WithLog => Ok(None),
            #[cfg(feature = "s3")]
            Self::S3(options) => Ok(Some(Arc::new(S3Blobs::open(options)?))),
        }
    }
}

impl FromStr for BlobsAt {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        match text.split_once("://").map_or(text, |(scheme, _)| scheme) {
            "log" => Ok(Self::WithLog),
            #[cfg(feature = "s3")]
            "s3" => Ok(Self::S3(Box::new(text.parse::<S3Options>()?))),
            #[cfg(not(feature = "s3"))]
            "s3" => Err(BadPlace::NotBuilt),
            // What comes before an `@` may be a password.
            _ => Err(BadPlace::Unknown(text.rsplit('@').next().unwrap_or_default().to_owned())),
        }
    }
}

impl fmt::Display for BlobsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithLog => f.write_str("log"),
            #[cfg(feature = "s3")]
            Self::S3(options) => options.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_and_its_secret_is_not_shown() {
        assert!(matches!("log".parse(), Ok(BlobsAt::WithLog)));
        let told = "ftp://user:secret@host/x".parse::<BlobsAt>().unwrap_err().to_string();
        assert!(told.contains("s3://") && !told.contains("secret"), "{told}");
        let s3 = "s3://key:secret@bucket/values?endpoint=http://127.0.0.1:9000".parse::<BlobsAt>();
        #[cfg(feature = "s3")]
        {
            let s3 = s3.unwrap();
            assert_eq!(s3.to_string(), "s3://bucket/values?endpoint=http://127.0.0.1:9000");
            assert!(!format!("{s3:?}").contains("secret"));
        }
        #[cfg(not(feature = "s3"))]
        assert_eq!(s3.unwrap_err(), BadPlace::NotBuilt);
    }
}
