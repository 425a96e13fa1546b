//! Single stories of the engine: damage, failed syncs, a full volume, dead segments, locks.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use murder_store::engine::{
    self, Batch, CheckReport, Disk, MemoryDisk, OpenError, Partition, PartitionOptions, PowerLoss,
    RealDisk, RecoveryReport, Space,
};
use murder_store::rows::{BlobPlace, BlobSource, Rows, RowsMut, StoreError, Table};

fn options() -> PartitionOptions {
    PartitionOptions {
        identity: Some(*b"identity for all"),
        drop_after_checkpoints: 0,
        ..PartitionOptions::new("p")
    }
}

fn open(disk: &MemoryDisk) -> (Partition, RecoveryReport) {
    Partition::open(Arc::new(disk.clone()), options()).unwrap()
}

fn put(batch: &mut Batch<'_>, key: &[u8], value: &[u8]) {
    batch.run(|tx| tx.put(Table::Names, key, value)).unwrap();
}

fn put_blob(batch: &mut Batch<'_>, key: &[u8], content: &[u8]) -> BlobPlace {
    let result: Result<BlobPlace, StoreError> = batch.run(|tx| {
        let place = tx.put_blob(BlobSource::Bytes(content))?;
        tx.put(Table::Blobs, key, &place.encode())?;
        Ok(place)
    });
    result.unwrap()
}

fn commit_row(partition: &mut Partition, key: &[u8], value: &[u8]) {
    let mut batch = partition.batch().unwrap();
    put(&mut batch, key, value);
    batch.commit().unwrap();
}

fn read(partition: &Partition, key: &[u8]) -> Option<Vec<u8>> {
    partition
        .snapshots()
        .read()
        .unwrap()
        .read(Table::Names, key)
        .unwrap()
}

fn check(disk: &MemoryDisk) -> CheckReport {
    engine::check(Arc::new(disk.clone()), options()).unwrap()
}

fn segment(number: u32) -> String {
    format!("p/log-{number:08x}.seg")
}

#[test]
fn a_refused_operation_leaves_nothing_and_the_others_stand() {
    let disk = MemoryDisk::new();
    let (mut partition, report) = open(&disk);
    assert!(report.created);
    let mut batch = partition.batch().unwrap();
    put(&mut batch, b"a", b"1");
    let refused: Result<(), StoreError> = batch.run(|tx| {
        assert_eq!(tx.read(Table::Names, b"a")?, Some(b"1".to_vec()));
        tx.put(Table::Names, b"a", b"2")?;
        tx.delete(Table::Names, b"a")?;
        tx.put(Table::Names, b"b", b"2")?;
        tx.put_blob(BlobSource::Bytes(&[7; 100_000]))?;
        Err(StoreError::Index("refused".into()))
    });
    assert!(refused.is_err());
    put(&mut batch, b"c", b"3");
    let committed = batch.commit().unwrap();
    // Header 64; two records of 7 + 2 + 5 bytes; the given up blob is gone.
    assert_eq!((committed.lsn, committed.bytes), (2, 64 + 28));
    let rows = [
        read(&partition, b"a"),
        read(&partition, b"b"),
        read(&partition, b"c"),
    ];
    assert_eq!(rows, [Some(b"1".to_vec()), None, Some(b"3".to_vec())]);
    let file = disk
        .open(Path::new(&segment(1)), engine::OpenMode::Read)
        .unwrap();
    assert_eq!(file.length().unwrap(), 64 + 64 + 28);
}

#[test]
fn nothing_is_visible_before_its_commit() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    let snapshots = partition.snapshots();
    let before = snapshots.read().unwrap();
    let mut batch = partition.batch().unwrap();
    put(&mut batch, b"a", b"1");
    assert_eq!(
        snapshots.read().unwrap().read(Table::Names, b"a").unwrap(),
        None
    );
    batch.commit().unwrap();
    assert_eq!(
        before.read(Table::Names, b"a").unwrap(),
        None,
        "a snapshot does not move"
    );
    assert!(
        snapshots
            .read()
            .unwrap()
            .read(Table::Names, b"a")
            .unwrap()
            .is_some()
    );
    drop(partition.batch().unwrap());
    let mut dropped = partition.batch().unwrap();
    put(&mut dropped, b"b", b"1");
    drop(dropped);
    commit_row(&mut partition, b"c", b"1");
    assert_eq!(read(&partition, b"b"), None);
}

