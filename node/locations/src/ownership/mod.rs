//! A server's part in the ownership of a unit, as a pure function of record and event.
//!
//! `docs/ownership.md` states the invariants O1–O8. A server keeps one [`OwnershipRecord`] per unit in
//! its own store, and changes it only by [`next`]; the caller makes the answer durable *before* it
//! acts on it or sends anything that follows from it. A freeze is no event: it is held in memory and
//! a crash undoes it.
//!
//! Move ids are ordered per source ([`move_id`]), because a destination must know which of two moves
//! of one unit is the later.

mod event;

use murder_model::{
    Attempt, Epoch, Incarnation, MoveId, OwnershipRecord, ServerName, Term, UnitDigest, UnitState,
};

pub use event::{OwnershipEvent, OwnershipRefusal, SettleAnswer};
use event::{event_name, state_name};

/// The server whose record it is.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Its name.
    pub server: &'a ServerName,
    /// Highest term that it has durably promised (O5).
    pub promised: Term,
}

/// Makes an id for a move by a source: ids of later moves are greater, and no two servers' are equal
/// while `random` is.
pub fn move_id(incarnation: Incarnation, serial: u32, random: [u8; 6]) -> MoveId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&incarnation.get().to_be_bytes()[2..]);
    bytes[6..10].copy_from_slice(&serial.to_be_bytes());
    bytes[10..].copy_from_slice(&random);
    MoveId::from_bytes(bytes)
}

/// Whether a server may answer commands on the unit from this record. Sessions that have a view
/// of a released unit keep reading it; nothing else.
pub fn serves(record: &OwnershipRecord) -> bool {
    record.state == UnitState::Owner
}

/// The record after the event; to be durable before anything is done or said on the strength of
/// it. An event that was applied before leaves the record as it is.
pub fn next(
    here: Here<'_>,
    record: Option<&OwnershipRecord>,
    event: OwnershipEvent,
) -> Result<OwnershipRecord, OwnershipRefusal> {
    use OwnershipEvent as Event;
    match (record, event) {
        (None, Event::Create { unit, root }) => Ok(OwnershipRecord {
            unit,
            root,
            state: UnitState::Creating,
            term: Term::new(0),
            epoch: Epoch::new(0),
        }),
        (
            None,
            Event::Stage {
                unit,
                root,
                move_id,
                attempt,
                from,
                epoch,
            },
        ) => {
            let state = UnitState::Staging {
                move_id,
                attempt,
                from,
            };
            Ok(OwnershipRecord {
                unit,
                root,
                state,
                term: Term::new(0),
                epoch,
            })
        }
        (None, _) => Err(OwnershipRefusal::NoRecord),
        (Some(record), event) => Step { here, record }.apply(event),
    }
}

/// One step from a record.
struct Step<'a> {
    here: Here<'a>,
    record: &'a OwnershipRecord,
}

type Next = Result<OwnershipRecord, OwnershipRefusal>;

