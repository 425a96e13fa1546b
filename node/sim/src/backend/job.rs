//! Operations on the store, as the node runs them in a batch: nothing here remembers anything.

use murder_locations::ownership::{self, Here, OwnershipEvent, OwnershipRefusal};
use murder_model::{
    MoveId, OwnershipRecord, RootName, ServerName, Term, Timestamp, UnitDigest, UnitId, UnitState,
    UserName,
};
use murder_store::engine::Tx;
use murder_store::mail::{self, Grant, MailError, TransferRow, UnitHead};
use murder_store::rows::BlobSource;

use super::ops::acl;
use crate::message::{Millis, Op, Outcome};
use crate::random::Random;

/// Rows that are dropped in one operation.
const DROP_ROWS: usize = 10_000;
const NOTHING: UnitHead = UnitHead {
    change: 0,
    digest: UnitDigest::from_bytes([0; 32]),
    outbox: 0,
    uid_validity_floor: 0,
    forgotten: 0,
    mailboxes: 0,
    messages: 0,
    bytes: 0,
};
pub(super) const STRUCTURE: &[u8] = b"structure";

/// What is done in a batch.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A client's operation.
    Call {
        unit: UnitId,
        root: RootName,
        user: UserName,
        op: Op,
    },
    /// The unit's record changes as the rules say, and what must change with it.
    Event { unit: UnitId, event: OwnershipEvent },
    /// A granted root is made.
    CreateRoot { grant: Grant },
    /// Rows of a move.
    Import {
        unit: UnitId,
        move_id: MoveId,
        rows: Vec<TransferRow>,
        contents: Vec<Option<Vec<u8>>>,
        covered: Option<u64>,
    },
    /// The end of a move's last round: digests are compared.
    Prepare {
        unit: UnitId,
        event: OwnershipEvent,
        head: UnitHead,
    },
    /// The master has rows up to here.
    Acknowledge { upto: u64 },
    /// All names are queued for the master again.
    Publish { unit: UnitId },
    /// Old marks and deliveries go.
    Prune { unit: UnitId, before: Millis },
    /// A root and all that is under it go.
    DropRoot { unit: UnitId },
    /// Every UIDVALIDITY of the unit rises above a floor.
    Raise { unit: UnitId, floor: u32 },
    /// What was queued before is durable.
    Nothing,
    /// A record that the rules did not allow (a fault).
    Force { record: OwnershipRecord },
}

impl Work {
    pub(super) const fn event(unit: UnitId, event: OwnershipEvent) -> Self {
        Self::Event { unit, event }
    }
}

/// An operation with what it may know of the world.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) now: Millis,
    /// Seed of the ids that it makes.
    pub(super) ids: u64,
    pub(super) server: ServerName,
    pub(super) promised: Term,
}

/// What an operation did.
#[derive(Debug)]
pub(super) enum Done {
    Outcome(Outcome),
    Recorded(Result<OwnershipRecord, OwnershipRefusal>),
    /// Indices of rows that need their bytes.
    Imported(Vec<usize>),
    /// The rows are not those of the source.
    OtherDigest,
    Nothing,
}

