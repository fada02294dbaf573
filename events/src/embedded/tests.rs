//! The writer thread: its queue, its idle times, the heads that its owner notes.

use super::*;
use crate::{contract::Owner, disk::SimDisk};
use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

const DIR: &str = "/data";

fn log(disk: &SimDisk) -> EmbeddedLog {
    let options = EmbeddedOptions {
        partitions: 1,
        log_id: None,
        segment_bytes: 64 * 1024,
    };
    EmbeddedLog::open_on(Arc::new(disk.clone()), Path::new(DIR), &options).unwrap()
}

#[test]
fn appends_over_the_queue_bound_are_refused_at_once() {
    let log = log(&SimDisk::new(1));
    let mut owner = Owner::claim(&log, 0);
    let (inside, entered) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let first = owner.batch(1);
    let hold = move |_| {
        inside.send(()).unwrap();
        // Until the test has filled the queue.
        let _ = held.recv();
    };
    log.append(first.clone(), Box::new(hold));
    entered.recv().unwrap();
    let (answer, answers) = mpsc::channel();
    let submit = || {
        let answer = answer.clone();
        log.append(first.clone(), Box::new(move |result| answer.send(result).unwrap()));
    };
    (0..LOG_QUEUE_MAX).for_each(|_| submit());
    assert!(answers.try_recv().is_err(), "they wait");
    submit();
    let refused = AppendError::Invalid(format!("over {LOG_QUEUE_MAX} appends are waiting"));
    assert_eq!(answers.try_recv(), Ok(Err(refused.clone())));
    assert_eq!(log.claim(0, "another"), Err(refused));
    release.send(()).unwrap();
    for _ in 0..LOG_QUEUE_MAX {
        assert!(
            matches!(answers.recv().unwrap(), Err(AppendError::Conflict { .. })),
            "it was written once"
        );
    }
}

#[test]
fn idle_writer_marks_the_end_and_notes_heads_on_request() {
    let disk = SimDisk::new(1);
    let log = log(&disk);
    Owner::claim(&log, 0).write(&log, 1);
    let (segment, end) = log.heads().synced;
    let path = segment::segment_path(&Path::new(DIR).join(LOG_DIR), segment);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let bytes = disk.files()[&path].clone();
        if segment::FlushHeader::decode(&bytes[end as usize..], segment, end).is_some_and(|h| h.is_mark()) {
            break;
        }
        assert!(Instant::now() < deadline, "no mark");
        std::thread::sleep(Duration::from_millis(1)); // poll
    }
    assert_eq!(heads::read(&disk, Path::new(DIR)).unwrap(), None);
    log.write_heads().unwrap();
    assert_eq!(heads::read(&disk, Path::new(DIR)).unwrap(), Some(log.heads()));
}