impl Step<'_> {
    fn apply(&self, event: OwnershipEvent) -> Next {
        use OwnershipEvent as Event;
        let name = event_name(&event);
        match (&self.record.state, event) {
            (UnitState::Creating, Event::Granted { term, epoch })
            | (UnitState::Owner | UnitState::Released { .. }, Event::Regranted { term, epoch }) => {
                self.own(term, epoch)
            }
            (UnitState::Owner, Event::Granted { term, epoch })
            | (UnitState::Owner, Event::GrantArrived { term, epoch, .. }) => {
                self.owned_already(term, epoch)
            }
            (UnitState::Creating, Event::GrantRefused)
            | (UnitState::Owner, Event::Deleted)
            | (UnitState::Moved { .. }, Event::GraceOver) => Ok(self.with(UnitState::Gone)),
            (
                UnitState::Owner,
                Event::Release {
                    to,
                    move_id,
                    attempt,
                },
            ) => {
                if to == *self.here.server {
                    return Err(OwnershipRefusal::ToItself);
                }
                Ok(self.with(UnitState::Released {
                    to,
                    move_id,
                    attempt,
                }))
            }
            (UnitState::Released { .. }, Event::Settled { spoken, answer }) => {
                self.settle(spoken, answer)
            }
            (
                UnitState::Staging { .. }
                | UnitState::Prepared { .. }
                | UnitState::Moved { .. }
                | UnitState::Gone,
                Event::Stage {
                    move_id,
                    attempt,
                    from,
                    epoch,
                    ..
                },
            ) => self.stage(move_id, attempt, from, epoch),
            (
                UnitState::Staging { .. } | UnitState::Prepared { .. },
                Event::Prepare {
                    move_id,
                    attempt,
                    epoch,
                    digest,
                },
            ) => self.prepare(move_id, attempt, epoch, digest),
            (
                UnitState::Staging { .. } | UnitState::Prepared { .. },
                Event::AbortAttempt { move_id, attempt },
            ) => self.abort_attempt(move_id, attempt),
            (
                UnitState::Staging { .. } | UnitState::Prepared { .. },
                Event::DropStaging { move_id, attempt },
            ) => {
                self.current(move_id, attempt)?;
                Ok(self.with(UnitState::Gone))
            }
            (
                UnitState::Prepared {
                    move_id, attempt, ..
                },
                Event::GrantArrived {
                    term,
                    epoch,
                    move_id: of,
                    attempt: at,
                },
            ) => {
                if (of, at) != (*move_id, *attempt) {
                    return Err(OwnershipRefusal::StaleMove);
                }
                self.own(term, epoch)
            }
            (_, Event::SeenElsewhere { owner, term, epoch }) => self.elsewhere(owner, term, epoch),
            (state, _) => Err(OwnershipRefusal::WrongState {
                state: state_name(state),
                event: name,
            }),
        }
    }

    /// The same record in another state.
    fn with(&self, state: UnitState) -> OwnershipRecord {
        OwnershipRecord {
            state,
            ..self.record.clone()
        }
    }

    fn term_not_lower(&self, got: Term) -> Result<(), OwnershipRefusal> {
        let known = self.here.promised.max(self.record.term);
        if got < known {
            Err(OwnershipRefusal::LowerTerm { known, got })
        } else {
            Ok(())
        }
    }

    /// O2: a grant of an epoch above all recorded and a term not below any.
    fn own(&self, term: Term, epoch: Epoch) -> Next {
        self.term_not_lower(term)?;
        if epoch <= self.record.epoch {
            return Err(OwnershipRefusal::StaleEpoch {
                known: self.record.epoch,
                got: epoch,
            });
        }
        Ok(OwnershipRecord {
            state: UnitState::Owner,
            term,
            epoch,
            ..self.record.clone()
        })
    }

    fn owned_already(&self, term: Term, epoch: Epoch) -> Next {
        if (term, epoch) == (self.record.term, self.record.epoch) {
            return Ok(self.record.clone());
        }
        Err(OwnershipRefusal::StaleEpoch {
            known: self.record.epoch,
            got: epoch,
        })
    }

    /// O3: only an answer above the released epoch decides.
    fn settle(&self, spoken: Term, answer: SettleAnswer) -> Next {
        self.term_not_lower(spoken)?;
        let (owner, term, epoch) = match answer {
            SettleAnswer::Flipped { to, term, epoch } => (to, term, epoch),
            SettleAnswer::Record { owner, term, epoch } => (owner, term, epoch),
        };
        if epoch <= self.record.epoch {
            return Err(OwnershipRefusal::Unsettled);
        }
        if owner == *self.here.server {
            return self.own(term, epoch);
        }
        self.moved(owner, term, epoch)
    }

    fn moved(&self, to: ServerName, term: Term, epoch: Epoch) -> Next {
        let state = UnitState::Moved { to, term, epoch };
        let term = term.max(self.record.term);
        Ok(OwnershipRecord {
            state,
            term,
            epoch,
            ..self.record.clone()
        })
    }

    /// The move and freeze that a copy here belongs to.
    fn copying(&self) -> Option<(MoveId, Attempt)> {
        match &self.record.state {
            UnitState::Staging {
                move_id, attempt, ..
            }
            | UnitState::Prepared {
                move_id, attempt, ..
            } => Some((*move_id, *attempt)),
            _ => None,
        }
    }

    /// The event is of the move at hand, and of no earlier freeze.
    fn current(&self, move_id: MoveId, attempt: Attempt) -> Result<(), OwnershipRefusal> {
        match self.copying() {
            Some((of, at)) if of == move_id && attempt >= at => Ok(()),
            _ => Err(OwnershipRefusal::StaleMove),
        }
    }

    fn epoch_not_lower(&self, got: Epoch) -> Result<(), OwnershipRefusal> {
        let known = self.record.epoch;
        if got < known {
            Err(OwnershipRefusal::StaleEpoch { known, got })
        } else {
            Ok(())
        }
    }

    fn stage(&self, move_id: MoveId, attempt: Attempt, from: ServerName, epoch: Epoch) -> Next {
        self.epoch_not_lower(epoch)?;
        if epoch == self.record.epoch
            && let Some(held) = self.copying()
        {
            if (move_id, attempt) < held {
                return Err(OwnershipRefusal::StaleMove);
            }
            if (move_id, attempt) == held {
                return Ok(self.record.clone());
            }
        }
        let state = UnitState::Staging {
            move_id,
            attempt,
            from,
        };
        Ok(OwnershipRecord {
            state,
            epoch,
            ..self.record.clone()
        })
    }

    fn prepare(&self, move_id: MoveId, attempt: Attempt, epoch: Epoch, digest: UnitDigest) -> Next {
        self.epoch_not_lower(epoch)?;
        self.current(move_id, attempt)?;
        let from = match &self.record.state {
            UnitState::Prepared {
                attempt: at,
                digest: was,
                ..
            } if *at == attempt => {
                let same = *was == digest && epoch == self.record.epoch;
                return if same {
                    Ok(self.record.clone())
                } else {
                    Err(OwnershipRefusal::OtherDigest)
                };
            }
            // A freeze that was staged or given up is never prepared afterwards.
            UnitState::Staging { attempt: at, .. } if *at == attempt => {
                return Err(OwnershipRefusal::StaleMove);
            }
            UnitState::Staging { from, .. } | UnitState::Prepared { from, .. } => from.clone(),
            _ => return Err(OwnershipRefusal::StaleMove),
        };
        let granted = epoch.next();
        let state = UnitState::Prepared {
            move_id,
            attempt,
            from,
            epoch: granted,
            digest,
        };
        Ok(OwnershipRecord {
            state,
            epoch,
            ..self.record.clone()
        })
    }

    fn abort_attempt(&self, move_id: MoveId, attempt: Attempt) -> Next {
        self.current(move_id, attempt)?;
        match &self.record.state {
            UnitState::Staging { from, .. } | UnitState::Prepared { from, .. } => {
                let from = from.clone();
                Ok(self.with(UnitState::Staging {
                    move_id,
                    attempt,
                    from,
                }))
            }
            _ => Err(OwnershipRefusal::StaleMove),
        }
    }

    /// Another server owns it by a later grant. An owner yields too: that can happen only to a
    /// restored volume, whose copy is out of date.
    fn elsewhere(&self, owner: ServerName, term: Term, epoch: Epoch) -> Next {
        if owner == *self.here.server {
            return Err(OwnershipRefusal::Unsettled);
        }
        let known = self.record.epoch;
        if epoch <= known || term < self.record.term {
            return Err(OwnershipRefusal::StaleEpoch { known, got: epoch });
        }
        match &self.record.state {
            // Only a settle decides: the news may be a deposed master's.
            UnitState::Released { .. } => Err(OwnershipRefusal::Unsettled),
            UnitState::Owner | UnitState::Moved { .. } => self.moved(owner, term, epoch),
            UnitState::Creating
            | UnitState::Gone
            | UnitState::Staging { .. }
            | UnitState::Prepared { .. } => Ok(OwnershipRecord {
                state: UnitState::Gone,
                term,
                epoch,
                ..self.record.clone()
            }),
        }
    }
}
