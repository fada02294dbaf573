//! Connections between nodes, at the same port as those of clients.

use super::*;
use axum::Extension;
use quipu_runtime::cluster::NodeKey;
use tokio::net::TcpListener;

/// Says what is known of the connection.
async fn told(node: Option<Extension<NodeKeyShown>>, secured: Option<Extension<Secured>>) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let key = node.map(|Extension(shown)| STANDARD.encode(&*shown.0));
    format!("{} {}", secured.is_some(), key.unwrap_or_default())
}

/// A node with this key, for as long as the sender is kept.
async fn listening(key: &NodeKey) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (closing, is_closing) = watch::channel(false);
    let doors = Doors {
        clients: None,
        nodes: Some(Arc::new(key.server_config().unwrap())),
    };
    let router = Router::new().route("/", get(told));
    tokio::spawn(serve(Arc::new(listener), router, doors, is_closing));
    (address, closing)
}

/// Asks as the node with the key `own`, which expects one with `expected`.
async fn asked(own: &NodeKey, expected: &str, at: SocketAddr) -> Result<String, reqwest::Error> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(own.client_config(expected).unwrap())
        .no_proxy()
        .build()?;
    client.get(format!("https://{at}/")).send().await?.text().await
}

fn key() -> NodeKey {
    NodeKey::load_or_make(None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_prove_their_keys_and_clients_come_as_before() {
    let (a, b) = (key(), key());
    let (at, _closing) = listening(&a).await;
    assert_eq!(asked(&b, a.public(), at).await.unwrap(), format!("true {}", b.public()));
    // Whoever answers there with another key hears nothing.
    let refused = asked(&b, b.public(), at).await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    // Beside them clients are served in the clear, where the node has no certificate.
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = plain.get(format!("http://{at}/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "false ");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_shows_no_key_is_no_node() {
    let a = key();
    let (at, _closing) = listening(&a).await;
    let mut keyless = a.client_config(a.public()).unwrap();
    #[derive(Debug)]
    struct Nothing;
    impl rustls::client::ResolvesClientCert for Nothing {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
        fn only_raw_public_keys(&self) -> bool {
            true
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    keyless.client_auth_cert_resolver = Arc::new(Nothing);
    // Without the protocol of nodes there is nothing to shake hands with either: this node has no certificate.
    let mut stranger = a.client_config(a.public()).unwrap();
    stranger.alpn_protocols = vec![b"http/1.1".to_vec()];
    for config in [keyless, stranger] {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .build()
            .unwrap();
        assert!(client.get(format!("https://{at}/")).send().await.is_err());
    }
}
