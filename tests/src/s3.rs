//! An S3-compatible server for tests: moto, on a private loopback port, everything in memory, stopped when dropped.

use crate::venv;
use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const PACKAGES: [&str; 1] = ["moto[server]==5.2.1"];
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running server.
pub struct S3 {
    port: u16,
    child: Child,
}

impl S3 {
    /// The server, or nothing and a line that says what is not checked.
    pub fn start_or_skip(what: &str) -> Option<Self> {
        let python = venv::python_or_skip("moto", &PACKAGES, what)?;
        match Self::start(&python) {
            Ok(server) => Some(server),
            Err(why) => {
                venv::skipped(what, &why);
                None
            }
        }
    }

    fn start(python: &std::path::Path) -> Result<Self, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.map_err(|e| e.to_string())?.port();
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut server = Self { port, child };
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(format!("moto ended at once: {status}"));
            }
            if Instant::now() > deadline {
                return Err("moto does not listen".into());
            }
            thread::sleep(Duration::from_millis(50)); // poll
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of a prefix in a bucket as `--blobs` takes it.
    pub fn address(&self, bucket: &str, prefix: &str) -> String {
        format!("s3://testing:testing@{bucket}/{prefix}?endpoint={}", self.endpoint())
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn make_bucket(&self, bucket: &str) {
        // Open to whoever does not sign, so that tests can put what they like.
        self.put(&format!("/{bucket}"), Vec::new()).await;
    }

    /// Puts an object's bytes, past everything that checks them.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) {
        let request = crate::caller::http().put(format!("{}{path}", self.endpoint()));
        let sent = request.header("x-amz-acl", "public-read-write").body(bytes).send().await;
        let status = sent.expect("moto answers").status();
        assert!(status.is_success(), "{path}: {status}");
    }

    /// Ends it.
    pub fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_events::blobs::{Blobs, BlobsAt, S3Blobs, contract};
    use quipu_schemas::{digest::Digest, ids::OrgId};
    use std::sync::Arc;

    struct Bucket {
        server: S3,
        runtime: tokio::runtime::Runtime,
        blobs: Arc<dyn Blobs>,
    }

    fn open(server: &S3, bucket: &str) -> Arc<dyn Blobs> {
        Arc::new(S3Blobs::open(&server.address(bucket, "values").parse().unwrap()).unwrap())
    }

    impl contract::Subject for Bucket {
        fn blobs(&self) -> Arc<dyn Blobs> {
            self.blobs.clone()
        }
        fn reopen(&mut self) -> bool {
            self.blobs = open(&self.server, "main");
            true
        }
        fn damage(&mut self, org: &OrgId, name: &Digest) -> bool {
            let path = format!("/main/values/{org}/{name}");
            self.runtime.block_on(self.server.put(&path, b"something else".to_vec()));
            true
        }
        fn bytes_on_disk(&self) -> Option<u64> {
            None
        }
        fn silence(&mut self) -> bool {
            self.server.stop();
            true
        }
    }

    #[test]
    fn the_contract_of_blobs_holds_in_a_bucket() {
        let Some(server) = S3::start_or_skip("the contract of blobs on S3") else {
            return;
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let missing = server.address("missing", "values").parse::<BlobsAt>().unwrap().open();
        let told = missing.err().expect("no such bucket").to_string();
        assert!(told.contains("NoSuchBucket") && !told.contains("testing"), "{told}");
        runtime.block_on(server.make_bucket("main"));
        let blobs = open(&server, "main");
        contract::keeps_every_promise(&mut Bucket { server, runtime, blobs });
    }
}
