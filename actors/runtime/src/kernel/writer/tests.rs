use super::*;
use quipu_events::{contract::record, port::Place};
use quipu_schemas::record;
use std::sync::Arc;

fn writer() -> Writer {
    let head = Head {
        epoch: 1,
        next_offset: 0,
        frame_hash: Digest::ZERO,
    };
    Writer::new(0, head)
}

fn decided(stream: &str) -> DecidedRecord {
    let encoded = record(&format!("acme/conversation/{stream}"), 1, Digest::ZERO, 10);
    let record = Arc::new(record::decode(&encoded.bytes).expect("a record"));
    DecidedRecord { encoded, record }
}

fn stored(records: usize) -> Result<Appended, AppendError> {
    let place = Place { unit: 1, at: 0, len: 1 };
    Ok(Appended {
        frame_hash: Digest([2; 32]),
        places: vec![place; records],
    })
}

fn codes(failed: &[(DecidedRecord, Problem)]) -> Vec<(u16, &str)> {
    failed.iter().map(|(_, problem)| (problem.status, problem.code.as_str())).collect()
}

#[test]
fn full_disk_is_the_answer_to_all_that_met_it() {
    let mut writer = writer();
    let before = writer.incarnation();
    assert!(writer.submit(decided("a"), before, [1; 16]).expect("taken").is_some());
    assert!(writer.submit(decided("b"), before, [1; 16]).expect("queued").is_none());
    let flushed = writer.appended(Err(AppendError::Full), [2; 16]);
    assert_eq!(codes(&flushed.failed), [(507, "storage_full"), (507, "storage_full")]);
    // One that went on deciding on what was lost.
    let refused = writer.submit(decided("a"), before, [3; 16]).expect_err("refused");
    assert_eq!((refused.status, refused.code.as_str()), (507, "storage_full"));
}

#[test]
fn failed_append_costs_nothing_to_settled_entities() {
    let mut writer = writer();
    let before = writer.incarnation();
    writer.submit(decided("a"), before, [1; 16]).expect("taken");
    writer.appended(Err(AppendError::Full), [2; 16]);
    let settled = writer.renewed(before);
    assert!(settled > before, "a late notice of the failure is older than what goes on");
    assert_eq!(settled, writer.incarnation());
    assert!(writer.submit(decided("b"), settled, [3; 16]).expect("taken").is_some());
    assert_eq!(writer.appended(stored(1), [4; 16]).durable.len(), 1);
}

#[test]
fn change_of_owner_ends_settled_entities_too() {
    let mut writer = writer();
    let before = writer.incarnation();
    let problem = stopped(0, &AppendError::Poisoned("in a test".into()));
    writer.abandon(problem);
    assert_eq!(writer.renewed(before), before);
    writer.resume(writer.head());
    assert_eq!(writer.renewed(before), before);
    assert!(writer.submit(decided("a"), before, [1; 16]).is_err());
    let fresh = writer.incarnation();
    assert!(writer.submit(decided("a"), fresh, [1; 16]).expect("taken").is_some());
}

#[test]
fn unknown_outcome_stays_unknown_for_what_was_in_flight() {
    let mut writer = writer();
    let before = writer.incarnation();
    writer.submit(decided("a"), before, [1; 16]).expect("taken");
    writer.submit(decided("b"), before, [1; 16]).expect("queued");
    let flushed = writer.appended(Err(AppendError::Unknown("lost".into())), [2; 16]);
    assert_eq!(codes(&flushed.failed), [(503, "outcome_unknown"), (503, "not_stored")]);
    assert!(!writer.is_appending() && writer.stopped().is_some());
}
