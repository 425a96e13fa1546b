//! How fast a drain goes, and whether it goes at all.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::core::{DrainReport, DrainState};
use crate::crd::DrainStatus;

/// Shortest time without progress after which a drain is stalled.
const STALL_MIN: SignedDuration = SignedDuration::from_mins(10);
/// A drain is stalled after so many usual moves' time without progress.
const STALL_MOVES: i32 = 3;
/// Over which time the rate is taken.
const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// How often what people see of the pace may change.
const SHOWN_EVERY: SignedDuration = SignedDuration::from_secs(10);
/// Moves of which the usual time is taken.
const MOVES_MAX: usize = 101;
/// Samples within [`RATE_WINDOW`].
const SAMPLES_MAX: usize = 120;

/// What is remembered of a drain between passes. Losing it costs only the pace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DrainProgress {
    started_at: Option<Timestamp>,
    last_progress_at: Option<Timestamp>,
    samples: VecDeque<(Timestamp, u64)>,
    last: Option<(u64, u64, u64)>,
    last_moved_at: Option<Timestamp>,
    move_times: VecDeque<SignedDuration>,
    shown_at: Option<Timestamp>,
    shown: Pace,
    is_over: bool,
}

/// What people see of the pace.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pace {
    pub(super) last_progress_at: Option<Timestamp>,
    pub(super) rate_bps: Option<u64>,
    pub(super) eta: Option<Timestamp>,
}

impl DrainProgress {
    /// What an operator before this one wrote down.
    pub fn resume(status: Option<&DrainStatus>) -> Self {
        let time = |text: Option<&String>| text?.parse::<Timestamp>().ok();
        let started_at = status.and_then(|status| time(status.started_at.as_ref()));
        let last_progress_at = status.and_then(|status| time(status.last_progress_at.as_ref()));
        Self {
            started_at,
            last_progress_at,
            shown: Pace {
                last_progress_at,
                ..Pace::default()
            },
            ..Self::default()
        }
    }

    /// Takes in what a pass has seen; the end of a drain forgets it.
    pub fn observe(&mut self, now: Timestamp, report: &DrainReport) {
        if matches!(
            report.state,
            DrainState::NotRequested | DrainState::Aborting | DrainState::Reactivating
        ) {
            *self = Self::default();
            return;
        }
        self.started_at.get_or_insert(now);
        self.is_over = matches!(
            report.state,
            DrainState::Empty | DrainState::StoppingPod | DrainState::ReleasingVolume
        );
        let seen = (report.bytes_moved, report.moved, report.remaining);
        let progress = match self.last {
            Some((bytes, moved, remaining)) => {
                seen.0 > bytes || seen.1 > moved || seen.2 < remaining
            }
            None => self.last_progress_at.is_none(),
        };
        if progress || report.state == DrainState::Queued {
            self.last_progress_at = Some(now);
        }
        self.note_moves(now, report);
        self.note_bytes(now, report.bytes_moved);
        self.last = Some(seen);
        let is_due = self
            .shown_at
            .is_none_or(|at| now.duration_since(at) >= SHOWN_EVERY);
        if is_due {
            self.shown_at = Some(now);
            self.shown = self.pace(now, report);
        }
    }

    /// How long a move takes, from how many went at a time and how soon they ended.
    fn note_moves(&mut self, now: Timestamp, report: &DrainReport) {
        let before = self.last.map_or(report.moved, |(_, moved, _)| moved);
        if report.moved > before
            && let Some(at) = self.last_moved_at
        {
            let each = now.duration_since(at).as_millis() / i128::from(report.moved - before);
            let each = each * i128::from(report.in_flight.max(1));
            let each = i64::try_from(each).unwrap_or(i64::MAX);
            self.move_times.push_back(SignedDuration::from_millis(each));
            if self.move_times.len() > MOVES_MAX {
                self.move_times.pop_front();
            }
        }
        if report.moved != before || self.last_moved_at.is_none() {
            self.last_moved_at = Some(now);
        }
    }

