//! The contract of blobs on the object store of real nats-servers.

use super::*;
use quipu_events::blobs::{
    Blobs,
    contract::{self as blobs_contract, Subject as BlobSubject},
};
use quipu_schemas::{digest::Digest, ids::OrgId};

struct Store {
    nats: Option<Nats>,
    options: JetStreamOptions,
    log: Option<Arc<JetStreamLog>>,
    blobs: Option<Arc<dyn Blobs>>,
}

impl Store {
    fn open(&mut self) {
        let log = open(&self.options);
        self.blobs = Some(Arc::new(log.blobs(&self.options).expect("an object store")));
        self.log = Some(log);
    }
}

impl BlobSubject for Store {
    fn blobs(&self) -> Arc<dyn Blobs> {
        self.blobs.clone().unwrap()
    }
    fn reopen(&mut self) -> bool {
        self.blobs = None;
        self.log = None;
        self.open();
        true
    }
    fn damage(&mut self, _: &OrgId, _: &Digest) -> bool {
        false
    }
    fn bytes_on_disk(&self) -> Option<u64> {
        None
    }
    fn silence(&mut self) -> bool {
        self.nats.as_mut().unwrap().kill(0);
        true
    }
}

#[test]
fn the_contract_of_blobs_holds_in_an_object_store() {
    let Some(nats) = start_or_skip(SINGLE, "the contract of blobs on JetStream") else {
        return;
    };
    let mut options = options(&nats.url(), "blobs", 1, 1);
    options.request = Duration::from_secs(2);
    let mut store = Store {
        nats: Some(nats),
        options,
        log: None,
        blobs: None,
    };
    store.open();
    blobs_contract::keeps_every_promise(&mut store);
}
