//! A partition's log with damage: opening it again never panics, gives the same rows each time, and
//! a partition that was opened has nothing in doubt.
//!
//! The input is a list of changes to a sound log, seven octets each: which file, what, where (two
//! octets), how much, with what, and one spare.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use murder_store::engine::{Disk, MemoryDisk, OpenMode, Partition, PartitionOptions, PowerLoss};
use murder_store::rows::{BlobSource, Rows, RowsMut, StoreError, Table};

/// For mutations: one change each.
pub const WORDS: &[&[u8]] = &[
    b"\0\0\0\0\0\0\0",
    b"\0\x01\0\x40\x01\xff\0",
    b"\0\x02\0\x80\x10\0\0",
    b"\x01\x03\0\0\0\0\0",
    b"\x02\x04\x01\0\x20\0\0",
    b"\x01\x05\0\0\0\0\0",
    b"\0\x06\0\0\0\0\0",
];

type AllRows = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

const DIRECTORY: &str = "partition";
/// Changes of one input that are made.
const CHANGES_MAX: usize = 16;

/// Opens a copy of a sound partition with the changes that `data` lists.
pub fn run(data: &[u8]) {
    let disk = sound().after(PowerLoss::KeepAll);
    for change in data.chunks_exact(7).take(CHANGES_MAX) {
        apply(&disk, change);
    }
    let Ok((partition, _)) = Partition::open(Arc::new(disk.clone()), options()) else {
        return;
    };
    let first = rows(&partition);
    drop(partition);
    let killed = disk.after(PowerLoss::KeepAll);
    let (partition, report) =
        Partition::open(Arc::new(killed), options()).expect("what was opened opens again");
    assert!(report.cuts.is_empty(), "cut again: {:?}", report.cuts);
    assert_eq!(rows(&partition), first, "another opening, other rows");
}

fn options() -> PartitionOptions {
    PartitionOptions {
        segment_bytes: 2000,
        cache_bytes: 1 << 20,
        drop_after_checkpoints: 1,
        identity: Some(*b"identity for all"),
        ..PartitionOptions::new(DIRECTORY)
    }
}

/// A log of some segments; the last batches came after the last checkpoint.
fn sound() -> &'static MemoryDisk {
    static SOUND: OnceLock<MemoryDisk> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = MemoryDisk::new();
        let shared = Arc::new(disk.clone());
        let (mut partition, _) = Partition::open(shared, options()).expect("an empty disk opens");
        for number in 0..12_u8 {
            let mut batch = partition.batch().expect("sound");
            let done: Result<(), StoreError> = batch.run(|tx| {
                tx.put(Table::Names, &[number % 5], &[number; 90])?;
                tx.put(Table::Meta, &[number], &[number; 20])?;
                tx.delete(Table::Meta, &[number.wrapping_sub(3)])?;
                let place = tx.put_blob(BlobSource::Bytes(&[number; 300]))?;
                tx.put(Table::Blobs, &[number], &place.encode())
            });
            done.expect("sound");
            batch.commit().expect("sound");
            if number == 6 {
                partition.checkpoint().expect("sound");
            }
        }
        drop(partition);
        disk.after(PowerLoss::KeepAll)
    })
}

fn apply(disk: &MemoryDisk, change: &[u8]) {
    let directory = Path::new(DIRECTORY);
    let mut names = disk.list(directory).expect("the directory is there");
    names.sort();
    if names.is_empty() {
        return;
    }
    let logs: Vec<_> = names.iter().filter(|name| !name.contains("redb")).collect();
    let name = logs.get(usize::from(change[0]) % logs.len().max(1));
    let Some(path) = name.map(|name| directory.join(name)) else {
        return;
    };
    let file = disk.open(&path, OpenMode::Write).expect("it was listed");
    let length = file.length().expect("memory");
    let at = u64::from(u16::from_be_bytes([change[2], change[3]])) % length.max(1);
    let octets = vec![change[5]; usize::from(change[4]).max(1)];
    let done = match change[1] % 7 {
        0..=2 => disk.damage(&path, at, &octets),
        3 => file.set_length(at).and_then(|()| file.sync()),
        4 => disk.damage(&path, length, &octets),
        5 => disk
            .unlink(&path)
            .and_then(|()| disk.sync_directory(directory)),
        _ => remove_index(disk, &names),
    };
    done.expect("memory");
}

fn remove_index(disk: &MemoryDisk, names: &[String]) -> std::io::Result<()> {
    let directory = Path::new(DIRECTORY);
    for name in names.iter().filter(|name| name.contains("redb")) {
        disk.unlink(&directory.join(name))?;
    }
    disk.sync_directory(directory)
}

fn rows(partition: &Partition) -> AllRows {
    let snapshot = partition
        .snapshots()
        .read()
        .expect("an open partition reads");
    let mut rows = AllRows::new();
    for table in Table::ALL {
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.insert((table as u8, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        };
        let high = [0xff; 32];
        snapshot
            .scan(table, &[], &high, &mut visit)
            .expect("an open partition reads");
    }
    rows
}
