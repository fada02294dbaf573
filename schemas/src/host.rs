//! Hosts that a secret may be sent to.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{borrow::Cow, fmt, str::FromStr};

/// A text that names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host: write api.example.com, *.example.com or, for another port than 443, api.example.com:8443")]
pub struct BadHost(String);

/// A host with its port, or all hosts below a domain; text form `api.example.com`, `*.example.com:8443`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    /// Lower case; with a leading dot, all hosts that end so.
    host: String,
    port: u16,
}

/// Longest name of a host (RFC 1035).
const HOST_CHARS: usize = 253;
/// The port of `https`, which is meant where none is named.
const HTTPS: u16 = 443;

impl HostPattern {
    /// Whether a connection to this host and port is meant. The host is as URLs write it.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_named = match self.host.strip_prefix('.') {
            // Whole labels: `evil-example.com` is not below `example.com`, nor is the domain itself.
            Some(_) => host.len() > self.host.len() && host.ends_with(&self.host),
            None => host == self.host,
        };
        is_named && port == self.port
    }
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= HOST_CHARS && text.split('.').all(is_label)
}

impl FromStr for HostPattern {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let bad = || BadHost(text.chars().take(64).collect());
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an IPv6 address stand within brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?),
            _ => (text, HTTPS),
        };
        let host = host.to_ascii_lowercase();
        let host = match (
            host.strip_prefix("*."),
            host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')),
        ) {
            // At least two labels: nobody means all of `com`.
            (Some(domain), _) if is_name(domain) && domain.contains('.') => format!(".{domain}"),
            (None, Some(address)) => match address.parse::<std::net::Ipv6Addr>() {
                Ok(address) => format!("[{address}]"),
                Err(_) => return Err(bad()),
            },
            (None, None) if is_name(&host) => host,
            _ => return Err(bad()),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.starts_with('.') {
            f.write_str("*")?;
        }
        f.write_str(&self.host)?;
        if self.port == HTTPS { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for HostPattern {
    fn schema_name() -> Cow<'static, str> {
        "HostPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(\*\.)?[A-Za-z0-9._-]+(:[0-9]{1,5})?$|^\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?$",
            "description": "A host, or all hosts below a domain (`*.example.com`); on port 443 unless another one is given.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, host: &str, port: u16) -> bool {
        pattern.parse::<HostPattern>().unwrap().covers(host, port)
    }

    #[test]
    fn hosts_are_met_whole_and_on_their_port() {
        assert!(covers("api.example.com", "API.example.com.", 443) && !covers("api.example.com", "api.example.com", 80));
        assert!(covers("*.example.com", "a.b.example.com", 443));
        for host in ["example.com", "evil-example.com", "example.com.evil.org", ".example.com"] {
            assert!(!covers("*.example.com", host, 443), "{host}");
        }
        assert!(covers("127.0.0.1:8080", "127.0.0.1", 8080) && covers("[::1]:9", "[::1]", 9));
    }

    #[test]
    fn hosts_are_written_as_they_are_meant() {
        for (text, written) in [
            ("API.Example.com", "api.example.com"),
            ("x.io:443", "x.io"),
            ("*.x.io:8443", "*.x.io:8443"),
            ("[0:0::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), written);
        }
        for text in [
            "",
            "*",
            "*.com",
            "a..b",
            "a/b",
            "a:0",
            "a:99999",
            "a:b",
            "user@a",
            "*.*.a.b",
            "[::1",
            "[x]",
            "a b",
            "-a",
            "https://a",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
