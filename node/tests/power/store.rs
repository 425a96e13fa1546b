//! What a partition's files say, looked at without the node, and never changed.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use murder_model::UnitId;
use murder_store::engine::{Partition, PartitionOptions, RealDisk, dump};
use murder_store::mail::{recompute_digest, unit_head, units};

const INDEX: &str = "index.redb";

/// Replays the log of a copy of a partition twice over the same index, then builds the index anew from
/// it: the rows must be the same each time, and each unit's digest must be that of its rows.
pub(crate) fn check_replay(partition: &Path) {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(partition).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let once = replay(copy.path());
    if partition.join(INDEX).exists() {
        fs::copy(partition.join(INDEX), copy.path().join(INDEX)).unwrap();
        assert_same(&once, &replay(copy.path()), "replayed twice");
    }
    let rebuilt = Partition::rebuild(disk(), PartitionOptions::new(copy.path()));
    let (partition, report) = rebuilt.unwrap();
    assert_eq!(report.damage, []);
    partition.close().unwrap();
    assert_same(&once, &rows(copy.path()), "rebuilt");
}

/// The partition's rows, and whether a check finds it sound.
pub(crate) fn partition(data: &Path) -> PathBuf {
    data.join("partitions/default")
}

fn assert_same(once: &[String], again: &[String], what: &str) {
    let differences = once.iter().zip(again).filter(|(one, other)| one != other);
    let differences: Vec<_> = differences.take(5).collect();
    assert!(differences.is_empty(), "{what}: {differences:#?}");
    assert_eq!(once.len(), again.len(), "{what}");
}

fn disk() -> Arc<RealDisk> {
    Arc::new(RealDisk::new())
}

fn replay(directory: &Path) -> Vec<String> {
    let opened = Partition::open(disk(), PartitionOptions::new(directory));
    let (partition, report) = opened.unwrap();
    assert_eq!(report.damage, []);
    let snapshot = partition.snapshots().read().unwrap();
    let mut found: Vec<UnitId> = Vec::new();
    let listed = units(&snapshot, &mut |row| {
        found.push(row.ownership.unit);
        ControlFlow::Continue(())
    });
    listed.unwrap();
    for unit in found {
        let recomputed = recompute_digest(&snapshot, &unit).unwrap();
        assert_eq!(recomputed, unit_head(&snapshot, &unit).unwrap().digest);
    }
    drop(snapshot);
    drop(partition);
    rows(directory)
}

/// All rows of the index. Left out is where contents lie: the last batch, if nothing proves that it was
/// synced, is written anew at each start.
fn rows(directory: &Path) -> Vec<String> {
    let mut text = Vec::new();
    dump(disk(), PartitionOptions::new(directory), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let rows = text.lines().filter(|line| line.starts_with(r#"{"row":"#));
    rows.map(|line| {
        let row = line.split(",\"segment\":").next().unwrap();
        match row.split_once(",\"value\":\"") {
            // Segment and place are 4 and 8 octets.
            Some((key, value)) if key.contains("\"blobs\"") => format!("{key} {}", &value[24..]),
            _ => row.to_owned(),
        }
    })
    .collect()
}
