//! Which origins may call, as the configuration writes them: `https://app.example`, or every name below one, `https://*.example.com`.

use std::{net::IpAddr, str::FromStr};

/// A configured origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    scheme: String,
    /// The name and port, or what follows `*.`.
    authority: String,
    is_below: bool,
}

impl OriginPattern {
    /// Reads one. `*` stands for whole labels at the front of a name that has two labels of its own at least, never for a part of
    /// one, an address or everything.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("not an origin: `{text}`; use https://host[:port], or https://*.example.com for the names below it");
        let (scheme, authority) = text.split_once("://").ok_or_else(bad)?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = authority.to_ascii_lowercase();
        let (is_below, name) = match authority.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, authority.as_str()),
        };
        let is_written = !name.is_empty() && !name.contains(['/', '*', '@', '?', '#', ' ', '\\']);
        if !matches!(scheme.as_str(), "http" | "https") || !is_written {
            return Err(bad());
        }
        let host = without_port(name);
        let is_name = host.split('.').count() > 1 && host.split('.').all(is_label) && IpAddr::from_str(host).is_err();
        if is_below && !is_name {
            return Err(bad());
        }
        Ok(Self {
            scheme,
            authority: name.to_owned(),
            is_below,
        })
    }

    /// Whether an origin, as a browser sends it, is one of these.
    pub fn matches(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        if scheme != self.scheme {
            return false;
        }
        if !self.is_below {
            return authority == self.authority;
        }
        // Whole labels stand in front of the dot: `evilexample.com` is not below `example.com`.
        let front = authority
            .strip_suffix(self.authority.as_str())
            .and_then(|front| front.strip_suffix('.'));
        front.is_some_and(|front| front.split('.').all(is_label))
    }
}

fn without_port(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => name,
    }
}

/// A label of a name: letters, digits and hyphens within.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_whole_labels_below_a_name() {
        let below = OriginPattern::parse("https://*.Example.com").unwrap();
        for origin in [
            "https://a.example.com",
            "https://A.b.EXAMPLE.com",
            "https://xn--bcher-kva.example.com",
        ] {
            assert!(below.matches(origin), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://evilexample.com",
            "https://.example.com",
            "https://a..example.com",
            "https://-.example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil.example",
            "https://evil.example/.example.com",
            "https://evil.example#.example.com",
            "https://evil.example?x=.example.com",
            "https://evil@a.example.com",
            "https://a.example.com/",
            "null",
            "",
        ] {
            assert!(!below.matches(origin), "{origin}");
        }
        let with_port = OriginPattern::parse("https://*.example.com:8443").unwrap();
        assert!(with_port.matches("https://a.example.com:8443") && !with_port.matches("https://a.example.com"));
    }

    #[test]
    fn exact_origin_is_itself_alone() {
        let exact = OriginPattern::parse("http://localhost:3000").unwrap();
        assert!(exact.matches("http://LOCALHOST:3000"));
        assert!(!exact.matches("http://localhost") && !exact.matches("https://localhost:3000"));
    }

    #[test]
    fn everything_and_parts_of_labels_are_refused() {
        for text in [
            "*",
            "https://*",
            "https://*.",
            "https://*.com",
            "https://*.localhost",
            "https://*.10.0.0.1",
            "https://a.*.example.com",
            "https://*a.example.com",
            "https://**.example.com",
            "*://a.example.com",
            "ftp://a.example",
            "https://a.example/",
            "https://u@a.example",
            "https://",
            "a.example",
        ] {
            assert!(OriginPattern::parse(text).is_err(), "{text}");
        }
    }
}