#[test]
fn one_commit_is_one_sync() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    // The first write marks the index as in use, once.
    commit_row(&mut partition, b"first", b"value");
    partition.checkpoint().unwrap();
    let before = disk.syncs();
    for key in 0..10u8 {
        commit_row(&mut partition, &[key], b"value");
    }
    partition.batch().unwrap().commit().unwrap();
    assert_eq!(disk.syncs() - before, 10);
}

#[test]
fn after_a_clean_close_nothing_is_replayed_or_written() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    partition.close().unwrap();
    let (partition, report) = open(&disk);
    let expected = RecoveryReport {
        last_lsn: 1,
        ..RecoveryReport::default()
    };
    assert_eq!(report, expected);
    assert_eq!(read(&partition, b"a"), Some(b"1".to_vec()));
}

#[test]
fn a_failed_sync_stops_the_partition_and_is_never_replayed() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    let mut batch = partition.batch().unwrap();
    put(&mut batch, b"b", b"2");
    disk.fail_syncs_after(0);
    let failed = batch.commit().unwrap_err();
    assert_eq!(
        failed.to_string(),
        "partition has stopped: write or sync segment 00000001: injected sync failure"
    );
    assert_eq!(partition.batch().err(), Some(failed.clone()));
    assert_eq!(partition.checkpoint(), Err(failed));
    assert_eq!(
        (read(&partition, b"a"), read(&partition, b"b")),
        (Some(b"1".to_vec()), None)
    );
    for loss in [PowerLoss::KeepAll, PowerLoss::LoseUnsynced] {
        let (partition, report) = open(&disk.after(loss));
        assert_eq!(
            (read(&partition, b"a"), read(&partition, b"b")),
            (Some(b"1".to_vec()), None)
        );
        assert_eq!(report.damage, []);
    }
}

#[test]
fn the_last_batch_is_written_again_to_a_fresh_segment() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    let mut batch = partition.batch().unwrap();
    let place = put_blob(&mut batch, b"blob", b"content");
    batch.commit().unwrap();
    assert_eq!(
        place,
        BlobPlace {
            segment: 1,
            offset: 64 + 78 + 64 + 16,
            length: 7
        }
    );
    let disk = disk.after(PowerLoss::KeepAll);
    let (partition, report) = open(&disk);
    assert_eq!((report.rewritten, report.replayed_batches), (Some(2), 2));
    let value = partition
        .snapshots()
        .read()
        .unwrap()
        .read(Table::Blobs, b"blob")
        .unwrap()
        .unwrap();
    let moved = BlobPlace::decode(&value).unwrap();
    assert_eq!(
        moved,
        BlobPlace {
            segment: 2,
            offset: 64 + 64 + 16,
            length: 7
        }
    );
    assert_eq!(
        &partition.snapshots().read_blob(moved, 0..7).unwrap()[..],
        b"content"
    );
    // A power loss right now takes nothing: the copy was synced.
    let (partition, report) = open(&disk.after(PowerLoss::LoseUnsynced));
    assert_eq!(report.damage, []);
    assert_eq!(
        &partition.snapshots().read_blob(moved, 0..7).unwrap()[..],
        b"content"
    );
}

#[test]
fn damage_below_a_later_batch_is_named_and_the_rest_is_served() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    commit_row(&mut partition, b"b", b"2");
    commit_row(&mut partition, b"c", b"3");
    // 64 of the segment's header, 78 of batch 1: a bit of batch 2's row.
    let disk = disk.after(PowerLoss::KeepAll);
    disk.damage(Path::new(&segment(1)), 64 + 78 + 64 + 12, b"!")
        .unwrap();
    let (partition, report) = open(&disk);
    let damage: Vec<_> = report.damage.iter().map(ToString::to_string).collect();
    assert_eq!(
        damage,
        ["segment 00000001, bytes 206 to 220: the records of batch 2 are lost"]
    );
    let rows = [
        read(&partition, b"a"),
        read(&partition, b"b"),
        read(&partition, b"c"),
    ];
    assert_eq!(rows, [Some(b"1".to_vec()), None, Some(b"3".to_vec())]);
    partition.close().unwrap();
    let report = check(&disk);
    assert!(!report.is_sound());
    assert_eq!(report.damage.len(), 1);
    let (_, report) = open(&disk);
    assert_eq!(report.damage.len(), 1, "it is remembered");
}

