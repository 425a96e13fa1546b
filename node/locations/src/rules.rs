//! How the master decides a FLIP and a SETTLE (O3), as pure functions of its record.
//!
//! The master and the model check use the same two functions.

use murder_model::{Attempt, Epoch, MoveId, PartitionName, ServerId, ServerName, Term};

use crate::record::{LastMove, Standing, UnitRecord};
use crate::request::Refusal;

/// A FLIP.
#[derive(Clone, Debug)]
pub struct Flip {
    /// Who asks.
    pub asker: ServerId,
    /// Epoch that the asker released.
    pub from_epoch: Epoch,
    /// Who gets it.
    pub destination: (ServerName, ServerId),
    /// Where it will lie.
    pub partition: PartitionName,
    /// The move.
    pub move_id: MoveId,
    /// The freeze.
    pub attempt: Attempt,
}

/// What a settle comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The record to write: the asker keeps the unit at a raised epoch.
    Raise(UnitRecord),
    /// The move was flipped.
    Flipped,
    /// The record, unchanged, is the answer.
    Record,
}

/// The record after a flip, or the record as it is if this very flip was done before.
pub fn flip(record: &UnitRecord, term: Term, ask: &Flip) -> Result<UnitRecord, Refusal> {
    let raised = ask.from_epoch.next();
    let this = LastMove {
        move_id: ask.move_id,
        attempt: ask.attempt,
        flipped: true,
    };
    if record.last_move == Some(this)
        && record.epoch == raised
        && record.server_id == ask.destination.1
    {
        return Ok(record.clone());
    }
    let same_epoch = record.epoch == ask.from_epoch;
    #[cfg(feature = "mutants")]
    let same_epoch = same_epoch || crate::mutant::is(crate::mutant::Fault::SkipEpochCheck);
    let owned = record.server_id == ask.asker && same_epoch;
    if !owned || record.is_cyrus() || ask.destination.1 == ask.asker {
        return Err(Refusal::Superseded(Box::new(record.clone())));
    }
    Ok(UnitRecord {
        server: ask.destination.0.clone(),
        server_id: ask.destination.1,
        partition: Some(ask.partition.clone()),
        term,
        epoch: raised,
        standing: Standing::Owned,
        last_move: Some(this),
        confirmed: term,
        ..record.clone()
    })
}

/// What becomes of the asker's RELEASED(epoch, move).
pub fn settle(
    record: &UnitRecord,
    term: Term,
    asker: ServerId,
    epoch: Epoch,
    move_id: MoveId,
) -> Outcome {
    if let Some(last) = record.last_move
        && last.move_id == move_id
        && last.flipped
        && record.epoch == epoch.next()
    {
        return Outcome::Flipped;
    }
    if record.server_id != asker || record.epoch != epoch || record.is_cyrus() {
        return Outcome::Record;
    }
    let last = LastMove {
        move_id,
        attempt: Attempt::new(0),
        flipped: false,
    };
    Outcome::Raise(UnitRecord {
        term,
        epoch: epoch.next(),
        standing: Standing::Owned,
        last_move: Some(last),
        confirmed: term,
        ..record.clone()
    })
}
