//! Values beside the log where nobody asks for them by a command: backups, damage, what went by a rule or with its subject.

use super::{
    values::{blob_path, fed, large, put},
    *,
};
use std::fs;

/// Verifies a directory with its values.
fn verified(dir: &std::path::Path) -> quipu_events::verify::VerifyReport {
    use quipu_events::{blobs::DirectoryBlobs, disk::RealDisk, verify};
    let mut report = verify::verify(&RealDisk, dir, |_, _| {}).unwrap();
    let blobs = DirectoryBlobs::open_to_read(&dir.join("blobs")).unwrap();
    report.check_blobs(Some(&blobs)).unwrap();
    report
}

/// The one file of a large blob.
fn large_file(blobs: &std::path::Path) -> std::path::PathBuf {
    let mut at = blobs.join("large");
    while at.is_dir() {
        at = fs::read_dir(&at).unwrap().next().unwrap().unwrap().path();
    }
    at
}

#[tokio::test]
async fn a_backup_holds_every_value_and_verify_tells_what_is_lost() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let (packed, own_file) = (large(5_000), large(200_000));
    node.say("c", &packed).await;
    node.say("c", &own_file).await;
    put(&node, &[], large(4_000)).await.expect(201);
    let root = tempfile::tempdir().unwrap();
    let (copy, new) = (root.path().join("copy"), root.path().join("new"));
    node.post("/v1/ops/backup", json!({ "to": copy, "with_keys": true }))
        .await
        .expect(202);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let job = loop {
        let job = node.get("/v1/ops/backup").await.expect(200).json();
        if job["status"] != "running" || std::time::Instant::now() > deadline {
            break job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!((&job["status"], &job["manifest"]["blobs"]), (&json!("done"), &json!(3)), "{job}");
    node.running.stop().await;

    let report = verified(&copy);
    assert_eq!((report.problems.len(), report.blobs), (0, Some(2)), "{:?}", report.problems);
    quipu_events::backup::restore(&copy, &new, |_| {}).unwrap();
    let restored = serve::start(Config::at(&new).unwrap()).await.unwrap();
    let node = TestNode {
        running: restored,
        client: client(),
        data: root,
    };
    let events = fed(&node).await;
    assert_eq!(events[0]["data"]["body"], packed.as_str());
    assert!(node.get(&blob_path(&events[1]["data"]["body"])).await.expect(200).text == own_file);
    node.running.stop().await;

    // A flipped byte and a lost file are found, with the record that names them.
    let file = large_file(&new.join("blobs"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let damaged = verified(&new);
    let told: Vec<&str> = damaged.problems.iter().map(|p| p.detail.as_str()).collect();
    assert!(told.len() == 1 && told[0].contains("damaged"), "{told:?}");
    assert_eq!(damaged.problems[0].stream.as_deref(), Some("acme/conversation/c"));
    let node = TestNode {
        running: serve::start(Config::at(&new).unwrap()).await.unwrap(),
        client: client(),
        data: node.data,
    };
    let events = fed(&node).await;
    assert_eq!(events[0]["data"]["body"], packed.as_str(), "the rest is served");
    node.get(&blob_path(&events[1]["data"]["body"])).await.problem(503, "blob_damaged");
    node.running.stop().await;
    fs::write(large_file(&copy.join("blobs")), b"cut").unwrap();
    let refused = quipu_events::backup::restore(&copy, &node.data.path().join("third"), |_| {});
    assert!(refused.is_err(), "a value of the backup that is not what its manifest says");
}
