//! The log contract on every backend of this crate, with 16 partitions and with 1.

use quipu_events::{
    contract::{self, Subject},
    disk::{RealDisk, SimDisk},
    embedded::{EmbeddedLog, EmbeddedOptions, LOG_DIR},
    memory::{Fault, MemoryLog},
    port::{Log, Place},
};
use quipu_schemas::position::LogId;
use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

const LOG: LogId = LogId([3; 16]);

struct Memory(Arc<MemoryLog>);

impl Subject for Memory {
    fn log(&self) -> Arc<dyn Log> {
        self.0.clone()
    }
    fn reopen(&mut self) -> bool {
        false
    }
    fn make_next_unknown(&mut self, partition: u16) {
        self.0.fail_next(partition, Fault::UnknownStored);
    }
    fn recover(&mut self) {}
    fn damage(&mut self, _: Place) -> bool {
        false
    }
}

enum Ground {
    Real(tempfile::TempDir),
    Simulated(SimDisk),
}

struct Embedded {
    ground: Ground,
    options: EmbeddedOptions,
    log: Option<Arc<EmbeddedLog>>,
}

impl Embedded {
    fn new(ground: Ground, partitions: u16) -> Self {
        // Small segments, so that every promise is also held across several.
        let options = EmbeddedOptions {
            partitions,
            log_id: Some(LOG),
            segment_bytes: 8 * 1024,
        };
        let mut subject = Self {
            ground,
            options,
            log: None,
        };
        subject.open();
        subject
    }

    fn dir(&self) -> PathBuf {
        match &self.ground {
            Ground::Real(dir) => dir.path().to_owned(),
            Ground::Simulated(_) => PathBuf::from("/data"),
        }
    }

    fn open(&mut self) {
        self.log = None;
        let log = match &self.ground {
            Ground::Real(_) => EmbeddedLog::open_on(Arc::new(RealDisk), &self.dir(), &self.options),
            Ground::Simulated(disk) => EmbeddedLog::open_on(Arc::new(disk.clone()), &self.dir(), &self.options),
        };
        self.log = Some(Arc::new(log.unwrap()));
    }
}

fn segment(dir: &Path, place: Place) -> PathBuf {
    dir.join(LOG_DIR).join(format!("{:016}.seg", place.unit))
}

impl Subject for Embedded {
    fn log(&self) -> Arc<dyn Log> {
        self.log.clone().unwrap()
    }
    fn reopen(&mut self) -> bool {
        self.open();
        assert_eq!(self.log.as_ref().unwrap().report().notes, Vec::<String>::new());
        true
    }
    fn make_next_unknown(&mut self, _: u16) {
        match &self.ground {
            Ground::Simulated(disk) => disk.inject(|f| f.fail_next_sync = true),
            Ground::Real(_) => panic!("a real disk is not made to fail"),
        }
    }
    fn recover(&mut self) {
        self.open();
    }
    fn damage(&mut self, place: Place) -> bool {
        let path = segment(&self.dir(), place);
        match &self.ground {
            Ground::Simulated(disk) => disk.flip(&path, u64::from(place.at + 100) * 8),
            Ground::Real(_) => {
                let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, u64::from(place.at + 100)).unwrap();
                file.write_all_at(&[byte[0] ^ 4], u64::from(place.at + 100)).unwrap();
            }
        }
        true
    }
}

fn memory(partitions: u16) -> Memory {
    Memory(Arc::new(MemoryLog::new(LOG, partitions)))
}
fn simulated(partitions: u16) -> Embedded {
    Embedded::new(Ground::Simulated(SimDisk::new(7)), partitions)
}
fn real(partitions: u16) -> Embedded {
    Embedded::new(Ground::Real(tempfile::tempdir().unwrap()), partitions)
}

macro_rules! promises {
    ($backend:ident: $($promise:ident),+ $(,)?) => {
        mod $backend {
            $(#[test]
            fn $promise() {
                for partitions in [16, 1] {
                    super::contract::$promise(&mut super::$backend(partitions));
                }
            })+
        }
    };
}

macro_rules! contract_of {
    ($($backend:ident),+) => {
        $(promises!($backend:
            offsets_are_contiguous_and_claims_take_none,
            a_claim_raises_the_epoch_and_fences_the_owner_before,
            what_does_not_continue_the_partition_is_refused,
            acknowledged_frames_are_durable_and_whole,
            appends_complete_in_submission_order,
            reads_return_whole_frames_and_never_skip,
            reads_repeat_byte_for_byte,
            places_give_their_records,
            the_head_is_the_durable_end,
        );)+
    };
}

contract_of!(memory, simulated, real);

// Promise 6 needs a backend that can be made to fail.
#[test]
fn unknown_outcome_blocks_until_claimed_and_read_back() {
    for partitions in [16, 1] {
        contract::unknown_outcome_blocks_until_claimed_and_read_back(&mut memory(partitions));
        for seed in 0..20 {
            let mut subject = Embedded::new(Ground::Simulated(SimDisk::new(seed)), partitions);
            contract::unknown_outcome_blocks_until_claimed_and_read_back(&mut subject);
        }
    }
}
