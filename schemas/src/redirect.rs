//! Addresses that people are sent back to with a code.
//!
//! Whoever gets at such an address gets at codes, so each has one form and is compared letter by letter: nothing is decoded,
//! normalised or matched by its beginning. The one exception is RFC 8252's: a program on the person's own machine listens on a
//! port that it does not know before, so the port of a loopback address may be left open.

use crate::limits::REDIRECT_URI_MAX_CHARS;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{borrow::Cow, fmt, str::FromStr};

/// Loopback by its address: a name could lead elsewhere.
const LOOPBACK: [&str; 2] = ["127.0.0.1", "[::1]"];

/// An address that nobody is sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an address to be sent back to: `{0}`; use https://host/path, or http://127.0.0.1/path, in lower case up to the path, \
     without user, `..`, `*` and fragment"
)]
pub struct BadRedirect(String);

/// An address that people may be sent back to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the address that a request names is this one.
    pub fn permits(&self, named: &str) -> bool {
        if self.0 == named {
            return true;
        }
        let (Some((own, own_rest)), Some((host, rest))) = (parts(&self.0), parts(named)) else {
            return false;
        };
        // The port is open where none was given, and nothing else is.
        let with_port = |host: &str| {
            let (bare, port) = host.rsplit_once(':')?;
            let is_port = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0') && port.parse::<u16>().is_ok();
            is_port.then(|| bare.to_owned())
        };
        LOOPBACK.contains(&own) && with_port(host).as_deref() == Some(own) && own_rest == rest && named.starts_with("http://")
    }

    /// Whether its port, where it names one, is one that a server can have. It reads either way: what was stored before this was
    /// asked for must go on reading.
    pub fn has_real_port(&self) -> bool {
        let Some((authority, _)) = parts(&self.0) else { return false };
        let bare = authority.rsplit_once(']').map_or(authority, |(_, port)| port);
        bare.rsplit_once(':')
            .is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
    }

    /// Where it is, for people and for policies of pages: scheme, host and port.
    pub fn origin(&self) -> &str {
        let from = self.0.find("://").map_or(0, |at| at + 3);
        let end = self.0[from..].find(['/', '?']).map_or(self.0.len(), |at| from + at);
        &self.0[..end]
    }
}

/// Host with its port, and all behind it.
fn parts(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

fn is_one(text: &str) -> bool {
    let is_plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^' | b'*' | b'#');
    if text.len() > REDIRECT_URI_MAX_CHARS || !text.bytes().all(is_plain) {
        return false;
    }
    let Some((authority, rest)) = parts(text) else { return false };
    let path = rest.split('?').next().unwrap_or_default().to_ascii_lowercase();
    let climbs = path
        .split('/')
        .any(|part| part == "." || part == ".." || part.contains("%2e") || part.contains("%2f") || part.contains("%5c"));
    let is_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    if climbs || authority.is_empty() || !authority.bytes().all(is_host) {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(_, port)| port),
        None => authority.split_once(':').map_or("", |(_, port)| port),
    };
    let port = host.strip_prefix(':').unwrap_or(host);
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.len() <= 5 && !authority.ends_with(':');
    let is_loopback = LOOPBACK
        .iter()
        .any(|own| authority == *own || authority.strip_prefix(own).is_some_and(|port| port.starts_with(':')));
    is_port && !authority.starts_with([':', '.', '-']) && (text.starts_with("https://") || is_loopback)
}

impl FromStr for RedirectUri {
    type Err = BadRedirect;