impl Job {
    pub(super) const fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.now as i64)
    }

    pub(super) fn run(&self, tx: &mut Tx<'_>) -> Result<Done, MailError> {
        let mut ids = Random::new(self.ids);
        match &self.work {
            Work::Call {
                unit,
                root,
                user,
                op,
            } => self.call(tx, unit, (root, user), op, &mut ids),
            Work::Event { unit, event } => self.event(tx, unit, event.clone()),
            Work::CreateRoot { grant } => self.create_root(tx, grant, &mut ids),
            Work::Import {
                unit,
                move_id,
                rows,
                contents,
                covered,
            } => {
                let staging = mail::ownership(tx, unit)?.is_some_and(|record| {
                    matches!(record.state, UnitState::Staging { move_id: of, .. } if of == *move_id)
                });
                if !staging {
                    return Err(MailError::NotOwner(None));
                }
                let contents: Vec<_> = contents
                    .iter()
                    .map(|bytes| {
                        let bytes = bytes.as_deref().map(BlobSource::Bytes);
                        bytes.map(|bytes| (bytes, STRUCTURE))
                    })
                    .collect();
                let missing = mail::import_rows(tx, unit, rows, &contents)?;
                if let Some(change) = covered.filter(|_| missing.is_empty()) {
                    reach(tx, unit, change)?;
                }
                Ok(Done::Imported(missing))
            }
            Work::Prepare { unit, event, head } => {
                let prepared = mail::ownership(tx, unit)?
                    .is_some_and(|record| matches!(record.state, UnitState::Prepared { .. }));
                if !prepared && !mail::import_head(tx, unit, head)? {
                    return Ok(Done::OtherDigest);
                }
                self.event(tx, unit, event.clone())
            }
            Work::Acknowledge { upto } => {
                mail::acknowledge_outbox(tx, *upto)?;
                Ok(Done::Nothing)
            }
            Work::Publish { unit } => {
                mail::publish_names(tx, unit)?;
                Ok(Done::Nothing)
            }
            Work::Prune { unit, before } => {
                let before = Timestamp::from_millis(*before as i64);
                mail::prune_marks(tx, unit, 0, before, 100)?;
                Ok(Done::Nothing)
            }
            Work::DropRoot { unit } => {
                for (_, row) in mail::mailboxes(tx, unit)?.into_iter().rev() {
                    if let Some(row) = row {
                        mail::delete_mailbox(tx, &row.id, self.timestamp())?;
                    }
                }
                self.event(tx, unit, OwnershipEvent::Deleted)
            }
            Work::Raise { unit, floor } => {
                mail::raise_uid_validities(tx, unit, *floor)?;
                Ok(Done::Nothing)
            }
            Work::Nothing => Ok(Done::Nothing),
            Work::Force { record } => {
                mail::put_ownership(tx, record)?;
                Ok(Done::Recorded(Ok(record.clone())))
            }
        }
    }

    /// The record changes by the rules; what they refuse changes nothing.
    fn event(
        &self,
        tx: &mut Tx<'_>,
        unit: &UnitId,
        event: OwnershipEvent,
    ) -> Result<Done, MailError> {
        let before = mail::ownership(tx, unit)?;
        let here = Here {
            server: &self.server,
            promised: self.promised,
        };
        let taken_up = match &event {
            OwnershipEvent::Stage {
                move_id, attempt, ..
            } => Some((*move_id, *attempt)),
            _ => None,
        };
        let mut after = match ownership::next(here, before.as_ref(), event) {
            Ok(after) => after,
            Err(refusal) => return Ok(Done::Recorded(Err(refusal))),
        };
        if let (Some((move_id, attempt)), UnitState::Prepared { .. }) = (taken_up, &after.state) {
            // Whatever freeze it was prepared for, the source has given that one up.
            let event = OwnershipEvent::AbortAttempt { move_id, attempt };
            after = match ownership::next(here, Some(&after), event) {
                Ok(after) => after,
                Err(refusal) => return Ok(Done::Recorded(Err(refusal))),
            };
        }
        if before.as_ref() == Some(&after) {
            return Ok(Done::Recorded(Ok(after)));
        }
        mail::put_ownership(tx, &after)?;
        let copies = |state: &UnitState| {
            matches!(
                state,
                UnitState::Staging { .. } | UnitState::Prepared { .. }
            )
        };
        match (&before.as_ref().map(|before| &before.state), &after.state) {
            // What an earlier stay, or an earlier move, left here is worth nothing.
            (Some(was), UnitState::Staging { move_id, .. })
                if !copies(was) || move_of(was) != Some(*move_id) =>
            {
                mail::drop_unit(tx, unit, DROP_ROWS)?;
                mail::import_head(tx, unit, &NOTHING)?;
            }
            (Some(_), UnitState::Gone) => {
                mail::drop_unit(tx, unit, DROP_ROWS)?;
            }
            // What was queued under an earlier epoch will be refused.
            (_, UnitState::Owner) => {
                mail::publish_names(tx, unit)?;
            }
            _ => {}
        }
        Ok(Done::Recorded(Ok(after)))
    }

    fn create_root(
        &self,
        tx: &mut Tx<'_>,
        grant: &Grant,
        ids: &mut Random,
    ) -> Result<Done, MailError> {
        let before = mail::ownership(tx, &grant.unit)?;
        let event = OwnershipEvent::Granted {
            term: grant.term,
            epoch: grant.epoch,
        };
        let here = Here {
            server: &self.server,
            promised: self.promised,
        };
        let after = match ownership::next(here, before.as_ref(), event) {
            Ok(after) => after,
            Err(refusal) => return Ok(Done::Recorded(Err(refusal))),
        };
        if before.as_ref() != Some(&after) {
            mail::create_root(tx, grant, &acl(&grant.root), &[], &mut || ids.id())?;
        }
        Ok(Done::Recorded(Ok(after)))
    }
}

/// Notes that everything up to a change is here, as a resumed copy asks for it.
fn reach(tx: &mut Tx<'_>, id: &UnitId, change: u64) -> Result<(), MailError> {
    if mail::unit(tx, id)?.is_some_and(|unit| unit.change < change) {
        mail::import_head(tx, id, &UnitHead { change, ..NOTHING })?;
    }
    Ok(())
}

/// The move that a copy belongs to.
fn move_of(state: &UnitState) -> Option<MoveId> {
    match state {
        UnitState::Staging { move_id, .. } | UnitState::Prepared { move_id, .. } => Some(*move_id),
        _ => None,
    }
}
