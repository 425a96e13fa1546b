//! What a partition's files say, looked at without the node, and never changed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use murder_locations::master::{Master, MasterOptions};
use murder_locations::request::{Identity, Name, Request, Response, Role, UnitRef};
use murder_model::{RootName, UnitId};
use murder_store::engine::{OpenError, Partition, PartitionOptions, RealDisk, dump};
use murder_store::mail::{recompute_digest, unit_head, units};

const INDEX: &str = "index.redb";

/// The server's part in each unit, by root.
pub(crate) type States = BTreeMap<String, String>;

/// Replays the log of a copy of a partition twice over the same index, then builds the index anew from
/// it: the rows must be the same each time, and each unit's digest must be that of its rows. Returns the
/// states of the units.
pub(crate) fn check_replay(partition: &Path) -> States {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(partition).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let (once, states) = replay(copy.path());
    if partition.join(INDEX).exists() {
        fs::copy(partition.join(INDEX), copy.path().join(INDEX)).unwrap();
        assert_same(&once, &replay(copy.path()).0, "replayed twice");
    }
    let rebuild = || Partition::rebuild(disk(), PartitionOptions::new(copy.path()));
    let (partition, report) = unlocked(rebuild);
    assert_eq!(report.damage, []);
    partition.close().unwrap();
    assert_same(&once, &rows(copy.path()), "rebuilt");
    states
}

/// Where a node keeps its mail.
pub(crate) fn partition(data: &Path) -> PathBuf {
    data.join("partitions/default")
}

/// The server that has a root, as a copy of a master's database says.
pub(crate) fn owner_on_record(database: &Path, root: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("locations.redb");
    fs::copy(database, &copy).unwrap();
    let mut master = Master::open(&copy, MasterOptions::default()).unwrap();
    let who = Identity {
        name: "test".to_owned(),
        role: Role::Operator,
    };
    let root = Name::from(&RootName::parse(root).unwrap());
    let question = Request::FindUnit(UnitRef::Root(root));
    match master.apply(&who, question).unwrap() {
        Response::Unit(Some(record)) => record.server.to_string(),
        other => panic!("{other:?}"),
    }
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

/// Tries again while the partition is locked: another test that starts a process shares our lock with it
/// for a moment.
fn unlocked<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> T {
    let begun = Instant::now();
    loop {
        match open() {
            Err(OpenError::Locked { .. }) if begun.elapsed() < Duration::from_secs(20) => {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

fn replay(directory: &Path) -> (Vec<String>, States) {
    let open = || Partition::open(disk(), PartitionOptions::new(directory));
    let (partition, report) = unlocked(open);
    assert_eq!(report.damage, []);
    let snapshot = partition.snapshots().read().unwrap();
    let mut states = States::new();
    let mut found: Vec<UnitId> = Vec::new();
    let listed = units(&snapshot, &mut |row| {
        found.push(row.ownership.unit);
        let state = format!("{:?}", row.ownership.state);
        let word = state.split(' ').next().unwrap_or_default().to_owned();
        states.insert(row.ownership.root.as_str().to_owned(), word);
        ControlFlow::Continue(())
    });
    listed.unwrap();
    for unit in found {
        let recomputed = recompute_digest(&snapshot, &unit).unwrap();
        assert_eq!(recomputed, unit_head(&snapshot, &unit).unwrap().digest);
    }
    drop(snapshot);
    drop(partition);
    (rows(directory), states)
}

/// All rows of the index. Left out is where contents lie: the last batch, if nothing proves that it was
/// synced, is written anew at each start.
fn rows(directory: &Path) -> Vec<String> {
    let text = unlocked(|| {
        let mut text = Vec::new();
        dump(disk(), PartitionOptions::new(directory), &mut text).map(|()| text)
    });
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