    fn from_str(text: &str) -> Result<Self, BadRedirect> {
        if is_one(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadRedirect(text.chars().take(200).collect()))
        }
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl Serialize for RedirectUri {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for RedirectUri {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}
impl JsonSchema for RedirectUri {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("RedirectUri")
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "maxLength": REDIRECT_URI_MAX_CHARS,
            "pattern": r"^(https://[a-z0-9.-]+|http://(127\.0\.0\.1|\[::1\]))(:[0-9]{1,5})?([/?].*)?$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> RedirectUri {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_have_one_form() {
        for text in [
            "https://app.example/cb",
            "https://app.example",
            "https://app.example:8443/cb?from=quipu",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:8080/cb",
            "http://[::1]:9/",
        ] {
            assert_eq!(uri(text).as_str(), text);
        }
        for text in [
            "",
            "/cb",
            "https://",
            "https:///cb",
            "http://app.example/cb",
            "http://localhost/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.2/cb",
            "HTTPS://app.example/cb",
            "https://App.example/cb",
            "https://user@app.example/cb",
            "https://user:pw@app.example/cb",
            "https://app.example\\@evil.example/cb",
            "https://app.example/cb#part",
            "https://app.example/a/../cb",
            "https://app.example/a/%2e%2e/cb",
            "https://app.example/a%2Fcb",
            "https://app.example/a\\cb",
            "https://*.example/cb",
            "https://app.example/*",
            "https://app.example/c b",
            "https://app.example/\u{e9}",
            "https://app.example/\ncb",
            "https://app.example:/cb",
            "https://app.example:99x/cb",
            "javascript:alert(1)",
            "JavaScript://app.example/%0aalert(1)",
            "data:text/html,x",
            "com.example.app:/cb",
            "ftp://app.example/cb",
        ] {
            assert!(text.parse::<RedirectUri>().is_err(), "{text}");
        }
        assert!(format!("https://app.example/{}", "x".repeat(600)).parse::<RedirectUri>().is_err());
    }

    #[test]
    fn only_the_very_address_is_permitted() {
        let registered = uri("https://app.example/cb");
        assert!(registered.permits("https://app.example/cb"));
        for named in [
            "https://app.example/cb/",
            "https://app.example/CB",
            "https://app.example/cb?x",
            "https://app.example/cb#x",
            "https://app.example:443/cb",
            "https://app.example/cb/../evil",
            "https://app.example.evil/cb",
            "https://user@app.example/cb",
            "http://app.example/cb",
            "https://app.example/c%62",
            " https://app.example/cb",
            "",
        ] {
            assert!(!registered.permits(named), "{named}");
        }
    }

    #[test]
    fn the_port_of_a_loopback_address_may_be_open() {
        let open = uri("http://127.0.0.1/cb");
        assert!(open.permits("http://127.0.0.1/cb") && open.permits("http://127.0.0.1:54321/cb"));
        for named in [
            "http://127.0.0.1:54321/other",
            "http://127.0.0.1:54321@evil.example/cb",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:x/cb",
            "http://127.0.0.1:123456/cb",
            "http://127.0.0.1:65536/cb",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:+80/cb",
            "https://127.0.0.1:54321/cb",
            "http://localhost:54321/cb",
            "http://[::1]:54321/cb",
        ] {
            assert!(!open.permits(named), "{named}");
        }
        assert!(uri("http://[::1]/cb").permits("http://[::1]:9/cb"));
        // A port that was given is that port.
        assert!(!uri("http://127.0.0.1:80/cb").permits("http://127.0.0.1:81/cb"));
        assert!(!uri("https://app.example/cb").permits("https://app.example:81/cb"));
    }

    #[test]
    fn a_port_is_one_that_a_server_can_have() {
        for text in [
            "https://a.example/cb",
            "https://a.example:65535/",
            "http://[::1]/cb",
            "http://[::1]:9/cb",
        ] {
            assert!(uri(text).has_real_port(), "{text}");
        }
        for text in [
            "https://a.example:65536/",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1:0/cb",
            "http://[::1]:99999",
        ] {
            assert!(!uri(text).has_real_port(), "{text}");
        }
    }

    #[test]
    fn the_origin_ends_before_the_path() {
        assert_eq!(uri("https://app.example:8443/cb?x=1").origin(), "https://app.example:8443");
        assert_eq!(uri("https://app.example").origin(), "https://app.example");
    }
}
