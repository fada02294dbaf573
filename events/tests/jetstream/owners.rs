//! Several owners, killed servers, failover.

use super::*;
use quipu_events::port::FrameRead;

#[test]
fn a_newer_claim_elsewhere_fences_the_owner_for_good() {
    let Some(nats) = start_or_skip(SINGLE, "fencing on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "fence", 2, 1);
    let (old, new) = (open(&options), open(&options));
    let mut first = Owner::claim(&*old, 1);
    first.write(&*old, 2);
    let batch = first.batch(1);
    let not_owned = append(&*new, batch.clone());
    assert!(
        matches!(not_owned, Err(AppendError::Poisoned(_))),
        "only who claimed writes: {not_owned:?}"
    );
    let mut second = Owner::at(1, new.claim(1, "http://new").unwrap());
    assert_eq!((second.head.epoch, second.head.next_offset), (2, 2));
    let fenced = Err(AppendError::Fenced { partition: 1, epoch: 2 });
    for _ in 0..3 {
        assert_eq!(append(&*old, batch.clone()), fenced);
    }
    // Not by guessing the new owner's epoch either.
    let guess = Batch {
        epoch: 2,
        previous: second.head.frame_hash,
        ..batch.clone()
    };
    assert!(append(&*old, guess).is_err());
    second.write(&*new, 3);
    assert_eq!(append(&*old, batch), fenced);
    assert_eq!(old.head(1).unwrap(), second.head, "anyone reads the new owner's end");
    let frames = read_all(&*old, 1, 1 << 20).unwrap();
    assert_eq!(
        frames.iter().map(|f| (f.epoch, f.records.len())).collect::<Vec<_>>(),
        [(1, 0), (1, 2), (2, 0), (2, 3)]
    );
    assert_eq!(frames[2].owner.as_deref(), Some("http://new"));
    assert_eq!(old.claim(1, "http://old").unwrap().epoch, 3);
    let late = second.batch(1);
    assert_eq!(append(&*new, late), Err(AppendError::Fenced { partition: 1, epoch: 3 }));
}

#[test]
fn racing_claims_get_one_epoch_each() {
    let Some(nats) = start_or_skip(SINGLE, "racing claims on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "race", 1, 1);
    let logs: Vec<_> = (0..4).map(|_| open(&options)).collect();
    let mut epochs: Vec<u64> = thread::scope(|scope| {
        let claims: Vec<_> = logs
            .iter()
            .map(|log| scope.spawn(|| (0..10).map(|_| log.claim(0, "http://same").unwrap().epoch).collect::<Vec<_>>()))
            .collect();
        claims.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=40).collect::<Vec<_>>());
}

/// Writes to every partition until told to stop, claiming again whenever an append fails; what was acknowledged.
fn write_through(log: &Arc<JetStreamLog>, during: impl FnOnce(&AtomicU32)) -> Vec<(u16, u64, Vec<u8>)> {
    let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..log.meta().partitions)
            .map(|partition| {
                let (stop, count) = (&stop, &count);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    let mut owner: Option<Owner> = None;
                    let mut batches = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let Some(o) = owner.as_mut() else {
                            owner = log.claim(partition, "http://test").ok().map(|head| Owner::at(partition, head));
                            continue;
                        };
                        let mut batch = o.batch(2);
                        batches += 1;
                        batch.batch_id[..8].copy_from_slice(&batches.to_le_bytes());
                        match append(&**log, batch.clone()) {
                            Ok(appended) => {
                                o.appended(&batch, &appended);
                                let records = batch.records.iter().zip(batch.first_offset..);
                                acknowledged.extend(records.map(|(r, offset)| (partition, offset, r.bytes.clone())));
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(AppendError::Conflict { .. }) => panic!("the only writer never conflicts"),
                            Err(_) => owner = None,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        during(&count);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    })
}

fn wait_for(count: &AtomicU32, at_least: u32) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while count.load(Ordering::Relaxed) < at_least {
        assert!(
            Instant::now() < deadline,
            "no progress: {} of {at_least} appends",
            count.load(Ordering::Relaxed)
        );
        thread::sleep(Duration::from_millis(2)); // poll
    }
}

/// A whole partition, as soon as its stream has a leader again: a server that came back may just have made them choose another.
fn whole(log: &dyn Log, partition: u16) -> Vec<FrameRead> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match read_all(log, partition, 1 << 20) {
            Err(ReadError::Io(_)) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)), // poll
            read => return read.unwrap(),
        }
    }
}

/// Every acknowledged record is at its offset, and the chain has no hole.
fn all_there(log: &dyn Log, acknowledged: &[(u16, u64, Vec<u8>)]) {
    for partition in 0..log.meta().partitions {
        let frames = whole(log, partition);
        assert!(frames.windows(2).all(|w| w[1].previous == w[0].hash));
        let records: Vec<&[u8]> = frames.iter().flat_map(|f| f.records.iter().map(|(_, r)| r.as_slice())).collect();
        for (_, offset, bytes) in acknowledged.iter().filter(|(p, ..)| *p == partition) {
            assert_eq!(
                records.get(*offset as usize),
                Some(&bytes.as_slice()),
                "record {offset} of partition {partition}"
            );
        }
    }
}

#[test]
fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let Some(mut nats) = start_or_skip(SINGLE_ALWAYS, "kill -9 of a nats-server") else {
        return;
    };
    let mut options = options(&nats.url(), "kill", 4, 1);
    options.outcome = Duration::from_secs(3);
    let log = open(&options);
    assert_eq!(log.meta().durability, Durability::Fsync);
    let acknowledged = write_through(&log, |count| {
        for round in 1..=4 {
            wait_for(count, count.load(Ordering::Relaxed) + 40 * round);
            nats.kill(0);
            nats.restart(0);
        }
        wait_for(count, count.load(Ordering::Relaxed) + 40);
    });
    assert!(acknowledged.len() > 400);
    all_there(&*log, &acknowledged);
    drop(log);
    all_there(&*open(&options), &acknowledged);
}

#[test]
fn losing_servers_in_turn_loses_nothing_acknowledged() {
    let Some(mut nats) = start_or_skip(CLUSTER, "failover of a nats cluster") else {
        return;
    };
    let mut options = options(&nats.url(), "failover", 4, 3);
    options.request = Duration::from_millis(500);
    let log = open(&options);
    let acknowledged = write_through(&log, |count| {
        for n in 0..3 {
            wait_for(count, count.load(Ordering::Relaxed) + 60);
            nats.kill(n);
            wait_for(count, count.load(Ordering::Relaxed) + 60);
            nats.restart(n);
        }
        wait_for(count, count.load(Ordering::Relaxed) + 60);
    });
    all_there(&*log, &acknowledged);
    drop(log);
    all_there(&*open(&options), &acknowledged);
}

#[test]
fn dropping_a_log_settles_what_was_submitted() {
    let Some(nats) = start_or_skip(SINGLE, "closing logs on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "drops", 1, 1);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    let (send, receive) = mpsc::channel();
    let within = log.clone();
    log.append(
        owner.batch(1),
        Box::new(move |result| {
            // The last owner may be a callback of the log itself.
            drop(within);
            send.send(result).unwrap();
        }),
    );
    drop(log);
    receive.recv().unwrap().unwrap();
    assert_eq!(open(&options).head(0).unwrap().next_offset, 1);
}
