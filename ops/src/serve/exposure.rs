//! How the node shows itself: by which address, and over TLS or in the clear.

use crate::tls::{Certificates, TlsError, TlsFiles, renewal};
use quipu_runtime::node::Node;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// The address by which a client on this machine reaches the node: one that listens everywhere answers to no other `Host`.
pub(super) fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Reads a certificate as of now.
#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is valid by the wall clock, as its clients see it, and is read before the node's clock is there"
)]
pub(super) fn load_certificates(files: TlsFiles) -> Result<Arc<Certificates>, TlsError> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Certificates::load(files, now).map(Arc::new)
}

/// Ends with the runtime, or when it is aborted.
pub(super) async fn watch_certificates(node: Node, certificates: Arc<Certificates>) {
    let task = || {
        let clock = node.clone();
        renewal::watch(certificates.clone(), renewal::LOOK_EVERY, move || clock.now())
    };
    node.tasks().run("certificates", || false, task).await;
}

/// What whoever opens the node to other machines should know; `None` on loopback and over TLS.
pub(super) fn exposure(address: SocketAddr, is_secured: bool) -> Option<&'static str> {
    (!is_secured && !address.ip().to_canonical().is_loopback()).then_some(
        "other machines can reach this node: there is no TLS, so the token and everything else go over the network in the \
         clear; set tls.certificate and tls.key, or put a TLS proxy in front and let nothing else in",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_goes_without_a_warning() {
        for quiet in ["127.0.0.1:7077", "127.8.9.1:1", "[::1]:7077", "[::ffff:127.0.0.1]:7077"] {
            assert_eq!(exposure(quiet.parse().unwrap(), false), None, "{quiet}");
        }
        for open in ["0.0.0.0:7077", "[::]:7077", "192.168.1.2:7077", "[::ffff:10.0.0.1]:7077"] {
            assert!(exposure(open.parse().unwrap(), false).is_some_and(|w| w.contains("TLS")), "{open}");
            assert_eq!(exposure(open.parse().unwrap(), true), None, "{open}");
        }
    }
}
