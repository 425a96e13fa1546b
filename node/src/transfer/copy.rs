//! The source's side of a round: rows and messages in bounded steps, acknowledged as they become
//! durable.
//!
//! A step is read in one short transaction, which is over before anything is sent; contents are
//! read afterwards, by files that stay open even if their segment is dropped meanwhile.

use std::collections::VecDeque;

use bytes::Bytes;
use murder_model::UnitId;
use murder_store::engine::{Blob, Snapshots};
use murder_store::mail::{TransferBlob, TransferRow, export_rows, unit_head};
use murder_store::rows::StoreError;
use tokio::task::spawn_blocking;

use super::TransferError;
use super::job::Job;
use super::message::{
    STEP_BYTES_MAX, STEP_ROWS_MAX, STEPS_UNACKNOWLEDGED_MAX, Step, ToDestination, ToSource,
};
use super::rate::{Rate, Sender};
use crate::backend::UnitPlace;
use crate::peer::{CONTENT_BYTES_MAX, Link};
use crate::telemetry::Metrics;

/// A message's content on its way out.
enum Content {
    Whole(Bytes),
    Pieces(Blob),
}

/// A message that was sent without its content.
struct Bare {
    index: u32,
    row: TransferRow,
    blob: TransferBlob,
}

/// A step that is not acknowledged yet.
struct Sent {
    number: u64,
    bare: Vec<Bare>,
}

/// A step as it was read.
struct Outgoing {
    rows: Vec<TransferRow>,
    contents: Vec<Option<Content>>,
    bare: Vec<Bare>,
    covered: u64,
    again: bool,
    position: Option<Vec<u8>>,
}

/// One conversation with a destination, from the source's side.
pub(super) struct Copier<'a> {
    pub(super) link: Link,
    pub(super) job: &'a Job,
    pub(super) place: UnitPlace,
    /// All changes up to here are durable at the destination.
    pub(super) reached: u64,
    /// Writes wait for it: the rate must not make them wait longer.
    pub(super) is_urgent: bool,
    rate: Sender<'a>,
    metrics: &'a Metrics,
    unacknowledged: VecDeque<Sent>,
    steps: u64,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        link: Link,
        job: &'a Job,
        place: UnitPlace,
        reached: u64,
        (rate, metrics): (&'a Rate, &'a Metrics),
    ) -> Self {
        Self {
            link,
            job,
            place,
            reached,
            is_urgent: false,
            rate: rate.sender(),
            metrics,
            unacknowledged: VecDeque::new(),
            steps: 0,
        }
    }

    /// Sends all changes up to now; returns how many rows there were.
    pub(super) async fn round(&mut self) -> Result<u64, TransferError> {
        let unit = self.place.unit;
        let read = self
            .place
            .partition
            .read(move |rows| unit_head(rows, &unit));
        let upto = read.await?.change;
        let mut position = None;
        let mut rows = 0;
        loop {
            let snapshots = self.place.partition.snapshots().clone();
            let after = self.reached;
            let step = spawn_blocking(move || read_step(&snapshots, &unit, after, upto, position));
            let step = step.await.expect("reading rows does not panic")?;
            position = step.position.clone();
            rows += step.rows.len() as u64;
            if !step.rows.is_empty() {
                self.send(step).await?;
            }
            while self.unacknowledged.len() >= STEPS_UNACKNOWLEDGED_MAX {
                self.acknowledged().await?;
            }
            if position.is_none() {
                break;
            }
        }
        self.link.flush().await?;
        while !self.unacknowledged.is_empty() {
            self.acknowledged().await?;
        }
        match self.ask(ToDestination::RoundEnd { upto }).await? {
            ToSource::RoundDone => {}
            other => return Err(unfit(other)),
        }
        self.reached = upto;
        Ok(rows)
    }

    /// Says something that is answered, and waits for the answer.
    pub(super) async fn ask(&mut self, message: ToDestination) -> Result<ToSource, TransferError> {
        self.link.send(&message).await?;
        self.link.flush().await?;
        answer(&mut self.link).await
    }

    async fn send(&mut self, step: Outgoing) -> Result<(), TransferError> {
        self.steps += 1;
        let length = |content: &Content| match content {
            Content::Whole(bytes) => bytes.len() as u64,
            Content::Pieces(blob) => blob.length(),
        };
        let message = Step {
            number: self.steps,
            rows: step.rows,
            contents: step
                .contents
                .iter()
                .map(|content| content.as_ref().map(length))
                .collect(),
            covered: step.covered,
            again: step.again,
        };
        let mut whole = 0;
        let rows = |row: &TransferRow| row.key.len() as u64 + row.value.len() as u64;
        self.pay(message.rows.iter().map(rows).sum()).await;
        self.link.send(&ToDestination::Rows(message)).await?;
        for content in step.contents.into_iter().flatten() {
            match content {
                Content::Whole(bytes) if bytes.is_empty() => {}
                Content::Whole(bytes) => {
                    self.pay(bytes.len() as u64).await;
                    self.link.send_content(&bytes).await?;
                    whole += bytes.len() as u64;
                }
                Content::Pieces(blob) => self.send_pieces(blob).await?,
            }
        }
        self.link.flush().await?;
        self.has_sent(whole);
        self.unacknowledged.push_back(Sent {
            number: self.steps,
            bare: step.bare,
        });
        Ok(())
    }

    /// Waits for its turn under the node's rate.
    async fn pay(&self, bytes: u64) {
        if self.is_urgent {
            self.rate.owe(bytes).await;
        } else {
            self.rate.take(bytes).await;
        }
    }

    async fn send_pieces(&mut self, blob: Blob) -> Result<(), TransferError> {
        let mut start = 0;
        while start < blob.length() {
            let end = (start + CONTENT_BYTES_MAX as u64).min(blob.length());
            let piece = blob.clone();
            let piece = spawn_blocking(move || piece.read(start..end)).await;
            let piece = piece.expect("reading a blob does not panic")?;
            self.pay(end - start).await;
            self.link.send_content(&piece).await?;
            self.has_sent(end - start);
            start = end;
        }
        Ok(())
    }

    fn has_sent(&self, bytes: u64) {
        self.job.change(|status| status.bytes_sent += bytes);
        self.metrics.node.transfer_bytes.inc_by(bytes);
    }

    /// Waits for the acknowledgement of the oldest step; what was missing there is sent again.
    async fn acknowledged(&mut self) -> Result<(), TransferError> {
        let (step, missing) = match answer(&mut self.link).await? {
            ToSource::Acknowledged { step, missing } => (step, missing),
            other => return Err(unfit(other)),
        };
        let sent = self
            .unacknowledged
            .pop_front()
            .ok_or(TransferError::Unfit)?;
        if sent.number != step {
            return Err(TransferError::Unfit);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut wanted = Vec::with_capacity(missing.len());
        let mut bare = sent.bare.into_iter();
        for index in missing {
            let found = bare.find(|bare| bare.index == index);
            wanted.push(found.ok_or(TransferError::Unfit)?);
        }
        tracing::debug!(event = "transfer_contents_again", messages = wanted.len());
        let snapshots = self.place.partition.snapshots().clone();
        let again = spawn_blocking(move || read_again(&snapshots, wanted));
        let again = again.await.expect("reading blobs does not panic")?;
        self.send(again).await
    }
}

