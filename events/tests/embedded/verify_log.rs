//! What `verify_log` says of a log that it reads through its port: what is there, and what a backend may give wrongly.

use quipu_events::{
    contract::{self, Owner},
    memory::MemoryLog,
    port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError},
    verify::{VerifyReport, verify_log},
};
use quipu_schemas::{digest::Digest, position::LogId};

/// What the backend does to what is read, given the offset that was asked for.
type Trick = Box<dyn Fn(u64, Vec<FrameRead>) -> Result<Vec<FrameRead>, ReadError> + Send + Sync>;

/// A log of two partitions whose backend gives wrongly what is read of partition 1.
struct Given {
    log: MemoryLog,
    trick: Trick,
    end: Option<Result<u64, ReadError>>,
}

impl Log for Given {
    fn meta(&self) -> LogMeta {
        self.log.meta()
    }
    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        self.log.claim(partition, owner)
    }
    fn append(&self, batch: Batch, done: AppendDone) {
        self.log.append(batch, done);
    }
    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let frames = self.log.read(partition, from_offset, max_bytes)?;
        if partition == 1 {
            (self.trick)(from_offset, frames)
        } else {
            Ok(frames)
        }
    }
    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.log.read_at(places)
    }
    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        let head = self.log.head(partition)?;
        match &self.end {
            Some(end) if partition == 1 => end.clone().map(|next_offset| Head { next_offset, ..head }),
            Some(_) | None => Ok(head),
        }
    }
}

/// Each partition: a claim, then frames of one, two and three records.
fn log() -> MemoryLog {
    let log = MemoryLog::new(LogId([7; 16]), 2);
    for partition in 0..2 {
        let mut owner = Owner::claim(&log, partition);
        (1..=3).for_each(|count| drop(owner.write(&log, count)));
    }
    log
}

fn given(trick: impl Fn(u64, Vec<FrameRead>) -> Result<Vec<FrameRead>, ReadError> + Send + Sync + 'static) -> VerifyReport {
    let trick = Box::new(trick);
    verify_log(
        &Given {
            log: log(),
            trick,
            end: None,
        },
        |_, _| {},
    )
}

fn ending(end: Result<u64, ReadError>) -> VerifyReport {
    let trick = Box::new(|_, frames| Ok(frames));
    verify_log(
        &Given {
            log: log(),
            trick,
            end: Some(end),
        },
        |_, _| {},
    )
}

/// Partition, offset and words of each problem.
fn problems(report: &VerifyReport) -> Vec<(u16, u64, &str)> {
    let told = report.problems.iter();
    told.map(|p| (p.partition.unwrap(), p.offset.unwrap(), p.detail.as_str())).collect()
}

#[test]
fn an_intact_log_is_intact_and_counted() {
    let log = log();
    let mut heard = Vec::new();
    let report = verify_log(&log, |done, all| heard.push((done, all)));
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(
        (report.log_id.as_str(), report.generation, report.partitions),
        ("07".repeat(16).as_str(), 1, 2)
    );
    assert_eq!(
        (report.claims, report.frames, report.records, report.events, report.streams),
        (2, 6, 12, 12, 2)
    );
    let stored: usize = (0..2)
        .flat_map(|partition| contract::read_all(&log, partition, 1 << 20).unwrap())
        .flat_map(|frame| frame.records)
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert_eq!(report.bytes, stored as u64);
    assert!(report.not_promised.contains("end of a partition"));
    assert_eq!(heard, [(6, 12), (12, 12)], "records done, and in all");
    // The digest is of the records: another log of the same records has it, one record more changes it.
    assert_eq!(verify_log(&self::log(), |_, _| {}).digest, report.digest);
    let mut owner = Owner::claim(&log, 0);
    owner.write(&log, 1);
    assert_ne!(verify_log(&log, |_, _| {}).digest, report.digest);
}

#[test]
fn a_frame_that_is_given_twice_counts_once() {
    // A read begins with the frame that holds its first offset, which may have been given before.
    let report = given(|from, mut frames| {
        if from == 0 {
            frames.truncate(2);
            return Ok(frames);
        }
        let mut before = log().read(1, 0, 1 << 20)?;
        before.retain(|frame| frame.first_offset < from);
        Ok([before, frames].concat())
    });
    assert!(report.is_intact(), "{report:?}");
    assert_eq!((report.claims, report.frames, report.records), (2, 6, 12));
}

/// A larger one as well, of which an offset times its records says nothing.
#[test]
fn a_frame_that_is_given_again_and_again_counts_once() {
    let log = || {
        let log = log();
        Owner::claim(&log, 1);
        let head = log.head(1).unwrap();
        let mut owner = Owner::at(1, head);
        // Streams of their own: the owner before wrote the other.
        let mut batch = owner.batch(1);
        batch.records = vec![contract::record("acme/test/behind", 1, Digest::ZERO, 40)];
        contract::append(&log, batch).unwrap();
        log
    };
    let all = log().read(1, 0, 1 << 20).unwrap();
    let trick = Box::new(move |from, _| {
        let end = all
            .iter()
            .position(|frame| frame.first_offset + frame.records.len() as u64 > from)
            .unwrap();
        Ok(all[..=end].to_vec())
    });
    let report = verify_log(
        &Given {
            log: log(),
            trick,
            end: None,
        },
        |_, _| {},
    );
    assert!(report.is_intact(), "{report:?}");
    assert_eq!((report.frames, report.records), (7, 13));
}

#[test]
fn what_is_missing_is_told_with_its_partition_and_offset() {
    let report = given(|_, mut frames| {
        frames.retain(|frame| frame.first_offset != 1);
        Ok(frames)
    });
    let found = problems(&report);
    assert_eq!(found[0], (1, 1, "a frame begins at offset 3"), "{found:?}");
    assert!(
        found.contains(&(1, 1, "frame does not name the hash of the one before it")),
        "{found:?}"
    );

    let found = given(|from, frames| Ok(if from == 0 { frames[..2].to_vec() } else { Vec::new() }));
    assert_eq!(problems(&found), [(1, 1, "nothing is there, and the partition ends at 6")]);
    assert_eq!(problems(&ending(Ok(9))), [(1, 6, "nothing is there, and the partition ends at 9")]);

    // What was given already, again and again: told, and left.
    let found = given(|_, _| {
        Ok(log()
            .read(1, 0, 1 << 20)?
            .into_iter()
            .filter(|frame| frame.first_offset == 0)
            .collect())
    });
    assert_eq!(problems(&found), [(1, 1, "reading does not get further")]);
}

#[test]
fn a_frame_that_does_not_follow_is_told() {
    let report = given(|_, mut frames| {
        frames[2].previous = Digest([9; 32]);
        Ok(frames)
    });
    assert_eq!(problems(&report), [(1, 1, "frame does not name the hash of the one before it")]);
    let report = given(|_, mut frames| {
        let last = frames.len() - 1;
        frames[last].records.swap(0, 1);
        Ok(frames)
    });
    assert!(
        report
            .problems
            .iter()
            .any(|p| p.offset == Some(3) && p.stream.as_deref() == Some("acme/test/tst_1")),
        "{report:?}"
    );
}

#[test]
fn unreadable_partition_is_reported_and_the_other_verified() {
    let damaged = || ReadError::Damaged {
        partition: 1,
        offset: 1,
        at: "message 2".into(),
        detail: "its sum is another".into(),
    };
    for report in [given(move |_, _| Err(damaged())), ending(Err(damaged()))] {
        assert_eq!(problems(&report), [(1, 0, damaged().to_string().as_str())]);
        assert_eq!((report.frames, report.records), (3, 6), "the other partition");
    }
}
