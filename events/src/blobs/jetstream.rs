//! Blobs in an object store of the NATS servers that hold the log: chunks in a stream beside those of its partitions.

use super::{BlobError, Blobs, Listed, Page, checked, names_of};
use async_nats::{
    Client,
    jetstream::{
        self,
        object_store::{Config, DeleteErrorKind, GetErrorKind, ObjectStore},
        stream::StorageType,
    },
};
use futures::StreamExt;
use quipu_schemas::{digest::Digest, ids::OrgId, limits::BLOB_REQUEST_MS};
use std::{
    fmt::Display,
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};
use tokio::{io::AsyncReadExt, runtime::Handle, sync::RwLock, time::timeout};

/// A store on JetStream. It ends with the log's runtime: keep both.
pub struct JetStreamBlobs {
    store: ObjectStore,
    place: String,
    handle: Handle,
    /// Storing bytes again replaces their chunks under whoever reads them: within a node readers and writers of a blob take
    /// turns, by the first byte of its name. A reader that another node overtakes asks again.
    turns: Arc<[RwLock<()>; TURNS]>,
}

const TURNS: usize = 16;
/// Readings of one blob before its store is called silent.
const ATTEMPTS: u32 = 2;

fn lost(place: &str) -> impl Fn(&dyn Display) -> BlobError + Send + Sync + use<> {
    let place = place.to_owned();
    move |detail| BlobError::Unreachable {
        place: place.clone(),
        detail: detail.to_string(),
    }
}

fn turn_of(name: &Digest) -> usize {
    usize::from(name.0[0]) % TURNS
}

async fn read_once(
    store: &ObjectStore,
    key: &str,
    name: &Digest,
    lost: &(dyn Fn(&dyn Display) -> BlobError + Send + Sync),
) -> Result<Vec<u8>, BlobError> {
    let mut object = match store.get(key).await {
        Ok(object) => object,
        Err(e) if e.kind() == GetErrorKind::NotFound => return Err(BlobError::Missing(*name)),
        Err(e) => return Err(lost(&e)),
    };
    let mut bytes = Vec::with_capacity(object.info().size);
    match object.read_to_end(&mut bytes).await {
        Ok(_) => checked(name, bytes),
        // Its own digest disagrees.
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Err(BlobError::Damaged(*name)),
        Err(e) => Err(lost(&e)),
    }
}

fn key(org: &OrgId, name: &Digest) -> String {
    format!("{org}/{name}")
}

impl JetStreamBlobs {
    /// Opens the object store of a log of this name, or makes it with as many replicas as the log has.
    pub(crate) async fn open(client: Client, domain: Option<&str>, log: &str, replicas: usize, handle: Handle) -> Result<Self, BlobError> {
        let bucket = format!("quipu_{log}_blobs");
        let place = format!("object store {bucket}");
        let context = match domain {
            Some(domain) => jetstream::with_domain(client, domain),
            None => jetstream::new(client),
        };
        let config = Config {
            bucket: bucket.clone(),
            description: Some("values of a quipu log".into()),
            storage: StorageType::File,
            num_replicas: replicas,
            ..Config::default()
        };
        let store = match context.get_object_store(&bucket).await {
            Ok(store) => store,
            Err(_) => context.create_object_store(config).await.map_err(|e| lost(&place)(&e))?,
        };
        let turns = Arc::default();
        Ok(Self {
            store,
            place,
            handle,
            turns,
        })
    }

    /// Waits on this thread for what the log's runtime does.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T, BlobError>> + Send + 'static) -> Result<T, BlobError> {
        let (send, receive) = sync_channel(1);
        let silent = lost(&self.place);
        let late = format!("no answer within {BLOB_REQUEST_MS} ms");
        self.handle.spawn(async move {
            let done = timeout(Duration::from_millis(BLOB_REQUEST_MS), work).await;
            // The receiver waits below.
            let _ = send.send(done);
        });
        match receive.recv() {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(silent(&late)),
            Err(_) => Err(silent(&"the log's runtime ended")),
        }
    }
}

impl Blobs for JetStreamBlobs {
    fn put(&self, org: &OrgId, blobs: &[Vec<u8>]) -> Result<Vec<Digest>, BlobError> {
        let names = names_of(blobs)?;
        for (name, bytes) in names.iter().zip(blobs) {
            let (store, key, bytes, lost) = (self.store.clone(), key(org, name), bytes.clone(), lost(&self.place));
            let (turns, turn) = (self.turns.clone(), turn_of(name));
            self.wait(async move {
                let _turn = turns[turn].write().await;
                let mut reader = &bytes[..];
                store.put(key.as_str(), &mut reader).await.map(drop).map_err(|e| lost(&e))
            })?;
        }
        Ok(names)
    }

    fn get(&self, org: &OrgId, name: &Digest) -> Result<Vec<u8>, BlobError> {
        let (store, key, name, lost) = (self.store.clone(), key(org, name), *name, lost(&self.place));
        let (turns, turn) = (self.turns.clone(), turn_of(&name));
        let patience = Duration::from_millis(BLOB_REQUEST_MS) / (ATTEMPTS + 1);
        self.wait(async move {
            let _turn = turns[turn].read().await;
            let mut read = Err(lost(&"not asked"));
            for _ in 0..ATTEMPTS {
                let once = timeout(patience, read_once(&store, &key, &name, &lost)).await;
                read = once.unwrap_or_else(|_| Err(lost(&format!("no answer within {} ms", patience.as_millis()))));
                if !matches!(read, Err(BlobError::Unreachable { .. })) {
                    break;
                }
            }
            read
        })
    }

    fn delete(&self, org: &OrgId, names: &[Digest]) -> Result<(), BlobError> {
        for name in names {
            let (store, key, lost) = (self.store.clone(), key(org, name), lost(&self.place));
            self.wait(async move {
                match store.delete(key).await {
                    Ok(()) => Ok(()),
                    Err(e) if e.kind() == DeleteErrorKind::NotFound => Ok(()),
                    Err(e) => Err(lost(&e)),
                }
            })?;
        }
        Ok(())
    }

    fn list(&self, _: Option<&str>) -> Result<Page, BlobError> {
        let (store, lost) = (self.store.clone(), lost(&self.place));
        self.wait(async move {
            let mut objects = store.list().await.map_err(|e| lost(&e))?;
            let mut blobs = Vec::new();
            while let Some(object) = objects.next().await {
                let object = object.map_err(|e| lost(&e))?;
                let Some((org, hex)) = object.name.split_once('/') else { continue };
                let (Ok(org), Ok(name)) = (OrgId::parse(org), hex.parse()) else {
                    continue;
                };
                let stored_at = object.modified.map_or(0, |at| at.unix_timestamp_nanos() / 1_000_000);
                blobs.push(Listed {
                    org,
                    name,
                    bytes: object.size as u64,
                    stored_at: u64::try_from(stored_at).unwrap_or_default(),
                });
            }
            Ok(Page { blobs, next: None })
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
