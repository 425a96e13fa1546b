//! `murder-node store check|dump|rebuild DIR`: a partition's files, looked at from outside.
//!
//! Exit codes: 0 sound or done, 1 damage found (and named) or the command failed, 2 bad usage. All
//! three refuse a directory that a node holds.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use murder_store::engine::{
    CheckReport, OpenError, Partition, PartitionOptions, RealDisk, check, dump,
};
use serde_json::json;

use crate::cli::{bad_input, failed};

/// What to do with a partition.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Verify every checksum, every live message, and that the index equals the log
    Check(Target),
    /// Print the log and the index, one JSON object a line
    Dump(Target),
    /// Build the index anew from the log
    Rebuild(Target),
}

/// Which partition, and how to print.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// Directory of the partition, e.g. data/partitions/default
    directory: PathBuf,
    /// Directory of its index, if it is another
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
    /// Output format
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Runs the command.
pub(crate) fn main(command: StoreCommand) -> ExitCode {
    let target = match &command {
        StoreCommand::Check(target)
        | StoreCommand::Dump(target)
        | StoreCommand::Rebuild(target) => target,
    };
    if !has_segments(&target.directory) {
        return bad_input(&format!(
            "{} holds no partition",
            target.directory.display()
        ));
    }
    let options = PartitionOptions {
        index_directory: target.index.clone(),
        ..PartitionOptions::new(&target.directory)
    };
    let disk = Arc::new(RealDisk::new());
    let output = target.output;
    let done = match command {
        StoreCommand::Check(_) => check(disk, options).map(|report| show_check(&report, output)),
        StoreCommand::Dump(_) => {
            dump(disk, options, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS)
        }
        StoreCommand::Rebuild(_) => rebuild(disk, options, output),
    };
    done.unwrap_or_else(|error| failed(&error))
}

fn has_segments(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("log-")
    })
}

fn rebuild(
    disk: Arc<RealDisk>,
    options: PartitionOptions,
    output: Output,
) -> Result<ExitCode, OpenError> {
    let (partition, report) = Partition::rebuild(disk, options)?;
    partition
        .close()
        .map_err(|error| OpenError::Store(error.into()))?;
    let damage: Vec<String> = report
        .damage
        .iter()
        .map(|damage| format!("{damage:?}"))
        .collect();
    match output {
        Output::Json => print(&format!(
            "{}",
            json!({
                "batches": report.replayed_batches,
                "records": report.replayed_records,
                "lastLsn": report.last_lsn,
                "damage": damage,
            })
        )),
        Output::Text => {
            print(&format!(
                "rebuilt from {} batches with {} records",
                report.replayed_batches, report.replayed_records
            ));
            damage
                .iter()
                .for_each(|damage| print(&format!("damage: {damage}")));
        }
    }
    Ok(if damage.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show_check(report: &CheckReport, output: Output) -> ExitCode {
    let damage: Vec<String> = report
        .damage
        .iter()
        .map(|damage| format!("{damage:?}"))
        .collect();
    let unreadable: Vec<String> = report
        .unreadable
        .iter()
        .map(|blob| {
            let (place, reason) = (blob.place, &blob.reason);
            format!(
                "segment {:08x}, byte {}: {reason}",
                place.segment, place.offset
            )
        })
        .collect();
    match output {
        Output::Json => print(&format!(
            "{}",
            json!({
                "sound": report.is_sound(),
                "segments": report.segments,
                "batches": report.batches,
                "records": report.records,
                "rows": report.rows,
                "messages": report.blobs,
                "bytes": report.blob_bytes,
                "unappliedBatches": report.unapplied_batches,
                "damage": damage,
                "unreadable": unreadable,
                "differences": report.differences,
                "unnamed": report.unnamed,
            })
        )),
        Output::Text => {
            print(&format!(
                "{} segments, {} batches, {} rows, {} messages of {} bytes",
                report.segments, report.batches, report.rows, report.blobs, report.blob_bytes
            ));
            damage
                .iter()
                .for_each(|damage| print(&format!("damage: {damage}")));
            unreadable
                .iter()
                .for_each(|blob| print(&format!("unreadable: {blob}")));
            report
                .differences
                .iter()
                .for_each(|difference| print(&format!("differs: {difference}")));
            print(if report.is_sound() {
                "sound"
            } else {
                "not sound"
            });
        }
    }
    if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(line: &str) {
    // A reader that went away (`| head`) is no reason to fail.
    let _gone = writeln!(std::io::stdout().lock(), "{line}");
}
