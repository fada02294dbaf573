//! Which database views are kept in, and how.

use quipu_schemas::limits::{VIEW_CONNECT_MS, VIEW_NAME_MAX_CHARS, VIEW_READERS, VIEW_READERS_MAX, VIEW_SCHEMA_MAX_CHARS};
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};
use tokio_postgres::{Config, config::Host, config::SslMode};

/// How views on PostgreSQL are kept. The text form is
/// `postgres://[user[:password]@]host[:port]/database[?key=value&…]` with the keys `schema`, `schema_per_org` (`true` or
/// `false`), `pool` (connections that read), `reader` (the role that reads; `none` to go without row-level security), `sslmode`
/// (`disable`, or `require`, which checks the certificate), `ca` (a PEM file of roots to trust for that; this machine's without
/// it), and
/// those of libpq, such as `connect_timeout` and `application_name`. Shown without the password.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Server, database, user.
    pub(super) config: Config,
    /// Where the table of stores stands, and the beginning of every store's own schema: `[a-z_][a-z0-9_]*`, 24 at most.
    pub schema: String,
    /// Whether a new store keeps each org's rows in a schema of its own.
    pub schema_per_org: bool,
    /// A PEM file of roots to trust; `None`: those of this machine.
    pub roots: Option<PathBuf>,
    /// Connections that read.
    pub pool: usize,
    /// The role as which queries run, under row-level security; made if absent. `None`: queries run as the connecting user,
    /// and only their own conditions keep orgs apart.
    pub reader: Option<String>,
}

/// Text that names no database for views.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    /// Not the address of a PostgreSQL server.
    #[error("views on PostgreSQL are named by postgres://user@host:port/database[?key=value]: {0}")]
    Address(String),
    /// A value that its key does not take.
    #[error("`{key}` cannot be `{value}`: {takes}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
}

fn is_name(text: &str, max: usize) -> bool {
    text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !text.starts_with("pg_")
}

impl FromStr for PostgresOptions {
    type Err = BadOptions;

    fn from_str(text: &str) -> Result<Self, BadOptions> {
        let mut options = Self {
            config: Config::new(),
            schema: "quipu_views".into(),
            schema_per_org: false,
            roots: None,
            pool: VIEW_READERS,
            reader: Some("quipu_reader".into()),
        };
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(BadOptions::Address("it begins otherwise".into()));
        }
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !options.set(key, value)? {
                others.push(pair);
            }
        }
        let rest = if others.is_empty() {
            String::new()
        } else {
            format!("?{}", others.join("&"))
        };
        // The error names the part that does not parse, never its value.
        options.config = format!("{address}{rest}")
            .parse()
            .map_err(|e: tokio_postgres::Error| BadOptions::Address(super::storage_text(&e)))?;
        options.complete()
    }
}

impl PostgresOptions {
    /// Whether the key is one of these options.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, BadOptions> {
        let bad = |key, takes| BadOptions::Value {
            key,
            value: value.to_owned(),
            takes,
        };
        match key {
            "schema" if is_name(value, VIEW_SCHEMA_MAX_CHARS) => self.schema = value.to_owned(),
            "schema" => return Err(bad("schema", "1 to 24 of a-z 0-9 _, not beginning with a digit or pg_")),
            "schema_per_org" => self.schema_per_org = value.parse().map_err(|_| bad("schema_per_org", "true or false"))?,
            "pool" => {
                let pool = value.parse().ok().filter(|n| (1..=VIEW_READERS_MAX).contains(n));
                self.pool = pool.ok_or_else(|| bad("pool", "1 to 64 connections"))?;
            }
            "reader" if value == "none" => self.reader = None,
            "reader" if is_name(value, VIEW_NAME_MAX_CHARS) => self.reader = Some(value.to_owned()),
            "reader" => return Err(bad("reader", "none, or 1 to 63 of a-z 0-9 _, not beginning with a digit or pg_")),
            "ca" => self.roots = Some(value.into()),
            "password" => return Err(BadOptions::Address("a password comes before the @".into())),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether connections are under TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }

    fn complete(mut self) -> Result<Self, BadOptions> {
        let config = &mut self.config;
        if config.get_hosts().is_empty() {
            return Err(BadOptions::Address("it names no host".into()));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(BadOptions::Address("it names no database".into()));
        }
        if config.get_user().is_none_or(str::is_empty) {
            return Err(BadOptions::Address("it names no user".into()));
        }
        // To take what there is would be to take what somebody in between offers.
        if config.get_ssl_mode() == SslMode::Prefer {
            config.ssl_mode(SslMode::Disable);
        }
        let connect = Duration::from_millis(VIEW_CONNECT_MS);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect);
        }
        if config.get_application_name().is_none() {
            config.application_name("quipu views");
        }
        // A server that is gone without a word.
        config.tcp_user_timeout(2 * connect).keepalives_idle(2 * connect);
        Ok(self)
    }
}

impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().unwrap_or_default();
        write!(f, "postgres://{user}@")?;
        for (n, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match host {
                Host::Tcp(host) => write!(f, "{comma}{host}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            let ports = self.config.get_ports();
            if let Some(port) = ports.get(n).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        let database = self.config.get_dbname().unwrap_or_default();
        let reader = self.reader.as_deref().unwrap_or("none");
        write!(
            f,
            "/{database}?schema={}&schema_per_org={}&pool={}&reader={reader}",
            self.schema, self.schema_per_org, self.pool
        )
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresOptions({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_text_and_shown_without_the_password() {
        let text = "postgres://ada:s3cret@db.example:5433/quipu?schema=tenants&schema_per_org=true&pool=9&reader=eyes&connect_timeout=3";
        let options: PostgresOptions = text.parse().unwrap();
        let shown = format!("{options} {options:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(
            options.to_string(),
            "postgres://ada@db.example:5433/quipu?schema=tenants&schema_per_org=true&pool=9&reader=eyes"
        );
        assert_eq!(options.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        let plain: PostgresOptions = "postgresql://ada@db/quipu?reader=none".parse().unwrap();
        assert_eq!(
            (plain.pool, plain.schema_per_org, plain.reader.as_deref()),
            (VIEW_READERS, false, None)
        );
        assert_eq!((plain.schema.as_str(), plain.is_encrypted()), ("quipu_views", false));
        assert!(
            "postgres://ada@db/quipu?sslmode=require"
                .parse::<PostgresOptions>()
                .unwrap()
                .is_encrypted()
        );
    }

    #[test]
    fn what_names_no_database_is_told_without_the_password() {
        for (text, named) in [
            ("mysql://ada:s3cret@db/quipu", "postgres://"),
            ("postgres://ada:s3cret@db", "no database"),
            ("postgres://db/quipu", "no user"),
            ("postgres://ada:s3cret@db:port/quipu", "port"),
            ("postgres://ada:s3cret@db/quipu?colour=red", "colour"),
            ("postgres://ada@db/quipu?password=s3cret", "before the @"),
            ("postgres://ada:s3cret@db/quipu?schema=Bad", "schema"),
            ("postgres://ada:s3cret@db/quipu?schema=a.b", "schema"),
            ("postgres://ada:s3cret@db/quipu?schema_per_org=perhaps", "schema_per_org"),
            ("postgres://ada:s3cret@db/quipu?pool=0", "pool"),
            ("postgres://ada:s3cret@db/quipu?reader=\"x\"", "reader"),
            ("postgres://ada:s3cret@db/quipu?sslmode=sometimes", "sslmode"),
        ] {
            let error = text.parse::<PostgresOptions>().unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
