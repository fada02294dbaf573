//! Where a request comes from: the peer of its connection, or, where that is a trusted proxy, who stands behind it.
//!
//! `Forwarded` (RFC 7239) and `X-Forwarded-For` are lists to which each proxy appends whom it heard from. Only what trusted proxies
//! appended counts: the list is read from its end until an address is none of theirs. What does not read makes the address
//! unknown, and both headers at once have to agree, as one of them may have come from the client.

use axum::{
    extract::{ConnectInfo, Request},
    http::HeaderMap,
};
use quipu_schemas::network::Network;
use std::net::{IpAddr, SocketAddr};

/// Where a request comes from, as far as it is known. Set by the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

/// Notes it for whoever asks.
pub(super) fn note(proxies: &[Network], request: &mut Request) {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let address = peer.and_then(|peer| behind(peer, request.headers(), proxies));
    request.extensions_mut().insert(ClientAddress(address));
}

/// What was noted.
pub(super) fn of(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ClientAddress>().and_then(|noted| noted.0)
}

fn is_trusted(address: IpAddr, proxies: &[Network]) -> bool {
    proxies.iter().any(|network| network.contains(address))
}

fn behind(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Option<IpAddr> {
    if !is_trusted(peer, proxies) {
        return Some(peer.to_canonical());
    }
    let told = [list(headers, "x-forwarded-for", address), list(headers, "forwarded", forwarded_for)];
    let mut clients = told.into_iter().flatten().map(|hops| client(&hops, proxies));
    match (clients.next(), clients.next()) {
        // A proxy that says nothing is the client, for all that is known.
        (None, _) => Some(peer.to_canonical()),
        (Some(client), None) => client,
        (Some(one), Some(other)) => one.filter(|_| one == other),
    }
}

/// The hops that a header tells, in order, each where it reads; `None` where there is no such header.
fn list(headers: &HeaderMap, name: &str, read: impl Fn(&str) -> Option<IpAddr>) -> Option<Vec<Option<IpAddr>>> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let elements = |line: &axum::http::HeaderValue| -> Vec<Option<IpAddr>> {
        match line.to_str() {
            Ok(text) => text.split(',').map(|element| read(element.trim())).collect(),
            Err(_) => vec![None],
        }
    };
    Some(lines.flat_map(elements).collect())
}

/// The last hop that is not a trusted proxy, or the first of all if each is one.
fn client(hops: &[Option<IpAddr>], proxies: &[Network]) -> Option<IpAddr> {
    let mut first = None;
    for hop in hops.iter().rev() {
        let address = (*hop)?;
        first = Some(address);
        if !is_trusted(address, proxies) {
            break;
        }
    }
    first
}

/// `for=192.0.2.1`, `for="[2001:db8::1]:80"`, among others that an element may say.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut named = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let value = named.next()?;
    if named.next().is_some() {
        return None;
    }
    let bare = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => value,
    };
    address(bare)
}

/// An address, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let parsed = text.parse::<IpAddr>().ok().or_else(|| bracketed(text));
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    parsed.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies: Vec<Network> = ["10.0.0.0/8", "127.0.0.1", "2001:db8:1::/48"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        behind(peer.parse().unwrap(), &map, &proxies).map_or("unknown".into(), |address| address.to_string())
    }

    #[test]
    fn word_of_a_trusted_proxy_alone_counts() {
        let to = "x-forwarded-for";
        for (peer, headers, expected) in [
            ("198.51.100.7", &[(to, "192.0.2.1")][..], "198.51.100.7"),
            ("::ffff:198.51.100.7", &[(to, "192.0.2.1")], "198.51.100.7"),
            ("10.1.2.3", &[], "10.1.2.3"),
            ("10.1.2.3", &[(to, "192.0.2.1")], "192.0.2.1"),
            ("::ffff:10.1.2.3", &[(to, "192.0.2.1")], "192.0.2.1"),
            // What the client wrote itself stands before what the proxy appended.
            ("127.0.0.1", &[(to, "127.0.0.1, 192.0.2.1")], "192.0.2.1"),
            ("10.1.2.3", &[(to, "203.0.113.9, 192.0.2.1, 10.9.9.9")], "192.0.2.1"),
            ("10.1.2.3", &[(to, "203.0.113.9"), (to, "192.0.2.1, 10.9.9.9")], "192.0.2.1"),
            ("10.1.2.3", &[(to, "10.4.4.4, 10.9.9.9")], "10.4.4.4"),
            ("2001:db8:1::1", &[(to, "2001:db8:2::2")], "2001:db8:2::2"),
            ("10.1.2.3", &[(to, "[2001:db8:2::2]:4711")], "2001:db8:2::2"),
            ("10.1.2.3", &[(to, "192.0.2.1:4711")], "192.0.2.1"),
            ("10.1.2.3", &[("forwarded", "for=192.0.2.1;proto=https")], "192.0.2.1"),
            (
                "10.1.2.3",
                &[("forwarded", "for=203.0.113.9, For=\"[2001:db8:2::2]:80\"; by=10.1.2.3")],
                "2001:db8:2::2",
            ),
            ("10.1.2.3", &[(to, "192.0.2.1"), ("forwarded", "for=192.0.2.1")], "192.0.2.1"),
        ] {
            assert_eq!(asked(peer, headers), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn what_does_not_read_makes_the_address_unknown() {
        let to = "x-forwarded-for";
        for headers in [
            &[(to, "")][..],
            &[(to, "unknown")],
            &[(to, "192.0.2.1, _hidden")],
            &[(to, "192.0.2.1,")],
            &[("forwarded", "proto=https")],
            &[("forwarded", "for=192.0.2.1;for=192.0.2.2")],
            &[("forwarded", "for=\"192.0.2.1")],
            // One of them may be the client's own.
            &[(to, "192.0.2.1"), ("forwarded", "for=192.0.2.2")],
            &[(to, "192.0.2.1"), ("forwarded", "for=unknown")],
        ] {
            assert_eq!(asked("10.1.2.3", headers), "unknown", "{headers:?}");
        }
        // Behind the client nothing is read.
        assert_eq!(asked("10.1.2.3", &[(to, "junk, 192.0.2.1")]), "192.0.2.1");
    }
}
