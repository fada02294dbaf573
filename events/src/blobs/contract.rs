//! The contract of [`super`], one function a promise, run on every store.
//!
//! A store proves itself by implementing [`Subject`] and calling [`keeps_every_promise`].

use super::{BlobError, Blobs, Listed, each};
use quipu_schemas::{digest::Digest, ids::OrgId, limits::BLOB_MAX_BYTES};
use std::{collections::BTreeSet, sync::Arc};

/// A store under test.
pub trait Subject {
    /// The store.
    fn blobs(&self) -> Arc<dyn Blobs>;
    /// Closes and opens it again; `false` if it does not outlive its value.
    fn reopen(&mut self) -> bool;
    /// Changes the stored bytes of a blob; `false` if the store cannot be damaged.
    fn damage(&mut self, org: &OrgId, name: &Digest) -> bool;
    /// Bytes that it takes on disk; `None` where that is not known.
    fn bytes_on_disk(&self) -> Option<u64>;
    /// Makes the store silent; `false` if it cannot be.
    fn silence(&mut self) -> bool;
}

/// An org of the contract.
pub fn org(name: &str) -> OrgId {
    OrgId::parse(name).expect("an org")
}

/// Bytes that compress badly and differ by seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut block = Digest::of(&[&seed.to_le_bytes()]);
    while out.len() < len {
        out.extend_from_slice(&block.0);
        block = Digest::of(&[&block.0]);
    }
    out.truncate(len);
    out
}

/// Sizes on both sides of whatever a store does with small and large blobs.
const SIZES: [usize; 5] = [0, 1, 5_000, 70_000, 3_000_000];

/// Every promise, in one store.
pub fn keeps_every_promise(subject: &mut dyn Subject) {
    stored_blobs_are_named_by_their_bytes_and_last(subject);
    the_same_bytes_are_one_blob(subject);
    orgs_are_apart(subject);
    damage_is_told_and_mended(subject);
    deleted_blobs_are_missing(subject);
    every_blob_is_listed_once(subject);
    too_large_a_blob_stores_nothing(subject);
    many_may_store_at_once(subject);
    a_silent_store_is_not_an_empty_one(subject);
}

fn one(blobs: &dyn Blobs, org: &OrgId, bytes: &[u8]) -> Digest {
    blobs.put(org, &[bytes.to_vec()]).expect("a put")[0]
}

fn all(blobs: &dyn Blobs) -> Vec<Listed> {
    let mut found = Vec::new();
    each(blobs, |listed| {
        found.push(listed);
        Ok(())
    })
    .expect("a list");
    found
}

/// Promises 1, 2 and 3.
pub fn stored_blobs_are_named_by_their_bytes_and_last(subject: &mut dyn Subject) {
    let acme = org("acme");
    let group: Vec<Vec<u8>> = SIZES.iter().map(|size| bytes(1, *size)).collect();
    let names = subject.blobs().put(&acme, &group).expect("a group");
    let expected: Vec<Digest> = group.iter().map(|bytes| Digest::of(&[bytes])).collect();
    assert_eq!(names, expected, "names, in order");
    for again in [false, true] {
        if again && !subject.reopen() {
            break;
        }
        for (name, bytes) in names.iter().zip(&group) {
            assert_eq!(&subject.blobs().get(&acme, name).expect("a stored blob"), bytes);
        }
    }
    assert_eq!(subject.blobs().put(&acme, &[]).expect("nothing to store"), vec![]);
}

/// Promise 2.
pub fn the_same_bytes_are_one_blob(subject: &mut dyn Subject) {
    let (blobs, acme) = (subject.blobs(), org("acme"));
    for size in SIZES {
        let stored = bytes(2, size);
        let name = one(&*blobs, &acme, &stored);
        let of_name = |all: Vec<Listed>| all.into_iter().filter(|l| l.name == name).collect::<Vec<_>>();
        let before = of_name(all(&*blobs));
        assert_eq!(one(&*blobs, &acme, &stored), name);
        let after = of_name(all(&*blobs));
        assert_eq!((before.len(), after.len()), (1, 1), "{size} bytes");
        assert!(after[0].stored_at >= before[0].stored_at);
        assert_eq!(after[0].bytes, size as u64);
    }
}

/// Promise 5.
pub fn orgs_are_apart(subject: &mut dyn Subject) {
    let blobs = subject.blobs();
    let (acme, other, longer) = (org("acme"), org("acm"), org("acme-2"));
    let stored = bytes(3, 9_000);
    let name = one(&*blobs, &acme, &stored);
    for stranger in [&other, &longer] {
        assert_eq!(blobs.get(stranger, &name), Err(BlobError::Missing(name)));
        blobs.delete(stranger, &[name]).expect("nothing to delete");
    }
    assert_eq!(one(&*blobs, &other, &stored), name, "the same bytes have the same name everywhere");
    blobs.delete(&acme, &[name]).expect("a delete");
    assert_eq!(blobs.get(&acme, &name), Err(BlobError::Missing(name)));
    assert_eq!(blobs.get(&other, &name), Ok(stored));
}

