//! Backups of a log that is being written, and what a restore gives.

use quipu_events::{
    backup::{BackupError, BackupOptions, MANIFEST_FILE, backup, restore},
    contract::{Owner, append, read_all},
    disk::RealDisk,
    embedded::{EmbeddedLog, EmbeddedOptions, OpenError},
    heads,
    keyring::Keyring,
    port::{AppendError, Log},
    verify::{Verdict, verify},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, Ordering},
};

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        partitions: 2,
        log_id: None,
        segment_bytes: 32 * 1024,
    }
}

#[test]
fn backup_under_load_restores_an_equal_log_one_generation_on() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy, new) = (root.path().join("data"), root.path().join("copy"), root.path().join("new"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    fs::create_dir_all(data.join("blobs/ab")).unwrap();
    fs::write(data.join("blobs/ab/abcd"), b"blob").unwrap();
    fs::write(data.join("keys"), b"secret").unwrap();
    let mut owners: Vec<Owner> = (0..2).map(|p| Owner::claim(&log, p)).collect();
    owners.iter_mut().for_each(|o| (0..40).for_each(|_| drop(o.write(&log, 2))));
    let stop = AtomicBool::new(false);
    let include = BackupOptions {
        include: vec!["blobs".into()],
        ..BackupOptions::default()
    };
    let manifest = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                owners[0].write(&log, 3);
            }
        });
        let manifest = backup(&log, &copy, &include, |_| {}).unwrap();
        stop.store(true, Ordering::Relaxed);
        manifest
    });
    assert!(manifest.records >= 160 && !manifest.keys);
    assert!(!copy.join("keys").exists());
    let copied = verify(&RealDisk, &copy, |_, _| {}).unwrap();
    assert_eq!(copied.problems, []);
    assert_eq!((copied.records, copied.generation), (manifest.records, 1));

    let restored = restore(&copy, &new, |_| {}).unwrap();
    assert_eq!(restored.generation, 2);
    assert_eq!(fs::read(new.join("blobs/ab/abcd")).unwrap(), b"blob");
    let report = verify(&RealDisk, &new, |_, _| {}).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(
        (report.digest.clone(), report.records, report.generation),
        (copied.digest, copied.records, 2)
    );

    let again = EmbeddedLog::open(&new, &options()).unwrap();
    assert_eq!((again.meta().generation, again.meta().log_id), (2, log.meta().log_id));
    assert!(
        again.report().stopped.is_empty() && again.report().notes.is_empty(),
        "{:?}",
        again.report()
    );
    // The copy is the beginning of the original, record for record.
    for p in 0..2 {
        let ours: Vec<_> = read_all(&again, p, 1 << 20).unwrap().into_iter().flat_map(|f| f.records).collect();
        let theirs: Vec<_> = read_all(&log, p, 1 << 20).unwrap().into_iter().flat_map(|f| f.records).collect();
        assert!(theirs.starts_with(&ours));
    }
    again.claim(0, "http://again").unwrap();
    drop(again);
    let again = EmbeddedLog::open(&new, &options()).unwrap();
    assert_eq!(again.meta().generation, 2);
    drop(again);
    assert!(verify(&RealDisk, &new, |_, _| {}).unwrap().is_intact());
}

