//! What a loss of power leaves.

use super::{DIR, check, is_sidecar, on, open, options, sample};
use quipu_events::{
    contract::{self, Owner, append},
    disk::SimDisk,
    embedded::SegmentEngine,
};
use std::{path::Path, sync::Arc};

/// Every point of a short life at which power can fail, on several seeds: what was acknowledged is there, whole and
/// in order; the log verifies; and it takes appends again.
#[test]
fn power_loss_at_any_change_loses_nothing_acknowledged() {
    let life = |disk: &SimDisk| -> Vec<u64> {
        let mut acknowledged = vec![0; 3];
        let Ok(mut engine) = SegmentEngine::open(Arc::new(disk.clone()), Path::new(DIR), &options(3)) else {
            return acknowledged;
        };
        let mut owners = Vec::new();
        for p in 0..3 {
            let Ok(head) = engine.claim(p, "http://test") else {
                return acknowledged;
            };
            owners.push(Owner::at(p, head));
        }
        for round in 0..6 {
            let batches: Vec<_> = owners.iter_mut().map(|o| o.batch(1 + round % 3)).collect();
            for ((owner, batch), result) in owners.iter_mut().zip(&batches).zip(engine.append_all(batches.clone())) {
                let Ok(appended) = result else { return acknowledged };
                owner.appended(batch, &appended);
                acknowledged[usize::from(owner.partition)] = owner.head.next_offset;
            }
            if round % 2 == 0 {
                engine.mark();
            }
            if round == 3 && engine.write_heads().is_err() {
                return acknowledged;
            }
        }
        acknowledged
    };
    let counting = SimDisk::new(0);
    life(&counting);
    let changes = counting.counts().changes;
    let mut counts = (0, 0, 0);
    for seed in 0..5 {
        for point in 0..=changes {
            let disk = SimDisk::new(seed * 1000 + point);
            disk.inject(|f| f.power_loss_after = Some(point));
            let acknowledged = life(&disk);
            disk.crash();
            let log = open(&disk, 3);
            for p in 0..3 {
                let head = log.head(p).unwrap_or_else(|e| panic!("seed {seed} point {point}: {e}"));
                assert!(
                    head.next_offset >= acknowledged[usize::from(p)],
                    "seed {seed} point {point} partition {p} lost records"
                );
                let frames = contract::read_all(&*log, p, 1 << 20).unwrap();
                assert_eq!(
                    frames.last().map_or(0, |f| f.first_offset + f.records.len() as u64),
                    head.next_offset
                );
                let again = log.claim(p, "http://again").unwrap();
                let mut other = Owner::at(p, again);
                let mut batch = other.batch(1);
                batch.records = vec![contract::record(
                    &format!("acme/test/after_{p}"),
                    1,
                    quipu_schemas::digest::Digest::ZERO,
                    10,
                )];
                append(&*log, batch).unwrap();
            }
            drop(log);
            let report = check(&disk);
            assert_eq!((report.problems, report.torn), (vec![], vec![]), "seed {seed} point {point}");
            let c = disk.counts();
            counts = (counts.0 + c.sectors_lost, counts.1 + c.sectors_kept, counts.2 + c.names_lost);
        }
    }
    assert!(
        counts.0 > 100 && counts.1 > 100 && counts.2 > 10,
        "the faults that this is about happened: {counts:?}"
    );
}

#[test]
fn sidecars_are_derived() {
    let disk = sample(12);
    let files = disk.files();
    let log = open(&disk, 2);
    let before: Vec<_> = (0..2)
        .map(|p| {
            contract::read_all(&*log, p, 1 << 20)
                .unwrap()
                .into_iter()
                .map(|f| (f.hash, f.records))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(files.keys().any(|p| is_sidecar(p)));
    let gone = on(&files
        .iter()
        .filter(|(p, _)| !is_sidecar(p))
        .map(|(p, b)| (p.clone(), b.clone()))
        .collect());
    let wrong = on(&files
        .iter()
        .map(|(p, b)| {
            (
                p.clone(),
                if is_sidecar(p) {
                    b.iter().map(|b| b ^ 1).collect()
                } else {
                    b.clone()
                },
            )
        })
        .collect());
    for disk in [gone, wrong] {
        let log = open(&disk, 2);
        for p in 0..2 {
            let again: Vec<_> = contract::read_all(&*log, p, 1 << 20)
                .unwrap()
                .into_iter()
                .map(|f| (f.hash, f.records))
                .collect();
            assert!(again == before[usize::from(p)]);
        }
    }
}