    fn note_bytes(&mut self, now: Timestamp, bytes: u64) {
        // A source that was started again counts from the start.
        if self.samples.back().is_some_and(|(_, last)| *last > bytes) {
            self.samples.clear();
        }
        let due = RATE_WINDOW / SAMPLES_MAX as i32;
        let too_soon = |(at, _): &(Timestamp, u64)| now.duration_since(*at) < due;
        if self.samples.len() > 1 && self.samples.back().is_some_and(too_soon) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, bytes));
        let is_old = |at: Timestamp| now.duration_since(at) > RATE_WINDOW;
        while self.samples.len() > 2 && is_old(self.samples[1].0) {
            self.samples.pop_front();
        }
    }

    fn pace(&self, now: Timestamp, report: &DrainReport) -> Pace {
        let rate = || {
            let (from, first) = self.samples.front()?;
            let (to, last) = self.samples.back()?;
            let ms = u64::try_from(to.duration_since(*from).as_millis()).ok()?;
            let is_enough = ms >= 1000;
            is_enough
                .then(|| u64::try_from(u128::from(last - first) * 1000 / u128::from(ms)).ok())?
        };
        let rate_bps = if self.is_over { None } else { rate() };
        let eta = rate_bps.filter(|rate| *rate > 0).and_then(|rate| {
            let seconds = i64::try_from(report.bytes_remaining / rate).ok()?;
            now.checked_add(SignedDuration::from_secs(seconds)).ok()
        });
        Pace {
            last_progress_at: self.last_progress_at,
            rate_bps,
            eta,
        }
    }

    /// When the drain was first seen.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    pub(super) fn shown(&self) -> Pace {
        self.shown
    }

    /// For how long nothing has moved, if that is too long. What is empty has nothing to move.
    pub fn stalled_for(&self, now: Timestamp) -> Option<SignedDuration> {
        if self.is_over {
            return None;
        }
        let still = now.duration_since(self.last_progress_at?);
        let usual = self.usual_move().unwrap_or_default();
        let limit = usual.saturating_mul(STALL_MOVES).max(STALL_MIN);
        (still >= limit).then_some(still)
    }

    /// The median time of a move.
    fn usual_move(&self) -> Option<SignedDuration> {
        let mut times: Vec<SignedDuration> = self.move_times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{DrainProgress, Pace};
    use crate::core::{DrainReport, DrainState};
    use crate::crd::DrainStatus;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn report(bytes_moved: u64, moved: u64, in_flight: u64) -> DrainReport {
        DrainReport {
            state: DrainState::Transferring,
            bytes_moved,
            moved,
            in_flight,
            remaining: 100 - moved,
            bytes_remaining: 100_000 - bytes_moved,
            ..DrainReport::default()
        }
    }

    /// Row 60.
    #[test]
    fn rate_and_eta_come_from_the_last_minute_and_change_every_ten_seconds() {
        let mut progress = DrainProgress::default();
        progress.observe(at(0), &report(0, 0, 4));
        assert_eq!(progress.started_at(), Some(at(0)));
        assert_eq!(progress.shown().rate_bps, None);
        for second in 1..=9 {
            progress.observe(at(second), &report(100 * second as u64, 0, 4));
            assert_eq!(progress.shown().rate_bps, None);
        }
        progress.observe(at(10), &report(1000, 0, 4));
        let expected = Pace {
            last_progress_at: Some(at(10)),
            rate_bps: Some(100),
            eta: Some(at(10 + 990)),
        };
        assert_eq!(progress.shown(), expected);
        progress.observe(at(15), &report(5000, 0, 4));
        assert_eq!(progress.shown(), expected);
        for second in 16..=90 {
            progress.observe(at(second), &report(5000, 0, 4));
        }
        let expected = Pace {
            last_progress_at: Some(at(15)),
            rate_bps: Some(0),
            eta: None,
        };
        assert_eq!(progress.shown(), expected);
    }

    #[test]
    fn a_source_that_counts_anew_gives_no_absurd_rate() {
        let mut progress = DrainProgress::default();
        progress.observe(at(0), &report(9000, 5, 1));
        progress.observe(at(10), &report(10, 0, 1));
        progress.observe(at(20), &report(1010, 0, 1));
        assert_eq!(progress.shown().rate_bps, Some(100));
    }

    #[test]
    fn ten_minutes_without_a_byte_are_a_stall() {
        let mut progress = DrainProgress::default();
        progress.observe(at(0), &report(0, 0, 4));
        progress.observe(at(5), &report(1, 0, 4));
        progress.observe(at(604), &report(1, 0, 4));
        assert_eq!(progress.stalled_for(at(604)), None);
        let stalled = Some(SignedDuration::from_secs(600));
        assert_eq!(progress.stalled_for(at(605)), stalled);
        progress.observe(at(606), &report(2, 0, 4));
        assert_eq!(progress.stalled_for(at(606)), None);
    }

    #[test]
    fn three_usual_moves_may_take_longer() {
        let mut progress = DrainProgress::default();
        for moved in 0..4 {
            progress.observe(at(moved * 200), &report(0, moved as u64, 2));
        }
        // Two at a time, one every 200 s: 400 s each.
        assert_eq!(progress.stalled_for(at(600 + 1199)), None);
        let stalled = Some(SignedDuration::from_secs(1200));
        assert_eq!(progress.stalled_for(at(600 + 1200)), stalled);
    }

    #[test]
    fn what_is_empty_is_not_stalled_however_long_it_stays() {
        let mut progress = DrainProgress::default();
        progress.observe(at(0), &report(0, 0, 4));
        progress.observe(at(10), &report(500, 100, 0));
        for state in [
            DrainState::Empty,
            DrainState::StoppingPod,
            DrainState::ReleasingVolume,
        ] {
            let empty = DrainReport {
                state,
                ..report(500, 100, 0)
            };
            progress.observe(at(9000), &empty);
            assert_eq!(progress.stalled_for(at(9000)), None);
        }
        let expected = Pace {
            last_progress_at: Some(at(10)),
            rate_bps: None,
            eta: None,
        };
        assert_eq!(progress.shown(), expected);
    }

    #[test]
    fn a_queue_is_no_stall_and_what_was_taken_back_is_forgotten() {
        let mut progress = DrainProgress::default();
        let queued = DrainReport {
            state: DrainState::Queued,
            ..DrainReport::default()
        };
        progress.observe(at(0), &queued);
        progress.observe(at(5000), &queued);
        assert_eq!(progress.stalled_for(at(5000)), None);
        assert_eq!(progress.started_at(), Some(at(0)));
        progress.observe(at(5001), &DrainReport::default());
        assert_eq!(progress, DrainProgress::default());
    }

    #[test]
    fn the_next_operator_goes_on_from_what_was_written() {
        let status = DrainStatus {
            started_at: Some(at(0).to_string()),
            last_progress_at: Some(at(100).to_string()),
            ..DrainStatus::default()
        };
        let mut progress = DrainProgress::resume(Some(&status));
        progress.observe(at(650), &report(7, 1, 1));
        assert_eq!(progress.started_at(), Some(at(0)));
        assert_eq!(
            progress.stalled_for(at(700)),
            Some(SignedDuration::from_secs(600))
        );
        assert_eq!(DrainProgress::resume(None), DrainProgress::default());
    }
}