#[test]
fn a_damaged_header_below_a_later_batch_is_found_beyond() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    for key in [b"a", b"b", b"c", b"d"] {
        commit_row(&mut partition, key, b"1");
    }
    let disk = disk.after(PowerLoss::KeepAll);
    disk.damage(Path::new(&segment(1)), 64 + 78, &[0; 100])
        .unwrap();
    let (partition, report) = open(&disk);
    let damage: Vec<_> = report.damage.iter().map(ToString::to_string).collect();
    assert_eq!(
        damage,
        ["segment 00000001, bytes 142 to 298: batches 2 to 3 are lost"]
    );
    assert_eq!(
        (read(&partition, b"a"), read(&partition, b"d")),
        (Some(b"1".into()), Some(b"1".into()))
    );
}

#[test]
fn a_damaged_blob_is_refused_by_name_and_its_neighbour_served() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    let mut batch = partition.batch().unwrap();
    let first = put_blob(&mut batch, b"1", b"first");
    let second = put_blob(&mut batch, b"2", b"second");
    batch.commit().unwrap();
    commit_row(&mut partition, b"later", b"1");
    let crashed = disk.after(PowerLoss::KeepAll);
    partition.close().unwrap();
    for (disk, known) in [(crashed, true), (disk, false)] {
        disk.damage(Path::new(&segment(1)), first.offset, b"F")
            .unwrap();
        let (partition, report) = open(&disk);
        assert_eq!(
            report.damage.is_empty(),
            !known,
            "below the checkpoint nothing is scanned"
        );
        let refused = partition.snapshots().read_blob(first, 0..5).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "segment 00000001, bytes 144 to 149: damaged: the blob's checksum does not match"
        );
        assert_eq!(
            &partition.snapshots().read_blob(second, 0..6).unwrap()[..],
            b"second"
        );
    }
}

#[test]
fn a_missing_or_ruined_index_is_built_anew() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    partition.close().unwrap();
    let missing = disk.after(PowerLoss::KeepAll);
    missing.unlink(Path::new("p/index.redb")).unwrap();
    let ruined = disk.after(PowerLoss::KeepAll);
    ruined
        .damage(Path::new("p/index.redb"), 0, &[0x55; 200])
        .unwrap();
    for disk in [missing, ruined] {
        let (partition, report) = open(&disk);
        assert!(report.index_rebuilt.is_some());
        assert_eq!(read(&partition, b"a"), Some(b"1".to_vec()));
        partition.close().unwrap();
        assert_eq!(open(&disk).1.index_rebuilt, None);
    }
}

#[test]
fn a_check_tells_where_index_and_log_differ_and_changes_nothing() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    commit_row(&mut partition, b"b", b"1");
    partition.close().unwrap();
    let sound = check(&disk);
    assert!(sound.is_sound());
    assert_eq!(
        (sound.segments, sound.batches, sound.records, sound.rows),
        (1, 2, 2, 2)
    );
    // An index that stayed behind with the right position: take an older log's end away.
    let other = MemoryDisk::new();
    let (mut partition, _) = open(&other);
    commit_row(&mut partition, b"a", b"2");
    commit_row(&mut partition, b"c", b"1");
    partition.close().unwrap();
    let index = Path::new("p/index.redb");
    let foreign = other.open(index, engine::OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(foreign.length().unwrap()).unwrap()];
    foreign.read_exact_at(&mut bytes, 0).unwrap();
    disk.damage(index, 0, &bytes).unwrap();
    let report = check(&disk);
    assert_eq!(
        report.differences,
        [
            "row 61 of table names differs between index and log",
            "row 62 of table names is in the log only",
            "row 63 of table names is in the index only",
        ]
    );
    assert_eq!(check(&disk), report, "a check changes nothing");
    let refused = engine::check(Arc::new(disk.clone()), options());
    assert!(refused.is_ok());
    let (_held, _) = open(&disk);
    assert!(matches!(
        engine::check(Arc::new(disk), options()),
        Err(OpenError::Locked { .. })
    ));
}

