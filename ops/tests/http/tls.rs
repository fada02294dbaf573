//! The HTTP face over TLS, with certificates of this machine.

use super::{
    certificate::{Made, now},
    *,
};
use quipu::{
    client::Client,
    tls::{Certificates, TlsFiles, renewal},
};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A node over TLS, and what trusts its certificate.
async fn secured(made: &Made) -> (TestNode, TlsFiles) {
    let data = tempfile::tempdir().unwrap();
    let files = made.write(data.path());
    let mut config = Config::at(data.path()).unwrap();
    config.tls = Some(files.clone());
    let client = trusting(made);
    let running = serve::start(config).await.unwrap();
    (TestNode { running, client, data }, files)
}

fn builder(made: &Made) -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = reqwest::Certificate::from_pem(made.certificate.as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([authority])
}

fn trusting(made: &Made) -> reqwest::Client {
    builder(made).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_tls_are_served() {
    let made = Made::for_days(90);
    let (node, _) = secured(&made).await;
    assert!(node.running.url().starts_with("https://127.0.0.1:"), "{}", node.running.url());
    let address = fs::read_to_string(node.data.path().join(serve::ADDRESS_FILE)).unwrap();
    assert_eq!(address.trim(), node.running.url());
    for version in [reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3] {
        let client = builder(&made).tls_version_min(version).tls_version_max(version).build().unwrap();
        let made = client.get(format!("{}/health", node.running.url())).send().await.unwrap();
        assert_eq!(made.status(), 200, "{version:?}");
    }
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    // Whoever does not know the certificate's authority does not speak to it.
    let stranger = trusting(&Made::for_days(90))
        .get(format!("{}/health", node.running.url()))
        .send()
        .await;
    assert!(stranger.is_err_and(|e| e.is_connect()));
    node.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_request_to_tls_is_told_so() {
    let (node, _) = secured(&Made::for_days(90)).await;
    let mut stream = tokio::net::TcpStream::connect(node.running.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"tls_required\""),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn client_of_the_terminal_trusts_its_ca_file_alone() {
    let made = Made::for_days(90);
    let (node, files) = secured(&made).await;
    let token = node.running.token.expose();
    let url = format!("https://localhost:{}", node.running.address.port());
    let client = Client::trusting(&url, token, Some(&files.certificate)).unwrap();
    assert_eq!(client.probe("/health").await.unwrap().0, 200);
    let refused = Client::new(&url, token).unwrap().probe("/health").await.unwrap_err().to_string();
    assert!(refused.contains("certificate") && refused.contains("--ca-file"), "{refused}");
    for bad in [files.key.as_path(), Path::new("/nowhere/ca.pem")] {
        let refused = Client::trusting(&url, token, Some(bad)).unwrap_err().to_string();
        assert!(refused.starts_with("--ca-file: "), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificate_is_served_without_a_restart() {
    let first = Made::for_days(3);
    let (node, _) = secured(&first).await;
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    // It ends soon, and says so.
    let health = node.get("/health").await.expect(200).json();
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(
        health["parts"].as_array().unwrap().iter().any(|part| part["name"] == "certificate"),
        "{health}"
    );
    let mut feed = node.request(Method::GET, "/v1/orgs/acme/events").send().await.unwrap();
    assert!(feed.chunk().await.unwrap().is_some());

    let second = Made::for_days(365);
    second.write(node.data.path());
    let client = trusting(&second);
    let renewed = async {
        while client.get(format!("{}/health", node.running.url())).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renewed)
        .await
        .expect("the new certificate is served");
    // What was open goes on.
    let health = node.get("/health").await.expect(200).json();
    assert_eq!(health["status"], "ok", "{health}");
    node.post("/v1/orgs/acme/orgs/acme/rename", json!({ "name": "Acme 2" }))
        .await
        .expect(202);
    assert!(feed.chunk().await.unwrap().is_some());
}

#[test]
fn files_that_do_not_fit_are_told_by_name_and_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let (good, other) = (Made::for_days(90), Made::for_days(90));
    let files = good.write(directory.path());
    let load = || Certificates::load(files.clone(), now()).map(|_| ()).map_err(|e| e.to_string());
    load().unwrap();
    let write = |certificate: &str, key: &str| {
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
    };
    let expired = Made::for_days(-1);
    for (certificate, key, why) in [
        (&good.certificate, &other.key, "does not belong to the certificate"),
        (&expired.certificate, &expired.key, "expired at 20"),
        (&good.key, &good.key, "holds no PEM certificate"),
        (&good.certificate, &good.certificate, "holds no PEM private key"),
        (&String::new(), &good.key, "holds no PEM certificate"),
        (
            &"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            &good.key,
            "does not read",
        ),
        (
            &good.certificate,
            &"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
            "cannot be used",
        ),
    ] {
        write(certificate, key);
        let refused = load().unwrap_err();
        assert!(refused.contains(why) && refused.contains("node."), "{why}: {refused}");
        assert!(!refused.contains("BEGIN"), "{refused}");
    }
    let early = Certificates::load(good.write(directory.path()), now() - 60 * 24 * 60 * 60 * 1_000).map(|_| ());
    assert!(early.unwrap_err().to_string().contains("not valid before"));
    fs::remove_file(&files.key).unwrap();
    assert!(load().unwrap_err().contains("node.key"));
}

#[test]
fn half_replaced_files_leave_what_was_served() {
    let directory = tempfile::tempdir().unwrap();
    let files = Made::for_days(10).write(directory.path());
    let served = Certificates::load(files.clone(), now()).unwrap();
    let ends = served.ends();
    assert!(!served.reload(now()).unwrap());
    let next = Made::for_days(300);
    fs::write(&files.certificate, &next.certificate).unwrap();
    assert!(served.reload(now()).unwrap_err().to_string().contains("does not belong"));
    assert_eq!(served.ends(), ends);
    fs::write(&files.key, &next.key).unwrap();
    assert!(served.reload(now()).unwrap());
    assert!(served.ends() > ends && !served.reload(now()).unwrap());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn hangup_has_the_files_looked_at_once() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let directory = tempfile::tempdir().unwrap();
    let served = Arc::new(Certificates::load(Made::for_days(10).write(directory.path()), now()).unwrap());
    let (looks, ends) = (Arc::new(AtomicU32::new(0)), served.ends());
    let (counted, watched) = (looks.clone(), served.clone());
    let clock = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        now()
    };
    // Nobody waits so long for the next look.
    let watch = tokio::spawn(renewal::watch(watched, Duration::from_secs(3_600), clock));
    let until = |is: Box<dyn Fn() -> bool + Send>| async move {
        let looked = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looked).await.expect("it comes true");
    };
    let first = looks.clone();
    until(Box::new(move || first.load(Ordering::SeqCst) > 0)).await;
    Made::for_days(300).write(directory.path());
    let pid = std::process::id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let renewed = served.clone();
    until(Box::new(move || renewed.ends() > ends)).await;
    assert_eq!(looks.load(Ordering::SeqCst), 2);
    watch.abort();
}
