//! Measures commits a second of one partition on real files:
//! `cargo run --release -p murder-store --example commits -- DIRECTORY [OPERATIONS] [BATCH]`.
//!
//! Each operation adds a 4 KiB blob with its row and a message row in one of 2,000 mailboxes, and
//! rewrites the mailbox's row: what a delivery does, without the mail layer.

#![expect(clippy::print_stdout, reason = "it is a program that reports figures")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use murder_store::engine::{Partition, PartitionOptions, RealDisk};
use murder_store::rows::{BlobSource, RowsMut, StoreError, Table};

const MAILBOXES: u64 = 2000;

fn deliver(tx: &mut dyn RowsMut, number: u64, content: &[u8]) -> Result<(), StoreError> {
    let place = tx.put_blob(BlobSource::Bytes(content))?;
    tx.put(Table::Blobs, &number.to_be_bytes(), &place.encode())?;
    let mailbox = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % MAILBOXES).to_be_bytes();
    let key = [&mailbox[..], &number.to_be_bytes()].concat();
    tx.put(Table::Messages, &key, &[7; 90])?;
    tx.put(Table::Mailboxes, &mailbox, &[8; 150])
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("usage: commits DIRECTORY [OPERATIONS] [BATCH]")?;
    let operations: u64 = arguments.next().map_or(Ok(10_000), |given| given.parse())?;
    let group: u64 = arguments.next().map_or(Ok(1), |given| given.parse())?;
    let options = PartitionOptions::new(directory);
    let (mut partition, report) = Partition::open(Arc::new(RealDisk::new()), options)?;
    println!("{report:?}");
    let first = report.last_lsn;
    let content = vec![b'x'; 4096];
    let mut next_checkpoint = Instant::now() + partition.checkpoint_interval();
    let (mut bytes, mut checkpoints, mut commits) = (0, 0, 0u64);
    let start = Instant::now();
    let mut number = 0;
    while number < operations {
        let mut batch = partition.batch()?;
        for _ in 0..group {
            number += 1;
            batch.run(|tx| deliver(tx, first + number, &content))?;
        }
        bytes += batch.commit()?.bytes;
        commits += 1;
        if partition.checkpoint_due() || Instant::now() >= next_checkpoint {
            partition.checkpoint()?;
            checkpoints += 1;
            next_checkpoint = Instant::now() + partition.checkpoint_interval();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{operations} operations in {commits} commits, {checkpoints} checkpoints, {seconds:.2} s: \
         {:.0} commits/s, {:.0} operations/s, {:.1} MB/s of log",
        commits as f64 / seconds,
        operations as f64 / seconds,
        bytes as f64 / seconds / 1e6
    );
    partition.close()?;
    Ok(())
}