#[test]
fn a_dump_shows_log_and_index_as_lines_of_json() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    let mut batch = partition.batch().unwrap();
    put_blob(&mut batch, b"k", b"content");
    put(&mut batch, b"a", b"1");
    batch.run(|tx| tx.delete(Table::Names, b"a")).unwrap();
    batch.commit().unwrap();
    partition.close().unwrap();
    let mut out = Vec::new();
    engine::dump(Arc::new(disk), options(), &mut out).unwrap();
    let place = "0000000100000000000000900000000000000007";
    let expected = [
        r#"{"segment":1,"length":207,"version":1,"identity":"6964656e7469747920666f7220616c6c","firstBatch":1,"firstLsn":1}"#,
        r#"{"batch":1,"segment":1,"offset":64,"bytes":143,"firstLsn":1,"records":3,"blobs":1}"#,
        &format!(r#"{{"lsn":1,"put":"blobs","key":"6b","value":"{place}"}}"#),
        r#"{"lsn":2,"put":"names","key":"61","value":"31"}"#,
        r#"{"lsn":3,"delete":"names","key":"61"}"#,
        r#"{"index":"position","batch":1,"nextLsn":4,"segment":1,"end":207}"#,
        r#"{"index":"segment","segment":1,"rows":1,"blobBytes":7,"tombstones":1}"#,
        &format!(r#"{{"row":"blobs","key":"6b","value":"{place}","segment":1}}"#),
    ];
    let lines: Vec<_> = std::str::from_utf8(&out).unwrap().lines().collect();
    assert_eq!(lines, expected);
}

#[test]
fn an_index_without_its_log_is_refused() {
    let disk = MemoryDisk::new();
    let (partition, _) = open(&disk);
    partition.close().unwrap();
    disk.unlink(Path::new(&segment(1))).unwrap();
    let refused = Partition::open(Arc::new(disk), options()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "p holds an index, but no segment of its log"
    );
}

#[test]
fn a_full_volume_refuses_new_data_and_takes_removals() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    disk.set_space(Some(Space {
        free: (256 << 20) + 100,
        total: 10 << 30,
    }));
    let mut batch = partition.batch().unwrap();
    let refused = batch.run(|tx| tx.put_blob(BlobSource::Bytes(&[1; 200])).map(drop));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "volume is full: 200 bytes needed, 36 free above the reserve"
    );
    put_blob(&mut batch, b"1", b"small");
    batch.run(|tx| tx.delete(Table::Names, b"a")).unwrap();
    batch.commit().unwrap();
    disk.set_space(Some(Space {
        free: 0,
        total: 10 << 30,
    }));
    let mut batch = partition.batch().unwrap();
    assert!(matches!(
        batch.run(|tx| tx.require_space(1)),
        Err(StoreError::Full { .. })
    ));
    batch.run(|tx| tx.delete(Table::Blobs, b"1")).unwrap();
    batch.commit().unwrap();
    partition.checkpoint().unwrap();
}

#[test]
fn dead_segments_go_after_a_checkpoint_and_tombstones_guard_older_ones() {
    let disk = MemoryDisk::new();
    let options = PartitionOptions {
        segment_bytes: 100,
        ..options()
    };
    let (mut partition, _) = Partition::open(Arc::new(disk.clone()), options.clone()).unwrap();
    let segments = |partition: &Partition| -> Vec<u32> {
        let names = disk.list(Path::new("p")).unwrap();
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| u32::from_str_radix(name.strip_prefix("log-")?.get(..8)?, 16).ok())
            .collect();
        numbers.sort_unstable();
        assert!(partition.segment_counts().len() <= numbers.len() + 1);
        numbers
    };
    commit_row(&mut partition, b"a", b"1"); // segment 1
    commit_row(&mut partition, b"b", b"1"); // segment 2
    let mut batch = partition.batch().unwrap(); // segment 3
    batch.run(|tx| tx.delete(Table::Names, b"b")).unwrap();
    batch.commit().unwrap();
    commit_row(&mut partition, b"c", b"1"); // segment 4
    assert_eq!(
        segments(&partition),
        [1, 2, 3, 4],
        "not before a checkpoint"
    );
    partition.checkpoint().unwrap();
    // 2 is dead; 3 holds the removal of b, and 1 is older.
    assert_eq!(segments(&partition), [1, 3, 4]);
    commit_row(&mut partition, b"a", b"2"); // segment 5
    partition.checkpoint().unwrap();
    assert_eq!(segments(&partition), [4, 5]);
    partition.close().unwrap();
    let (partition, report) = Partition::rebuild(Arc::new(disk.clone()), options).unwrap();
    assert_eq!(report.damage, []);
    let rows = [
        read(&partition, b"a"),
        read(&partition, b"b"),
        read(&partition, b"c"),
    ];
    assert_eq!(rows, [Some(b"2".to_vec()), None, Some(b"1".to_vec())]);
}

