//! Rounds of a move at its source: what changed in (after, upto], in steps, each acknowledged before
//! the next is sent.

use murder_model::UnitId;
use murder_store::mail::{self, TransferRow};
use murder_store::rows::BlobPlace;

use super::Backend;
use super::source::Stage;
use crate::context::Context;
use crate::message::Peer;

/// Bytes of a step.
const STEP_BYTES: u64 = 1500;
/// A round with fewer changes than this is followed by a freeze.
const SMALL_ROUND: u64 = 4;

/// A round (after, upto], and how far it is.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) after: u64,
    pub(super) upto: u64,
    position: Option<Vec<u8>>,
    /// Rows of the step that was sent last.
    sent: Vec<TransferRow>,
    /// Places of those rows' bytes.
    places: Vec<Option<BlobPlace>>,
    /// Where the step after that begins; `None`: the round ends with it.
    next: Option<Vec<u8>>,
}

impl Backend {
    pub(super) fn begin_round(&mut self, context: &mut Context, unit: UnitId, after: u64) {
        let Some(rows) = self.snapshot(context) else {
            return;
        };
        let head = mail::unit_head(&rows, &unit);
        let Some(head) = context.expect("4 a backend answers", "read head", head) else {
            return;
        };
        let Some(moving) = self
            .running
            .as_mut()
            .and_then(|running| running.moves.get_mut(&unit))
        else {
            return;
        };
        let small = head.change - after <= SMALL_ROUND && after > 0;
        if small && !moving.frozen {
            moving.frozen = true;
            moving.frozen_at = context.now;
            moving.attempt = moving.attempt.next();
            moving.stage = Stage::Draining { after };
            return self.drained(context, unit);
        }
        let round = Round {
            after,
            upto: head.change,
            position: None,
            sent: Vec::new(),
            places: Vec::new(),
            next: None,
        };
        self.send_step(context, unit, round);
    }

    /// No write is under way any more: the freeze's own round.
    pub(super) fn drained(&mut self, context: &mut Context, unit: UnitId) {
        let Some(running) = &self.running else { return };
        let under_way = running.passes.get(&unit).copied().unwrap_or(0);
        let Some(Stage::Draining { after }) =
            running.moves.get(&unit).map(|moving| moving.stage.clone())
        else {
            return;
        };
        if under_way == 0 {
            self.begin_round(context, unit, after);
        }
    }

    fn send_step(&mut self, context: &mut Context, unit: UnitId, mut round: Round) {
        let step_rows = context.plan.step_rows;
        let exported = self.snapshot(context).map(|rows| {
            let from = round.position.as_deref();
            let (after, upto) = (round.after, round.upto);
            mail::export_rows(&rows, &unit, after, upto, from, step_rows, STEP_BYTES)
        });
        let Some(exported) = exported else { return };
        let Some(exported) = context.expect("4 a backend answers", "export", exported) else {
            return;
        };
        round.next = exported.position;
        let mut contents = Vec::new();
        (round.sent, round.places) = (Vec::new(), Vec::new());
        for (row, blob) in exported.rows {
            let new = blob.filter(|blob| blob.created > round.after);
            contents.push(new.and_then(|blob| self.bytes(context, blob.place)));
            round.sent.push(row);
            round.places.push(blob.map(|blob| blob.place));
        }
        let rows = round.sent.clone();
        let covered = round.next.is_none().then_some(round.upto);
        let Some(moving) = self
            .running
            .as_mut()
            .and_then(|running| running.moves.get_mut(&unit))
        else {
            return;
        };
        moving.stage = Stage::Copying(round);
        let step = moving.step;
        let message = Peer::Rows {
            step,
            rows,
            contents,
            covered,
        };
        self.say(context, unit, message);
    }

    fn bytes(&self, context: &mut Context, place: BlobPlace) -> Option<Vec<u8>> {
        let read = self.snapshots()?.read_blob(place, 0..place.length);
        context
            .expect("4 a backend answers", "read blob", read)
            .map(|bytes| bytes.to_vec())
    }

    pub(super) fn imported(
        &mut self,
        context: &mut Context,
        unit: UnitId,
        mut round: Round,
        step: u64,
        missing: &[usize],
    ) {
        let Some(moving) = self
            .running
            .as_mut()
            .and_then(|running| running.moves.get_mut(&unit))
        else {
            return;
        };
        if moving.step != step {
            return;
        }
        moving.step += 1;
        let step = moving.step;
        if !missing.is_empty() {
            context.trace(|| format!("{}     destination asks for bytes", self.name));
            let rows: Vec<_> = missing
                .iter()
                .filter_map(|at| round.sent.get(*at).cloned())
                .collect();
            let places: Vec<_> = missing
                .iter()
                .map(|at| round.places.get(*at).copied().flatten())
                .collect();
            let contents = places
                .iter()
                .map(|place| place.and_then(|place| self.bytes(context, place)))
                .collect();
            (round.sent, round.places) = (rows.clone(), places);
            let covered = round.next.is_none().then_some(round.upto);
            if let Some(moving) = self
                .running
                .as_mut()
                .and_then(|running| running.moves.get_mut(&unit))
            {
                moving.stage = Stage::Copying(round);
            }
            let message = Peer::Rows {
                step,
                rows,
                contents,
                covered,
            };
            return self.say(context, unit, message);
        }
        if round.next.is_some() {
            round.position = round.next.take();
            return self.send_step(context, unit, round);
        }
        if moving.frozen {
            self.prepare(context, unit, round.upto);
        } else {
            self.begin_round(context, unit, round.upto);
        }
    }
}
