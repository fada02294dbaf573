use super::super::Disk;
use super::*;

fn life(seed: u64) -> (BTreeMap<PathBuf, Vec<u8>>, FaultCounts) {
    let disk = SimDisk::new(seed);
    let file = disk.create(Path::new("/d/a")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_all_at(0, &[1; 2000]).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(2000, &[2; 20_000]).unwrap();
    disk.create(Path::new("/d/b")).unwrap();
    disk.crash();
    (disk.files(), disk.counts())
}

#[test]
fn crash_keeps_synced_bytes_tears_others_and_repeats_by_seed() {
    let (files, counts) = life(1);
    assert_eq!(files[Path::new("/d/a")][..2000], [1; 2000]);
    assert!(counts.sectors_lost > 0 && counts.sectors_kept > 0);
    assert_eq!(life(1), (files.clone(), counts));
    assert_ne!(life(2).0, files);
    assert!((0..20).any(|seed| !life(seed).0.contains_key(Path::new("/d/b"))));
}

#[test]
fn a_sync_after_a_failed_one_does_not_save_its_bytes() {
    let disk = SimDisk::new(3);
    let file = disk.create(Path::new("/d/a")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_all_at(0, &[1; 40_000]).unwrap();
    disk.inject(|f| f.fail_next_sync = true);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    disk.crash();
    assert!(disk.files()[Path::new("/d/a")].iter().filter(|b| **b == 1).count() < 40_000);
}

#[test]
fn a_full_disk_refuses_and_a_dead_one_answers_nothing() {
    let disk = SimDisk::new(3);
    disk.inject(|f| f.capacity_bytes = Some(1000));
    let file = disk.create(Path::new("/d/a")).unwrap();
    assert_eq!(file.reserve(1001).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.reserve(1000).unwrap();
    file.write_all_at(0, &[1; 1000]).unwrap();
    disk.inject(|f| f.power_loss_after = Some(0));
    assert!(file.sync_data().is_err() && file.len().is_err() && disk.open(Path::new("/d/a")).is_err());
    disk.crash();
    assert!(file.len().is_err(), "a handle of an earlier boot");
}