#[test]
fn keys_are_copied_only_when_asked_for_and_damage_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = (root.path().join("data"), root.path().join("copy"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    Owner::claim(&log, 0).write(&log, 1);
    fs::write(data.join("keys"), b"secret").unwrap();
    let manifest = backup(
        &log,
        &copy,
        &BackupOptions {
            include: vec![],
            keys: vec!["keys".into()],
            ..BackupOptions::default()
        },
        |_| {},
    )
    .unwrap();
    assert!(manifest.keys);
    assert_eq!(fs::read(copy.join("keys")).unwrap(), b"secret");
    assert!(matches!(
        backup(&log, &copy, &BackupOptions::default(), |_| {}),
        Err(BackupError::NotEmpty(_))
    ));
    fs::write(copy.join("keys"), b"secreT").unwrap();
    assert!(matches!(restore(&copy, &root.path().join("a"), |_| {}), Err(BackupError::Damaged(name)) if name == "keys"));
    fs::remove_file(copy.join(MANIFEST_FILE)).unwrap();
    assert!(matches!(
        restore(&copy, &root.path().join("b"), |_| {}),
        Err(BackupError::NotABackup { .. })
    ));
}

#[test]
fn restored_log_has_a_new_generation_and_progress_in_bytes() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy, new) = (root.path().join("data"), root.path().join("copy"), root.path().join("new"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    let mut owner = Owner::claim(&log, 0);
    (0..40).for_each(|_| drop(owner.write(&log, 3)));
    let (mut copied, mut restored) = (Vec::new(), Vec::new());
    let manifest = backup(&log, &copy, &BackupOptions::default(), |done| copied.push(done)).unwrap();
    restore(&copy, &new, |done| restored.push(done)).unwrap();
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    assert!(manifest.files.len() > 2);
    // The heads are written, not copied, by a backup.
    let noted = manifest.files.iter().find(|file| file.path == "heads").unwrap().bytes;
    assert_eq!((copied.last(), restored.last()), (Some(&(bytes - noted)), Some(&bytes)));
    assert!(copied.is_sorted() && restored.is_sorted());
    let heads = heads::read(&RealDisk, &new).unwrap().unwrap();
    assert!(heads.entries.iter().all(|entry| entry.generation == 2), "{heads:?}");
    assert_eq!(heads.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [120, 0]);
    // Nothing is written yet behind the header of the segment that it begins with.
    let last = fs::read_dir(new.join("log"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "seg"))
        .count();
    assert_eq!(heads.synced, (last as u64, 64));
}

#[test]
fn what_cannot_be_looked_at_is_not_left_out_of_a_backup_unsaid() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = (root.path().join("data"), root.path().join("copy"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    fs::write(data.join("notes"), b"a file").unwrap();
    let include = |path: &str| BackupOptions {
        include: vec![path.into()],
        ..BackupOptions::default()
    };
    assert!(matches!(
        backup(&log, &copy, &include("notes/within"), |_| {}),
        Err(BackupError::Io(_))
    ));
    // What is not there is left out.
    backup(&log, &root.path().join("again"), &include("blobs"), |_| {}).unwrap();
}

#[test]
fn keys_stay_private_in_a_backup_and_open_after_a_restore() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy, new) = (root.path().join("data"), root.path().join("copy"), root.path().join("new"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    Owner::claim(&log, 0).write(&log, 1);
    let digest_key = Keyring::open(&data.join("keys")).unwrap().digest_key();
    let with_keys = BackupOptions {
        keys: vec!["keys".into()],
        ..BackupOptions::default()
    };
    backup(&log, &copy, &with_keys, |_| {}).unwrap();
    restore(&copy, &new, |_| {}).unwrap();
    for dir in [&copy, &new] {
        let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode("keys"), mode("keys/master.key"), mode("")),
            (0o700, 0o600, 0o700),
            "{}",
            dir.display()
        );
    }
    assert_eq!(Keyring::open(&new.join("keys")).unwrap().digest_key(), digest_key);
}

/// A manifest comes from wherever the backup lay: a name in it must not lead out of the directory that is restored into.
#[test]
fn a_manifest_whose_files_leave_the_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = (root.path().join("data"), root.path().join("copy"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    backup(&log, &copy, &BackupOptions::default(), |_| {}).unwrap();
    let manifest = fs::read_to_string(copy.join(MANIFEST_FILE)).unwrap();
    let first = "log/0000000000000001.seg";
    assert!(manifest.contains(first));
    for name in ["../outside", "log/../../outside", "/tmp/outside", "./log"] {
        fs::write(copy.join(MANIFEST_FILE), manifest.replace(first, name)).unwrap();
        fs::write(root.path().join("outside"), "mine").unwrap();
        let new = root.path().join(format!("new-{}", name.len()));
        let Err(BackupError::NotABackup { detail, .. }) = restore(&copy, &new, |_| {}) else {
            panic!("{name} was taken")
        };
        assert_eq!(detail, format!("file name {name} leaves the directory"));
        assert_eq!(fs::read_to_string(root.path().join("outside")).unwrap(), "mine");
    }
}

#[test]
fn a_restore_that_did_not_finish_is_never_opened() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = (root.path().join("data"), root.path().join("copy"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    let mut owner = Owner::claim(&log, 0);
    for _ in 0..40 {
        owner.write(&log, 3);
    }
    backup(&log, &copy, &BackupOptions::default(), |_| {}).unwrap();
    let mut steps = 0;
    restore(&copy, &root.path().join("whole"), |_| steps += 1).unwrap();
    assert!(steps > 2, "several files: {steps}");
    for step in 1..=steps {
        let half = root.path().join(format!("half-{step}"));
        let mut left = step;
        // The end of the process, as far as files can tell.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = restore(&copy, &half, |_| {
                left -= 1;
                assert!(left > 0, "ended");
            });
        }));
        assert!(ended.is_err());
        assert!(
            matches!(EmbeddedLog::open(&half, &options()), Err(OpenError::Unfinished { dir }) if dir == half),
            "step {step}"
        );
        let report = verify(&RealDisk, &half, |_, _| {}).unwrap();
        assert!(report.problems.iter().any(|p| p.file.ends_with("restore.unfinished")), "{report:?}");
        assert!(matches!(restore(&copy, &half, |_| {}), Err(BackupError::NotEmpty(_))));
    }
}

