//! Several owners, a paused one, killed brokers.

use super::*;

fn fences(address: &str) {
    let options = options(address, "fence", 2);
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
fn a_newer_claim_elsewhere_fences_the_owner_for_good() {
    let Some(kafka) = kafka::start_or_skip(false, "fencing") else {
        return;
    };
    fences(&kafka.address());
    races(&kafka.address());
    drops(&kafka.address());
}

#[test]
fn a_newer_claim_elsewhere_fences_the_owner_on_tansu() {
    let Some(tansu) = tansu::start_or_skip("fencing") else {
        return;
    };
    fences(&tansu.address());
}

fn races(address: &str) {
    let mut options = options(address, "race", 1);
    options.outcome = Duration::from_secs(60);
    let logs: Vec<_> = (0..3).map(|_| open(&options)).collect();
    let mut epochs: Vec<u64> = thread::scope(|scope| {
        let claims: Vec<_> = logs
            .iter()
            .map(|log| scope.spawn(|| (0..4).map(|_| log.claim(0, "http://same").unwrap().epoch).collect::<Vec<_>>()))
            .collect();
        claims.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    epochs.sort_unstable();
    assert!(epochs.windows(2).all(|w| w[0] < w[1]), "one epoch each: {epochs:?}");
    let log = open(&options);
    let mut owner = Owner::at(0, log.claim(0, "http://last").unwrap());
    owner.write(&*log, 1);
    let frames = read_all(&*log, 0, 1 << 20).unwrap();
    assert!(frames.windows(2).all(|w| w[1].previous == w[0].hash && w[1].epoch >= w[0].epoch));
}

/// The old owner's frame is on its way while another claims; then it arrives.
#[test]
fn a_paused_owner_that_wakes_up_stores_nothing() {
    let Some((kafka, _turn)) = shared_proxied("a paused owner") else {
        return;
    };
    for (n, kind) in [PRODUCE, END_TXN].into_iter().enumerate() {
        let prefix = format!("pause{n}");
        let (behind, free) = (options(&kafka.proxied(), &prefix, 1), options(&kafka.address(), &prefix, 1));
        let (old, new) = (open(&behind), open(&free));
        let mut first = Owner::claim(&*old, 0);
        first.write(&*old, 1);
        kafka.proxy.next(Fate::Hold(kind));
        let (send, receive) = mpsc::channel();
        old.append(first.batch(2), Box::new(move |result| send.send(result).unwrap()));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !kafka.proxy.holds() {
            assert!(Instant::now() < deadline, "the append is on its way");
            thread::sleep(Duration::from_millis(2)); // poll
        }
        let mut second = Owner::at(0, new.claim(0, "http://new").unwrap());
        assert_eq!((second.head.epoch, second.head.next_offset), (2, 1));
        second.write(&*new, 3);
        kafka.proxy.mend();
        assert_eq!(
            receive.recv().unwrap(),
            Err(AppendError::Fenced { partition: 0, epoch: 2 }),
            "held at request {kind}"
        );
        let lengths = |log: &dyn Log| {
            let frames = read_all(log, 0, 1 << 20).unwrap();
            frames.iter().map(|f| f.records.len()).collect::<Vec<_>>()
        };
        assert_eq!((lengths(&*old), lengths(&*new)), (vec![0, 1, 0, 3], vec![0, 1, 0, 3]));
        second.write(&*new, 1);
        assert_eq!(open(&free).head(0).unwrap(), second.head);
    }
}

/// Writes to every partition until told to stop, claiming again whenever an append fails; what was acknowledged.
pub(crate) fn write_through(log: &Arc<KafkaLog>, during: impl FnOnce(&AtomicU32)) -> Vec<(u16, u64, Vec<u8>)> {
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

pub(crate) fn wait_for(count: &AtomicU32, at_least: u32) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while count.load(Ordering::Relaxed) < at_least {
        assert!(
            Instant::now() < deadline,
            "no progress: {} of {at_least} appends",
            count.load(Ordering::Relaxed)
        );
        thread::sleep(Duration::from_millis(2)); // poll
    }
}

/// What a partition holds. A broker that has just come back does not know its partitions for some seconds, and a read says so.
fn read_in_the_end(log: &dyn Log, partition: u16) -> Vec<FrameRead> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match read_all(log, partition, 1 << 20) {
            Err(ReadError::Io(detail)) if Instant::now() < deadline => {
                println!("partition {partition} is read again: {detail}");
                thread::sleep(Duration::from_millis(50)); // poll
            }
            read => return read.expect("the partition is read"),
        }
    }
}

/// Every acknowledged record is at its offset, and the chain has no hole.
pub(crate) fn all_there(log: &dyn Log, acknowledged: &[(u16, u64, Vec<u8>)]) {
    for partition in 0..log.meta().partitions {
        let frames = read_in_the_end(log, partition);
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
fn a_killed_broker_loses_nothing_that_it_acknowledged() {
    let Some(mut kafka) = kafka::start_or_skip(true, "kill -9 of a broker") else {
        return;
    };
    let mut options = options(&kafka.address(), "kill", 4);
    options.accept_unsynced = false;
    let log = open(&options);
    assert_eq!(log.meta().durability, Durability::Fsync);
    let acknowledged = write_through(&log, |count| {
        for round in 1..=2 {
            wait_for(count, count.load(Ordering::Relaxed) + 30 * round);
            kafka.kill();
            kafka.restart();
        }
        wait_for(count, count.load(Ordering::Relaxed) + 40);
    });
    assert!(acknowledged.len() > 200);
    all_there(&*log, &acknowledged);
    drop(log);
    all_there(&*open(&options), &acknowledged);
}

fn drops(address: &str) {
    let options = options(address, "drops", 1);
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