/// Promises 2, 3 and 4.
pub fn damage_is_told_and_mended(subject: &mut dyn Subject) {
    let acme = org("acme");
    for size in SIZES {
        let stored = bytes(4, size);
        let name = one(&*subject.blobs(), &acme, &stored);
        if !subject.damage(&acme, &name) {
            return;
        }
        assert_eq!(subject.blobs().get(&acme, &name), Err(BlobError::Damaged(name)), "{size} bytes");
        assert_eq!(one(&*subject.blobs(), &acme, &stored), name);
        assert_eq!(subject.blobs().get(&acme, &name), Ok(stored), "mended");
    }
}

/// Promises 4 and 6.
pub fn deleted_blobs_are_missing(subject: &mut dyn Subject) {
    let acme = org("acme");
    let never = Digest([9; 32]);
    assert_eq!(subject.blobs().get(&acme, &never), Err(BlobError::Missing(never)));
    let small: Vec<Vec<u8>> = (0..40).map(|n| bytes(100 + n, 40_000)).collect();
    let large: Vec<Vec<u8>> = (0..4).map(|n| bytes(200 + n, 1_000_000)).collect();
    let names: Vec<Digest> = [small, large]
        .iter()
        .flat_map(|group| subject.blobs().put(&acme, group).expect("a group"))
        .collect();
    let before = subject.bytes_on_disk();
    subject.blobs().delete(&acme, &names).expect("a delete");
    subject.blobs().delete(&acme, &names).expect("a delete of what is gone");
    for again in [false, true] {
        if again && !subject.reopen() {
            break;
        }
        for name in &names {
            assert_eq!(subject.blobs().get(&acme, name), Err(BlobError::Missing(*name)));
        }
    }
    if let (Some(before), Some(after)) = (before, subject.bytes_on_disk()) {
        assert!(after + 4_000_000 < before, "{before} bytes before, {after} after");
    }
}

/// Promise 7.
pub fn every_blob_is_listed_once(subject: &mut dyn Subject) {
    let blobs = subject.blobs();
    let mut expected = BTreeSet::new();
    for (n, name) in ["acme", "acme-2", "b"].iter().enumerate() {
        let group: Vec<Vec<u8>> = (0..30).map(|i| bytes(300 + n as u64 * 100 + i, 100 + i as usize)).collect();
        let names = blobs.put(&org(name), &group).expect("a group");
        expected.extend(names.into_iter().map(|digest| (org(name), digest)));
    }
    let listed = all(&*blobs);
    let found: BTreeSet<(OrgId, Digest)> = listed.iter().map(|l| (l.org.clone(), l.name)).collect();
    assert_eq!(found.len(), listed.len(), "each once");
    assert!(expected.is_subset(&found));
    assert!(listed.iter().all(|l| l.stored_at > 0));
}

/// Promise 8.
pub fn too_large_a_blob_stores_nothing(subject: &mut dyn Subject) {
    let (blobs, acme) = (subject.blobs(), org("acme"));
    let (beside, huge) = (bytes(5, 100), vec![0; BLOB_MAX_BYTES + 1]);
    let refused = blobs.put(&acme, &[beside.clone(), huge]);
    let expected = BlobError::TooLarge {
        size: BLOB_MAX_BYTES + 1,
        limit: BLOB_MAX_BYTES,
    };
    assert_eq!(refused, Err(expected));
    let name = Digest::of(&[&beside]);
    assert_eq!(blobs.get(&acme, &name), Err(BlobError::Missing(name)));
}

/// Promise 9.
pub fn many_may_store_at_once(subject: &mut dyn Subject) {
    let (blobs, acme) = (subject.blobs(), org("acme"));
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (blobs, acme) = (&blobs, &acme);
            scope.spawn(move || {
                for n in 0..6u64 {
                    // Half of them are stored by two threads.
                    let stored = bytes(500 + n * 8 + thread / 2 * 2, 3_000 + 20_000 * (n as usize % 4));
                    let name = one(&**blobs, acme, &stored);
                    assert_eq!(blobs.get(acme, &name), Ok(stored));
                }
            });
        }
    });
}

/// Promise 4.
pub fn a_silent_store_is_not_an_empty_one(subject: &mut dyn Subject) {
    let acme = org("acme");
    let name = one(&*subject.blobs(), &acme, &bytes(6, 9_000));
    if !subject.silence() {
        return;
    }
    let blobs = subject.blobs();
    let silent = |result: Result<(), BlobError>| assert!(matches!(result, Err(BlobError::Unreachable { .. })), "{result:?}");
    silent(blobs.get(&acme, &name).map(drop));
    silent(blobs.put(&acme, &[bytes(7, 9_000)]).map(drop));
    silent(blobs.list(None).map(drop));
}
