//! Which addresses effects may reach.
//!
//! A name is resolved once, by the connector itself, and the addresses that it got are checked right there:
//! there is no second look-up that could answer differently. Only global unicast addresses pass; whatever
//! else is wanted must be named, as `host:port`, in `egress.allow`.

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

/// A refusal to connect. The text names no resolved address: it may reach people who have no business
/// knowing the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither `http` nor `https`, no host, or credentials inside.
    #[error("{0}")]
    Url(&'static str),
    /// The host is, or resolves to, an address that effects do not reach.
    #[error("{host} is {class}; only `egress.allow` can permit its host:port")]
    Address {
        /// The host as written.
        host: String,
        /// What kind of address it is.
        class: &'static str,
    },
}

/// A malformed entry of `egress.allow`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("egress.allow: `{0}` is not host:port")]
pub struct BadEntry(pub String);

/// A future look-up of a name's addresses.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Resolves host names. The system's resolver by default; tests bring their own.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `host`.
    fn lookup(&self, host: &str) -> Lookup;
}

struct SystemResolver;

impl Resolver for SystemResolver {
    fn lookup(&self, host: &str) -> Lookup {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// The egress rule. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    allow: Arc<BTreeSet<String>>,
    resolver: Arc<dyn Resolver>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            allow: Arc::default(),
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// How a permitted URL is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Named in `egress.allow`: any address.
    Allowed,
    /// Global addresses only, checked again when the name is resolved.
    Guarded,
}

impl Egress {
    /// With the entries of `egress.allow`, each `host:port` (`[v6]:port`).
    pub fn new<S: AsRef<str>>(allow: &[S]) -> Result<Self, BadEntry> {
        let parse = |entry: &S| {
            let entry = entry.as_ref();
            let bad = || BadEntry(entry.chars().take(120).collect());
            let (_, port) = entry.rsplit_once(':').ok_or_else(bad)?;
            port.parse::<u16>().map_err(|_| bad())?;
            let url = Url::parse(&format!("http://{entry}/")).map_err(|_| bad())?;
            let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !has_credentials(&url);
            if plain { Ok(authority(&url)) } else { Err(bad()) }
        };
        Ok(Self {
            allow: Arc::new(allow.iter().map(parse).collect::<Result<_, _>>()?),
            ..Self::default()
        })
    }

    /// With another resolver.
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    /// Checks a URL before anything is sent to it.
    pub(crate) fn check(&self, url: &Url) -> Result<Route, Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Url("the URL is neither http nor https"));
        }
        if has_credentials(url) {
            return Err(Refused::Url("the URL carries credentials; put them into a header by secret name"));
        }
        let host = url.host_str().ok_or(Refused::Url("the URL has no host"))?;
        if self.allow.contains(&authority(url)) {
            return Ok(Route::Allowed);
        }
        // The connector does not resolve literals, so they are checked here.
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            permit(host, address)?;
        }
        Ok(Route::Guarded)
    }

    pub(crate) fn resolver(&self, route: Route) -> GuardedResolver {
        GuardedResolver {
            resolver: self.resolver.clone(),
            route,
        }
    }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// `host:port`, normalised.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

fn permit(host: &str, address: IpAddr) -> Result<(), Refused> {
    match refusal(address) {
        None => Ok(()),
        Some(class) => Err(Refused::Address {
            host: host.chars().take(120).collect(),
            class,
        }),
    }
}

/// The connector's resolver: what it returns is what is connected to.
pub(crate) struct GuardedResolver {
    resolver: Arc<dyn Resolver>,
    route: Route,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let lookup = self.resolver.lookup(&host);
        let route = self.route;
        Box::pin(async move {
            let addresses = lookup.await?;
            if addresses.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            if route == Route::Guarded {
                // One forbidden address condemns the name: which one is tried is not ours to say.
                addresses.iter().try_for_each(|address| permit(&host, *address))?;
            }
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// Why an address is refused; `None` for global unicast (IANA special-purpose registries).
pub(crate) fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => refusal_v4(v4),
        IpAddr::V6(v6) => refusal_v6(v6),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "an unspecified address",
        [127, ..] => "a loopback address",
        [169, 254, 169, 254] | [168, 63, 129, 16] | [192, 0, 0, 192] | [100, 100, 100, 200] => "a cloud metadata address",
        [169, 254, ..] => "a link-local address",
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => "a private address",
        [100, 64..=127, ..] => "a shared (carrier-grade NAT) address",
        [192, 0, 0, _] | [192, 88, 99, _] => "a protocol-assignment address",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "a documentation address",
        [198, 18..=19, ..] => "a benchmarking address",
        [224..=239, ..] => "a multicast address",
        [240..=255, ..] => "a reserved address",
        _ => return None,
    })
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if address.is_unspecified() {
        return Some("an unspecified address");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    Some(match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] => "an IPv4-mapped address",
        // NAT64: the IPv4 address inside is where packets go.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            return refusal_v4(Ipv4Addr::new(a, b, c, d));
        }
        [0xfd00, 0xec2, ..] => "a cloud metadata address",
        [0xfc00..=0xfdff, ..] => "a private (unique local) address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0x2001, 0..=0x1ff, ..] => "a protocol-assignment address",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "a documentation address",
        [0x2002, ..] => "a 6to4 address",
        [0x2000..=0x3fff, ..] => return None,
        _ => "a reserved address",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_unicast_passes() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.254",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(refusal(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.254",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::808:808",
        ] {
            assert_eq!(refusal(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn urls_are_checked_in_every_spelling() {
        let egress = Egress::new(&["LocalHost:9000", "127.0.0.1:80", "[::1]:8443"]).unwrap();
        let check = |url: &str| egress.check(&Url::parse(url).unwrap());
        for url in [
            "http://127.0.0.1:81/",
            "http://2130706433:81/",
            "http://0x7f.1:81/",
            "http://0177.0.0.1:81",
            "https://[::1]/",
            "http://127.1:9000/",
            "http://[::ffff:127.0.0.1]/",
            "http://127.0.0.1.:81/",
        ] {
            assert!(matches!(check(url), Err(Refused::Address { .. })), "{url}");
        }
        for url in [
            "ftp://example.com/",
            "http://user@example.com/",
            "https://:pw@example.com/",
            "file:///etc/passwd",
            "data:,x",
        ] {
            assert!(matches!(check(url), Err(Refused::Url(_))), "{url}");
        }
        for url in [
            "http://localhost:9000/",
            "http://LOCALHOST.:9000/x",
            "http://127.0.0.1/",
            "http://2130706433/",
            "https://[::1]:8443/",
        ] {
            assert_eq!(check(url), Ok(Route::Allowed), "{url}");
        }
        assert_eq!(check("http://localhost:9001/"), Ok(Route::Guarded), "left to the guarded resolver");
        assert_eq!(check("https://8.8.8.8/"), Ok(Route::Guarded));
    }

    #[test]
    fn allow_entries_are_host_and_port() {
        for entry in [
            "localhost",
            "localhost:http",
            "http://localhost:80",
            "a:80/path",
            "u@a:80",
            ":80",
            "a:99999",
            "",
        ] {
            assert!(Egress::new(&[entry]).is_err(), "{entry}");
        }
    }
}