#[test]
fn a_backup_that_did_not_finish_is_told_and_never_opened() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    let mut owner = Owner::claim(&log, 0);
    for _ in 0..40 {
        owner.write(&log, 3);
    }
    fs::create_dir(data.join("blobs")).unwrap();
    fs::write(data.join("blobs/a"), b"a blob").unwrap();
    let include = BackupOptions {
        include: vec!["blobs".into()],
        keys: vec![],
        ..BackupOptions::default()
    };
    let mut steps = 0;
    let whole = root.path().join("whole");
    backup(&log, &whole, &include, |_| steps += 1).unwrap();
    assert!(verify(&RealDisk, &whole, |_, _| {}).unwrap().is_intact());
    assert!(!whole.join("backup.unfinished").exists());
    assert!(steps > 2, "several files: {steps}");
    let check = |half: &std::path::Path| {
        if half.join("log").read_dir().is_ok_and(|mut names| names.next().is_some()) {
            let report = verify(&RealDisk, half, |_, _| {}).unwrap();
            assert_ne!(report.verdict(), Verdict::Intact, "{report:?}");
            assert!(report.incomplete.iter().any(|why| why.contains("backup")), "{report:?}");
        }
        let refused = EmbeddedLog::open(half, &options()).err();
        assert!(matches!(refused, Some(OpenError::UnfinishedBackup { .. })), "{refused:?}");
        assert!(matches!(
            restore(half, &root.path().join("new"), |_| {}),
            Err(BackupError::Unfinished(_))
        ));
    };
    for step in 1..=steps {
        let half = root.path().join(format!("half-{step}"));
        let mut left = step;
        // The end of the process, as far as files can tell.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = backup(&log, &half, &include, |_| {
                left -= 1;
                assert!(left > 0, "ended");
            });
        }));
        assert!(ended.is_err());
        check(&half);
    }
    // Everything is there, and only the marker has not gone yet.
    fs::write(whole.join("backup.unfinished"), b"").unwrap();
    check(&whole);
}

#[test]
fn a_log_without_heads_is_incomplete_rather_than_intact() {
    let root = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(root.path(), &options()).unwrap();
    Owner::claim(&log, 0).write(&log, 1);
    log.write_heads().unwrap();
    let verdict = || verify(&RealDisk, root.path(), |_, _| {}).unwrap().verdict();
    assert_eq!(verdict(), Verdict::Intact);
    fs::remove_file(root.path().join("heads")).unwrap();
    assert_eq!(verdict(), Verdict::Incomplete);
}

#[test]
fn a_log_whose_directory_was_replaced_writes_nothing_more() {
    let root = tempfile::tempdir().unwrap();
    let (data, away) = (root.path().join("data"), root.path().join("away"));
    let log = EmbeddedLog::open(&data, &options()).unwrap();
    let mut owner = Owner::claim(&log, 0);
    owner.write(&log, 1);
    log.write_heads().unwrap();
    // The file alone may go: the directory keeps others out.
    fs::remove_file(data.join("lock")).unwrap();
    assert!(matches!(EmbeddedLog::open(&data, &options()), Err(OpenError::Locked { .. })));
    log.write_heads().unwrap();
    owner.write(&log, 1);
    fs::rename(&data, &away).unwrap();
    let second = EmbeddedLog::open(&data, &options()).unwrap();
    assert!(log.write_heads().is_err());
    let refused = append(&log, owner.batch(1));
    assert!(matches!(refused, Err(AppendError::Poisoned(_))), "{refused:?}");
    assert!(
        log.trouble().is_some_and(|why| why.contains("not this node's any more")),
        "{:?}",
        log.trouble()
    );
    drop((log, second));
    assert_eq!(verify(&RealDisk, &away, |_, _| {}).unwrap().records, 2);
}
