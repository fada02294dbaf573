//! Servers that come back with an old disk: what they lost is missed by the node that saw it durable, also after a restart of that
//! node, by the ends that it noted in its data directory.

use quipu_tests::{
    caller::Caller,
    process::Launch,
    servers::{
        kafka::{self, Kafka},
        nats::{self, Nats, SYSTEM, Shape},
    },
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A server of either kind.
enum Server {
    Nats(Nats),
    Kafka(Kafka),
}

impl Server {
    fn store(&self) -> PathBuf {
        match self {
            Self::Nats(nats) => nats.store(0),
            Self::Kafka(kafka) => kafka.data(),
        }
    }

    /// Does something while the server is down.
    fn meanwhile(&mut self, work: impl FnOnce(&Path)) {
        match self {
            Self::Nats(nats) => nats.kill(0),
            Self::Kafka(kafka) => kafka.stop(),
        }
        work(&self.store());
        match self {
            Self::Nats(nats) => nats.restart(0),
            Self::Kafka(kafka) => kafka.restart(),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let into = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &into);
        } else {
            fs::copy(&path, &into).expect("a file");
        }
    }
}

async fn say(ada: &Caller, words: &[&str]) {
    for word in words {
        ada.post("/v1/orgs/acme/conversations/c/post", json!({ "body": word }))
            .await
            .taken();
    }
}

async fn said(ada: &Caller) -> usize {
    ada.count("/v1/orgs/acme/conversations/c", "conversation.message_posted", |_| true)
        .await
}

async fn an_old_disk_is_found_out(mut server: Server, log: &str) {
    let mut launch = Launch::new().log(log);
    let node = launch.start().await;
    let ada = node.caller.acting_for("ada");
    ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
    ada.post("/v1/orgs/acme/conversations/c", json!({ "type": "group" })).await.taken();
    say(&ada, &["one", "two"]).await;
    node.stop().await;
    let aside = tempfile::tempdir().expect("a temporary directory");
    server.meanwhile(|store| copy(store, aside.path()));
    // A node that stops in order has noted how far it saw the log.
    let node = launch.start().await;
    let ada = node.caller.acting_for("ada");
    say(&ada, &["three", "four"]).await;
    assert_eq!(said(&ada).await, 4);
    node.stop().await;

    server.meanwhile(|store| {
        fs::remove_dir_all(store).expect("the store");
        copy(aside.path(), store);
    });
    let refused = launch.try_start_by(launch.quipu()).await;
    let told = fs::read_to_string(launch.data().with_file_name("node.log")).expect("its log");
    let told = told.lines().rev().take(5).collect::<Vec<_>>().join("\n");
    assert!(
        refused.is_err_and(|status| !status.success()),
        "it serves what is left as if it were whole:\n{told}"
    );
    let noted: Vec<PathBuf> = fs::read_dir(launch.data())
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let noted = noted
        .iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("heads-")));
    let noted = noted.expect("the ends that it noted");
    assert!(
        told.contains("lost acknowledged records") && told.contains(&noted.display().to_string()),
        "{told}"
    );

    // As the message says: whoever moves the file away goes on with what is left.
    fs::remove_file(noted).expect("it can be moved");
    let node = launch.start().await;
    let ada = node.caller.acting_for("ada");
    assert_eq!(said(&ada).await, 2);
    say(&ada, &["three again"]).await;
    assert_eq!(said(&ada).await, 3);
    node.stop().await;
}

#[tokio::test]
async fn node_misses_records_that_jetstream_lost() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "an old disk of JetStream") else {
        return;
    };
    let log = format!("{}/old?partitions=2&system={SYSTEM}", nats.url());
    an_old_disk_is_found_out(Server::Nats(nats), &log).await;
}

#[tokio::test]
async fn records_that_kafka_lost_are_missed_by_the_node_that_saw_them() {
    let Some(kafka) = kafka::start_or_skip(true, "an old disk of Kafka") else {
        return;
    };
    let log = format!("kafka://{}/old?partitions=2", kafka.address());
    an_old_disk_is_found_out(Server::Kafka(kafka), &log).await;
}