#[test]
fn content_cannot_pass_for_a_batch() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    commit_row(&mut partition, b"a", b"1");
    let file = disk
        .open(Path::new(&segment(1)), engine::OpenMode::Read)
        .unwrap();
    let mut forged = vec![0; 78];
    file.read_exact_at(&mut forged, 64).unwrap();
    // A batch of another partition, otherwise just what would come next.
    let mut other = options();
    other.identity = Some(*b"another identity");
    let elsewhere = MemoryDisk::new();
    let (mut donor, _) = Partition::open(Arc::new(elsewhere.clone()), other).unwrap();
    for _ in 0..5 {
        commit_row(&mut donor, b"a", b"forged");
    }
    let donated = elsewhere
        .open(Path::new(&segment(1)), engine::OpenMode::Read)
        .unwrap();
    let mut content = vec![0; usize::try_from(donated.length().unwrap()).unwrap()];
    donated.read_exact_at(&mut content, 0).unwrap();
    let mut batch = partition.batch().unwrap();
    put_blob(&mut batch, b"1", &content);
    batch.commit().unwrap();
    commit_row(&mut partition, b"b", b"1");
    let disk = disk.after(PowerLoss::KeepAll);
    disk.damage(Path::new(&segment(1)), 64 + 78, &[0; 64])
        .unwrap();
    let (partition, report) = open(&disk);
    assert_eq!(report.damage.len(), 1);
    assert_eq!(read(&partition, b"a"), Some(b"1".to_vec()));
    assert_eq!(read(&partition, b"b"), Some(b"1".to_vec()));
}

#[test]
fn real_files_hold_what_was_committed_and_refuse_a_second_process() {
    let directory = tempfile::tempdir().unwrap();
    let options = PartitionOptions {
        index_directory: Some(directory.path().join("index/here")),
        ..PartitionOptions::new(directory.path().join("partition/one"))
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let (mut partition, report) = Partition::open(Arc::clone(&disk), options.clone()).unwrap();
    assert!(report.created);
    let mut spool = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..700_000u32)
        .map(|at| u8::try_from(at % 253).unwrap())
        .collect();
    spool.write_all(&content).unwrap();
    let place = commit_spooled(&mut partition, &spool, content.len() as u64);
    let refused = Partition::open(Arc::clone(&disk), options.clone()).unwrap_err();
    match refused {
        OpenError::Locked { holder, .. } => {
            assert_eq!(holder, format!("held by process {}", std::process::id()));
        }
        other => panic!("{other}"),
    }
    drop(partition);
    let (partition, report) = Partition::open(disk, options).unwrap();
    assert_eq!(report.damage, []);
    let read = partition
        .snapshots()
        .read_blob(place, 0..place.length)
        .unwrap();
    assert!(read == content);
    assert_eq!(
        partition.snapshots().read_blob(place, 5..9).unwrap(),
        content[5..9]
    );
    assert_eq!(partition.space().unwrap(), None);
}

fn commit_spooled(partition: &mut Partition, spool: &File, length: u64) -> BlobPlace {
    let mut batch = partition.batch().unwrap();
    put_blob(&mut batch, b"before", b"before");
    let result: Result<BlobPlace, StoreError> = batch.run(|tx| {
        let place = tx.put_blob(BlobSource::File {
            file: spool,
            start: 0,
            length,
        })?;
        tx.put(Table::Blobs, b"spooled", &place.encode())?;
        Ok(place)
    });
    put_blob(&mut batch, b"after", b"after");
    batch.commit().unwrap();
    result.unwrap()
}

#[test]
fn an_index_damaged_anywhere_is_noticed_or_harmless() {
    let disk = MemoryDisk::new();
    let (mut partition, _) = open(&disk);
    for key in 0..200u8 {
        commit_row(&mut partition, &[key], &[key; 50]);
    }
    partition.close().unwrap();
    let index = Path::new("p/index.redb");
    let length = disk
        .open(index, engine::OpenMode::Read)
        .unwrap()
        .length()
        .unwrap();
    let mut rebuilt = 0;
    for step in 0..64 {
        let damaged = disk.after(PowerLoss::KeepAll);
        let offset = length * step / 64;
        damaged.damage(index, offset, &[0xa5; 700]).unwrap();
        let report = engine::check(Arc::new(damaged.clone()), options());
        let opened = Partition::open(Arc::new(damaged), options());
        if let Ok((_, report)) = &opened {
            rebuilt += u32::from(report.index_rebuilt.is_some());
        }
        let silent = report.is_ok_and(|report| report.is_sound());
        let (partition, _) = match opened {
            Ok(opened) => opened,
            Err(error) => panic!("at {offset}: {error}"),
        };
        if silent {
            for key in 0..200u8 {
                assert_eq!(read(&partition, &[key]), Some(vec![key; 50]), "at {offset}");
            }
        }
    }
    assert!(rebuilt > 0);
}