/// The next answer that says something.
pub(super) async fn answer(link: &mut Link) -> Result<ToSource, TransferError> {
    loop {
        match link.receive().await? {
            ToSource::Working => {}
            ToSource::Refused { reason, text } => return Err(TransferError::Refused(reason, text)),
            answer => return Ok(answer),
        }
    }
}

pub(super) fn unfit(answer: ToSource) -> TransferError {
    match answer {
        ToSource::Mismatch { .. } => TransferError::Mismatch,
        _ => TransferError::Unfit,
    }
}

fn read_step(
    snapshots: &Snapshots,
    unit: &UnitId,
    after: u64,
    upto: u64,
    position: Option<Vec<u8>>,
) -> Result<Outgoing, TransferError> {
    let exported = {
        let rows = snapshots.read()?;
        let from = position.as_deref();
        export_rows(
            &rows,
            unit,
            after,
            upto,
            from,
            STEP_ROWS_MAX,
            STEP_BYTES_MAX,
        )?
    };
    let covered = match (&exported.position, exported.rows.last()) {
        (None, _) => upto,
        (Some(_), Some((last, _))) => change_of(last)?.saturating_sub(1),
        (Some(_), None) => after,
    };
    let mut step = Outgoing {
        rows: Vec::with_capacity(exported.rows.len()),
        contents: Vec::with_capacity(exported.rows.len()),
        bare: Vec::new(),
        covered,
        again: false,
        position: exported.position,
    };
    for (index, (row, blob)) in exported.rows.into_iter().enumerate() {
        let content = match blob {
            Some(blob) if blob.created > after => Some(content(snapshots, blob)?),
            Some(blob) => {
                let index = u32::try_from(index).expect("a step has few rows");
                let row = row.clone();
                step.bare.push(Bare { index, row, blob });
                None
            }
            None => None,
        };
        step.contents.push(content);
        step.rows.push(row);
    }
    Ok(step)
}

fn read_again(snapshots: &Snapshots, wanted: Vec<Bare>) -> Result<Outgoing, TransferError> {
    let mut step = Outgoing {
        rows: Vec::with_capacity(wanted.len()),
        contents: Vec::with_capacity(wanted.len()),
        bare: Vec::new(),
        covered: 0,
        again: true,
        position: None,
    };
    for bare in wanted {
        step.contents.push(Some(content(snapshots, bare.blob)?));
        step.rows.push(bare.row);
    }
    Ok(step)
}

/// Small contents are read at once, which verifies their checksum; the destination verifies the hash
/// of all.
fn content(snapshots: &Snapshots, blob: TransferBlob) -> Result<Content, StoreError> {
    let found = snapshots.blob(blob.place)?;
    if blob.place.length <= CONTENT_BYTES_MAX as u64 {
        return Ok(Content::Whole(found.read(0..blob.place.length)?));
    }
    Ok(Content::Pieces(found))
}

/// The change number of a row: behind the octet that tells rows from marks.
fn change_of(row: &TransferRow) -> Result<u64, TransferError> {
    let change = row.value.get(1..9).and_then(|bytes| bytes.try_into().ok());
    change.map(u64::from_be_bytes).ok_or(TransferError::Unfit)
}
