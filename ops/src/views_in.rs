//! Where a node's views are kept, as configuration and flags name it.

use quipu_projections::{error::ViewError, sqlite::SqliteStore, store::Origin, views::Views};
use std::{path::Path, str::FromStr, sync::Arc};

#[cfg(feature = "postgres")]
use quipu_projections::postgres::{PostgresOptions, PostgresShelf};

/// Where views are kept.
#[derive(Debug, Clone, Default)]
pub enum ViewsIn {
    /// Nowhere: queries are refused, commands and the feed are not.
    Off,
    /// In SQLite under the data directory; in memory for a node without one.
    #[default]
    Sqlite,
    /// In a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresOptions>),
}

/// What names no place for views. Never holds a password.
#[derive(Debug, thiserror::Error)]
pub enum BadViewsIn {
    /// Not one of the words, nor a URL of a known kind.
    #[error("views are kept in `sqlite`, `off`, or postgres://user@host:port/database")]
    Unknown,
    /// This build has no PostgreSQL.
    #[cfg(not(feature = "postgres"))]
    #[error("this build keeps no views in PostgreSQL: build it with `--features postgres`")]
    NotBuilt,
    /// The URL does not parse.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] quipu_projections::postgres::BadOptions),
}

impl FromStr for ViewsIn {
    type Err = BadViewsIn;

    fn from_str(text: &str) -> Result<Self, BadViewsIn> {
        match text {
            "off" => Ok(Self::Off),
            "sqlite" => Ok(Self::Sqlite),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => postgres(url),
            _ => Err(BadViewsIn::Unknown),
        }
    }
}

#[cfg(feature = "postgres")]
fn postgres(url: &str) -> Result<ViewsIn, BadViewsIn> {
    Ok(ViewsIn::Postgres(Box::new(url.parse()?)))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str) -> Result<ViewsIn, BadViewsIn> {
    Err(BadViewsIn::NotBuilt)
}

impl ViewsIn {
    /// Whether they are kept on a server.
    pub(crate) fn is_elsewhere(&self) -> bool {
        match self {
            Self::Off | Self::Sqlite => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => true,
        }
    }

    /// Opens the views; `directory` is the data directory's, `None` for a node that keeps nothing on disk. A server that is
    /// away is not an error: queries fail until it is there.
    pub(crate) fn open(&self, directory: Option<&Path>, origin: Origin) -> Result<Views, ViewError> {
        match (self, directory) {
            #[cfg(feature = "postgres")]
            (Self::Postgres(options), _) => Ok(Views::on_when_there(Box::new(PostgresShelf::new((**options).clone())), origin)),
            (_, Some(directory)) => Views::open(directory, origin),
            (_, None) => Views::of_store(Arc::new(SqliteStore::in_memory(origin)?)),
        }
    }
}

/// A place for views as people may see it: without a password.
pub(crate) fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((login, rest)) if login.contains(':') => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:<redacted>@{rest}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_urls_name_a_place_and_others_are_refused() {
        assert!(matches!("sqlite".parse(), Ok(ViewsIn::Sqlite)));
        assert!(matches!("off".parse(), Ok(ViewsIn::Off)));
        assert!("mysql://db".parse::<ViewsIn>().unwrap_err().to_string().contains("postgres://"));
        let postgres = "postgres://ada:s3cret@db/quipu".parse::<ViewsIn>();
        #[cfg(feature = "postgres")]
        assert!(!format!("{:?}", postgres.unwrap()).contains("s3cret"));
        #[cfg(not(feature = "postgres"))]
        assert!(postgres.unwrap_err().to_string().contains("--features postgres"));
    }

    #[test]
    fn a_password_is_not_shown() {
        for (text, seen) in [
            ("sqlite", "sqlite"),
            ("postgres://ada@db/quipu", "postgres://ada@db/quipu"),
            (
                "postgres://ada:s3@cret@db:5432/quipu?pool=2",
                "postgres://ada:<redacted>@db:5432/quipu?pool=2",
            ),
        ] {
            assert_eq!(shown(text), seen);
        }
    }
}
