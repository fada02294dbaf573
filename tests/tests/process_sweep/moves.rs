//! Backups, restores and rebuilds.

use super::{Ran, Stage, data_is_new, ran, restored, said_by, verified};
use quipu_tests::{
    process::Launch,
    script::Script,
    stop_at::{Point, Watched, was_struck},
    stored,
};
use serde_json::Value;
use std::{fs, path::Path};

impl Stage {
    pub(super) async fn rebuild(&self, launch: &Launch, watched: Watched, point: Point) -> Ran {
        let mut command = launch.quipu();
        self.shim.arm(&mut command, &watched, point);
        let node = launch.start_by(command).await;
        assert!(self.said.rest(&node.caller).await, "nothing counts yet");
        fs::write(watched.gate.as_ref().expect("a gate"), "").expect("the gate");
        let caller = &node.caller;
        let begun = caller
            .exchange(
                caller
                    .request(reqwest::Method::POST, "/v1/ops/views/rebuild")
                    .json(&serde_json::json!({})),
            )
            .await;
        if begun.is_ok() {
            quipu_tests::caller::wait("the rebuild's end", || async {
                match caller.exchange(caller.request(reqwest::Method::GET, "/v1/ops/views")).await {
                    Err(_) => Some(()),
                    Ok(views) => (views.body["job"]["status"] != "running").then_some(()),
                }
            })
            .await;
        }
        let status = node.end().await;
        self.afterwards(launch, self.said.clone()).await;
        ran(&watched, was_struck(status))
    }

    pub(super) async fn backup(&self, launch: &Launch, watched: Watched, out: &Path, point: Point) -> Ran {
        let data = launch.data();
        let mut command = launch.quipu();
        self.shim.arm(&mut command, &watched, point);
        let made = command
            .arg("backup")
            .arg("--data")
            .arg(&data)
            .arg(out)
            .output()
            .await
            .expect("the binary runs");
        let struck = was_struck(made.status);
        let came_to = self.is_a_backup_or_none(launch, out).await;
        assert!(struck || came_to == "restored equal", "{}", said_by(&made));
        // The source is what it was, and another backup is one.
        let again = out.with_file_name("again");
        let made = launch
            .run(&["backup", "--data", &data.display().to_string(), &again.display().to_string()])
            .await;
        assert!(made.status.success(), "{}", said_by(&made));
        assert_eq!(self.is_a_backup_or_none(launch, &again).await, "restored equal");
        Ran {
            came_to,
            ..ran(&watched, struck)
        }
    }

    pub(super) async fn online_backup(&self, launch: &Launch, watched: Watched, out: &Path, point: Point) -> Ran {
        let mut command = launch.quipu();
        self.shim.arm(&mut command, &watched, point);
        let node = launch.start_by(command).await;
        assert!(self.said.rest(&node.caller).await, "nothing counts yet");
        fs::write(watched.gate.as_ref().expect("a gate"), "").expect("the gate");
        let made = launch
            .run(&["backup", "--data", &launch.data().display().to_string(), &out.display().to_string()])
            .await;
        let status = node.end().await;
        let struck = was_struck(status);
        assert!(struck || made.status.success(), "{}", said_by(&made));
        self.afterwards(launch, self.said.clone()).await;
        let digest = verified(launch, &launch.data()).await["digest"].clone();
        let came_to = restored(launch, out).await.map_or("refused as no backup", |restored| {
            // Claims are no records: a later start leaves the digest as it is.
            assert_eq!(restored, digest, "a backup of another log");
            "restored equal"
        });
        assert!(struck || came_to == "restored equal");
        Ran {
            came_to,
            ..ran(&watched, struck)
        }
    }

    pub(super) async fn restore(&self, launch: &Launch, watched: Watched, point: Point) -> Ran {
        let backup = self.home.path().join("backup");
        let data = launch.data();
        let mut command = launch.quipu();
        self.shim.arm(&mut command, &watched, point);
        let made = command
            .arg("restore")
            .arg(&backup)
            .arg(&data)
            .output()
            .await
            .expect("the binary runs");
        let struck = was_struck(made.status);
        // Whatever is there is refused by a node, or is all of it.
        let found = launch.run(&["verify", "--json", &data.display().to_string()]).await;
        let found: Value = serde_json::from_slice(&found.stdout).unwrap_or_default();
        // The backup is one without keys.
        let mut start = launch.quipu();
        start.env("QUIPU_KEYS__ALLOW_LOST", "true");
        let came_to = match launch.try_start_by(start).await {
            Err(_) => {
                assert_ne!(found["intact"], true, "{found}");
                "refused by a start"
            }
            Ok(node) => {
                let is_new = data_is_new(&node.caller).await;
                node.kill().await;
                if is_new {
                    assert_eq!(found["records"], Value::Null, "half of a backup is taken for nothing: {found}");
                    "nothing yet"
                } else {
                    assert_eq!(
                        (&found["intact"], &found["digest"]),
                        (&Value::Bool(true), &Value::from(self.digest.as_str())),
                        "a node serves half of a backup"
                    );
                    "restored equal"
                }
            }
        };
        assert!(struck || came_to == "restored equal", "{}", said_by(&made));
        // Once more, to a new place.
        fs::remove_dir_all(&data).expect("it was begun");
        let made = launch
            .run(&["restore", &backup.display().to_string(), &data.display().to_string()])
            .await;
        assert!(made.status.success(), "{}", said_by(&made));
        let found = verified(launch, &data).await;
        assert_eq!(
            (&found["intact"], &found["digest"]),
            (&Value::Bool(true), &Value::from(self.digest.as_str())),
            "{found}"
        );
        Ran {
            came_to,
            ..ran(&watched, struck)
        }
    }

    /// Whether a directory restores to the template's log, or is refused.
    pub(super) async fn is_a_backup_or_none(&self, launch: &Launch, out: &Path) -> &'static str {
        match restored(launch, out).await {
            Some(digest) => {
                assert_eq!(digest, self.digest.as_str());
                "restored equal"
            }
            None => "refused as no backup",
        }
    }

    /// The node is started again without the shim, hears the whole load again, and keeps every promise.
    pub(super) async fn afterwards(&self, launch: &Launch, mut script: Script) {
        // A process that ends leaves a torn write at most.
        if launch.data().join("log/0000000000000001.seg").metadata().is_ok_and(|m| m.len() > 0) {
            let found = verified(launch, &launch.data()).await;
            assert_eq!(found["problems"], serde_json::json!([]), "{found}");
        }
        let node = launch.start_by(launch.quipu()).await;
        assert!(script.say(&node.caller).await, "{}", node.log_tail());
        assert!(script.rest(&node.caller).await, "{}", node.log_tail());
        script.check(&node.caller, &self.receiver).await;
        // Timers that were due while there was no process are late until they have fired.
        quipu_tests::caller::wait("health to be ok", || async {
            (node.caller.get("/health").await.taken().body["status"] == "ok").then_some(())
        })
        .await;
        node.stop().await;
        let found = verified(launch, &launch.data()).await;
        assert_eq!(
            (&found["intact"], &found["torn"]),
            (&Value::Bool(true), &serde_json::json!([])),
            "{found}"
        );
        let log = stored::open(&launch.data());
        assert_eq!(stored::broken(&stored::records(&log)), Vec::<String>::new());
    }
}
