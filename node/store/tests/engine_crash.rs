//! Whatever was committed survives a power loss at any write, torn or whole; whatever was not is
//! there wholly or not at all; and the log alone gives the index again.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use murder_store::engine::{
    self, Disk, MemoryDisk, OpenMode, Partition, PartitionOptions, PowerLoss, Snapshots,
};
use murder_store::rows::{BlobPlace, BlobSource, Rows, RowsMut, StoreError, Table};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Put { table: u8, key: u8, size: usize },
    Delete { table: u8, key: u8 },
    PutBlob { key: u8, size: usize },
    DeleteBlob { key: u8 },
}

#[derive(Clone, Debug)]
struct Run {
    operations: Vec<Operation>,
    refused: bool,
}

#[derive(Clone, Debug)]
struct Step {
    runs: Vec<Run>,
    checkpoint: bool,
}

/// Rows by table and key; blobs by key, as (content seed, size).
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    blobs: BTreeMap<Vec<u8>, (u8, usize)>,
}

const TABLES: [Table; 3] = [Table::Names, Table::Messages, Table::Meta];

fn operation() -> impl Strategy<Value = Operation> {
    let blob_size =
        prop_oneof![8 => 0usize..300, 1 => 65_000usize..70_000, 1 => 262_144usize..262_200];
    prop_oneof![
        4 => (0u8..3, 0u8..12, 0usize..200).prop_map(|(table, key, size)| Operation::Put { table, key, size }),
        2 => (0u8..3, 0u8..12).prop_map(|(table, key)| Operation::Delete { table, key }),
        3 => (0u8..6, blob_size).prop_map(|(key, size)| Operation::PutBlob { key, size }),
        1 => (0u8..6).prop_map(|key| Operation::DeleteBlob { key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let run = (
        prop::collection::vec(operation(), 0..6),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(operations, refused)| Run {
            operations,
            refused,
        });
    (prop::collection::vec(run, 0..4), prop::bool::weighted(0.3))
        .prop_map(|(runs, checkpoint)| Step { runs, checkpoint })
}

fn options() -> PartitionOptions {
    PartitionOptions {
        segment_bytes: 2000,
        drop_after_checkpoints: 1,
        open_segments_max: 3,
        identity: Some(*b"identity for all"),
        ..PartitionOptions::new("partition")
    }
}

fn open(disk: &MemoryDisk) -> (Partition, engine::RecoveryReport) {
    Partition::open(Arc::new(disk.clone()), options()).unwrap()
}

fn content(seed: u8, size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap()))
        .collect()
}

impl Operation {
    fn run(&self, tx: &mut dyn RowsMut, model: &mut Model, serial: u8) -> Result<(), StoreError> {
        match *self {
            Self::Put { table, key, size } => {
                let value = content(serial, size);
                tx.put(TABLES[usize::from(table)], &[key], &value)?;
                model.rows.insert((table, vec![key]), value);
            }
            Self::Delete { table, key } => {
                tx.delete(TABLES[usize::from(table)], &[key])?;
                model.rows.remove(&(table, vec![key]));
            }
            Self::PutBlob { key, size } => {
                let place = tx.put_blob(BlobSource::Bytes(&content(serial, size)))?;
                let value = [&place.encode()[..], b"more"].concat();
                tx.put(Table::Blobs, &[key], &value)?;
                // An empty blob shows no seed.
                let seed = if size == 0 { 0 } else { serial };
                model.blobs.insert(vec![key], (seed, size));
            }
            Self::DeleteBlob { key } => {
                tx.delete(Table::Blobs, &[key])?;
                model.blobs.remove(&vec![key]);
            }
        }
        Ok(())
    }
}

/// Runs the steps; returns the model after each commit with the disk changes made until then.
fn work(disk: &MemoryDisk, steps: &[Step]) -> Vec<(u64, Model)> {
    let (mut partition, _) = open(disk);
    let mut model = Model::default();
    let mut states = vec![(disk.changes(), model.clone())];
    let mut serial = 0u8;
    for step in steps {
        let mut batch = partition.batch().unwrap();
        for run in &step.runs {
            let before = model.clone();
            let result = batch.run(|tx| {
                for operation in &run.operations {
                    serial = serial.wrapping_add(1);
                    operation.run(tx, &mut model, serial)?;
                }
                if run.refused {
                    Err(StoreError::Index("refused".into()))
                } else {
                    Ok(())
                }
            });
            assert_eq!(result.is_err(), run.refused);
            if run.refused {
                model = before;
            }
        }
        batch.commit().unwrap();
        states.push((disk.changes(), model.clone()));
        assert_eq!(read(&partition.snapshots()), model);
        if step.checkpoint {
            partition.checkpoint().unwrap();
        }
    }
    states
}

/// All rows and blobs as a model.
fn read(snapshots: &Snapshots) -> Model {
    let snapshot = snapshots.read().unwrap();
    let mut model = Model::default();
    for (number, table) in (0u8..).zip(TABLES) {
        let mut visit = |key: &[u8], value: &[u8]| {
            model.rows.insert((number, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        };
        snapshot.scan(table, b"", &[0xff; 4], &mut visit).unwrap();
    }
    let mut places = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        assert_eq!(&value[BlobPlace::ENCODED..], b"more");
        let place = BlobPlace::decode(&value[..BlobPlace::ENCODED]).unwrap();
        places.push((key.to_vec(), place));
        ControlFlow::Continue(())
    };
    snapshot
        .scan(Table::Blobs, b"", &[0xff; 4], &mut visit)
        .unwrap();
    for (key, place) in places {
        let bytes = snapshots.read_blob(place, 0..place.length).unwrap();
        let seed = bytes.first().copied();
        let size = bytes.len();
        assert!(
            bytes == content(seed.unwrap_or(0), size),
            "content of blob {key:?}"
        );
        if size > 2 {
            assert_eq!(snapshots.read_blob(place, 1..2).unwrap(), bytes[1..2]);
        }
        snapshots.blob(place).unwrap().verify().unwrap();
        model.blobs.insert(key, (seed.unwrap_or(0), size));
    }
    model
}

/// Opens what a power loss left, and holds it against the two states there may be.
fn check(disk: &MemoryDisk, states: &[(u64, Model)], crash: u64) {
    if let Some(report) = check_files(disk) {
        assert!(report.is_sound(), "before the start: {report:?}");
    }
    let (partition, report) = open(disk);
    assert_eq!(report.damage, [], "a power loss is no damage: {report:?}");
    let found = read(&partition.snapshots());
    let done = states.iter().rposition(|(changes, _)| *changes <= crash);
    let may_be = match done {
        Some(done) => states[done..].iter().take(2).collect::<Vec<_>>(),
        None => vec![&states[0]],
    };
    assert!(
        may_be.iter().any(|(_, state)| *state == found),
        "after {crash} changes, {report:?}: found {found:?}, may be {may_be:?}"
    );
    let counts = partition.segment_counts().clone();
    let lost = disk.after(PowerLoss::LoseUnsynced);
    drop(partition);
    let (served, report) = open(&lost);
    assert_eq!(
        read(&served.snapshots()),
        found,
        "what is served is durable: {report:?}"
    );
    drop(served);
    let (again, report) = open(disk);
    assert_eq!(
        (report.replayed_batches, report.rewritten, report.cuts),
        (0, None, vec![])
    );
    assert_eq!(
        read(&again.snapshots()),
        found,
        "replay twice is replay once"
    );
    assert_eq!(again.segment_counts(), &counts);
    drop(again);
    let report = check_files(disk).unwrap();
    assert!(report.is_sound(), "after the start: {report:?}");
    assert_eq!(report.unapplied_batches, 0);
    assert_eq!(report.blobs, found.blobs.len() as u64);
    rebuild_is_index(disk, &found, &counts);
}

/// What a check says; `None` if there is no log or no index yet.
fn check_files(disk: &MemoryDisk) -> Option<engine::CheckReport> {
    let changes = disk.changes();
    let index = Path::new("partition/index.redb");
    disk.open(index, OpenMode::Read).ok()?;
    let report = engine::check(Arc::new(disk.clone()), options()).unwrap();
    assert!(disk.changes() > changes, "the scratch index is written");
    Some(report)
}

fn rebuild_is_index(disk: &MemoryDisk, found: &Model, counts: &engine::SegmentCountsByNumber) {
    let disk = disk.after(PowerLoss::KeepAll);
    let (rebuilt, report) = Partition::rebuild(Arc::new(disk), options()).unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(
        &read(&rebuilt.snapshots()),
        found,
        "rebuild equals the index"
    );
    let some = |counts: &engine::SegmentCountsByNumber| {
        let mut counts = counts.clone();
        counts.retain(|_, counts| *counts != Default::default());
        counts
    };
    assert_eq!(some(rebuilt.segment_counts()), some(counts));
}

fn loss() -> impl Strategy<Value = PowerLoss> {
    prop_oneof![
        Just(PowerLoss::LoseUnsynced),
        Just(PowerLoss::KeepAll),
        any::<u64>().prop_map(PowerLoss::Torn),
        any::<u64>().prop_map(PowerLoss::Torn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("ENGINE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn committed_batches_survive_a_power_loss_anywhere(
        steps in prop::collection::vec(step(), 1..12),
        crash in 0.0..1.0f64,
        second_crash in 0.0..1.0f64,
        first_loss in loss(),
        second_loss in loss(),
    ) {
        let whole = MemoryDisk::new();
        let states = work(&whole, &steps);
        let crash = (whole.changes() as f64 * crash) as u64;
        let disk = MemoryDisk::new();
        disk.capture_after(crash);
        work(&disk, &steps);
        let disk = disk.captured().unwrap_or_else(|| disk.clone()).after(first_loss);

        // Once more while recovering.
        let rehearsal = disk.after(PowerLoss::KeepAll);
        drop(open(&rehearsal));
        let again = disk.after(PowerLoss::KeepAll);
        again.capture_after((rehearsal.changes() as f64 * second_crash) as u64);
        drop(open(&again));
        let again = again.captured().unwrap_or_else(|| again.clone()).after(second_loss);
        check(&again, &states, crash);
        check(&disk, &states, crash);
    }
}

fn one(operations: Vec<Operation>, checkpoint: bool) -> Step {
    let run = Run {
        operations,
        refused: false,
    };
    Step {
        runs: vec![run],
        checkpoint,
    }
}

fn put(key: u8, size: usize) -> Operation {
    Operation::Put {
        table: 0,
        key,
        size,
    }
}

/// A blob and rows, each batch in doubt until the next, over several segments.
fn story() -> Vec<Step> {
    let blob = |key, size| Operation::PutBlob { key, size };
    vec![
        one(vec![put(1, 10), blob(1, 1500)], true),
        one(vec![put(1, 20), Operation::DeleteBlob { key: 1 }], false),
        one(vec![put(2, 20), blob(2, 2000)], true),
        one(
            vec![Operation::Delete { table: 0, key: 1 }, blob(3, 100)],
            false,
        ),
        one(vec![put(3, 5), blob(4, 100)], false),
    ]
}

#[test]
fn every_moment_of_a_recovery_may_be_its_last() {
    let whole = MemoryDisk::new();
    let states = work(&whole, &story());
    // Before the last batch is written, before its sync, after it, and later.
    let last_commit = states.last().unwrap().0;
    for crash in last_commit - 2..=last_commit + 1 {
        let disk = MemoryDisk::new();
        disk.capture_after(crash);
        work(&disk, &story());
        let disk = disk.captured().unwrap_or_else(|| disk.clone());
        let disk = disk.after(PowerLoss::KeepAll);
        let rehearsal = disk.after(PowerLoss::KeepAll);
        drop(open(&rehearsal));
        for moment in 0..=rehearsal.changes() {
            let again = disk.after(PowerLoss::KeepAll);
            again.capture_after(moment);
            drop(open(&again));
            let again = again.captured().unwrap_or_else(|| again.clone());
            for loss in [
                PowerLoss::KeepAll,
                PowerLoss::LoseUnsynced,
                PowerLoss::Torn(moment),
            ] {
                check(&again.after(loss), &states, crash);
            }
        }
    }
}

/// Segments die, one with a removal that guards an older one, and are dropped.
#[test]
fn every_moment_of_a_checkpoint_may_be_its_last() {
    let delete = Operation::Delete { table: 0, key: 1 };
    let steps = [
        one(vec![put(1, 2100)], true),
        one(vec![delete, put(2, 2100)], true),
        one(vec![put(2, 2100)], true),
        one(vec![put(2, 2200)], false),
        one(vec![], true),
        one(vec![], true),
        one(vec![put(3, 1)], true),
    ];
    let whole = MemoryDisk::new();
    let states = work(&whole, &steps);
    let names = whole.list(Path::new("partition")).unwrap();
    assert!(
        !names.contains(&"log-00000001.seg".to_owned()),
        "dropped: {names:?}"
    );
    assert!(
        !names.contains(&"log-00000002.seg".to_owned()),
        "dropped: {names:?}"
    );
    for crash in 0..=whole.changes() {
        let disk = MemoryDisk::new();
        disk.capture_after(crash);
        work(&disk, &steps);
        let disk = disk.captured().unwrap_or_else(|| disk.clone());
        for loss in [
            PowerLoss::KeepAll,
            PowerLoss::LoseUnsynced,
            PowerLoss::Torn(crash),
        ] {
            check(&disk.after(loss), &states, crash);
        }
    }
}
