//! The table at the end.

use std::fmt;
use std::time::Duration;

use super::experience::Experience;
use super::ledger::{Ledger, State};
use super::verify::Findings;
use crate::mail::Kind;

/// What left a backend that was drained.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The backend.
    pub backend: String,
    /// Users and shared roots.
    pub units: u64,
    /// Their mailboxes.
    pub mailboxes: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// The account of a demonstration.
#[derive(Debug)]
pub struct Report {
    rows: Vec<(&'static str, String)>,
    faults: Vec<String>,
    is_good: bool,
}

impl Report {
    /// Puts it together.
    #[must_use]
    pub fn of(ledger: &Ledger, findings: &Findings, moved: Option<&Moved>, took: Duration) -> Self {
        let states = ledger.states().clone();
        let acknowledged = |kind| {
            let pairs = ledger.deliveries.iter().zip(states.iter());
            pairs
                .filter(|(delivery, state)| {
                    state.acknowledged && ledger.messages[delivery.message].kind == kind
                })
                .count()
        };
        let [real, sample, generated] =
            [Kind::Real, Kind::Sample, Kind::Generated].map(acknowledged);
        let total = real + sample + generated;
        let refused = states.iter().filter(|state| state.refused).count();
        let (delivering, reading) = (ledger.delivering(), ledger.reading());
        let mut rows = vec![
            (
                "delivered",
                format!("{total} ({real} real, {sample} sample, {generated} generated)"),
            ),
            ("refused", refused.to_string()),
            ("copied", copied(ledger)),
            (
                "read back",
                format!("{} ({})", findings.read, mib(findings.bytes)),
            ),
            ("lost", findings.lost.to_string()),
            ("doubled", findings.doubled.to_string()),
            ("outcome unknown", unknown(ledger, &states, findings)),
            ("not as sent", findings.foreign.to_string()),
            ("changed", changed(ledger, findings)),
        ];
        if let Some(moved) = moved {
            rows.push((
                "moved",
                format!(
                    "{} mailboxes of {} users and shared roots, {}, in {:.1} s, from {}",
                    moved.mailboxes,
                    moved.units,
                    mib(moved.bytes),
                    moved.took.as_secs_f64(),
                    moved.backend
                ),
            ));
        }
        rows.extend([
            ("kills (-9)", ledger.kills().to_string()),
            ("longest pause", pauses("delivering", &delivering)),
            ("", pauses("reading", &reading)),
            (
                "reconnects",
                format!("{} (mailbox moved)", delivering.moved + reading.moved),
            ),
            ("errors seen", errors(&delivering, &reading)),
            ("time", format!("{:.1} s", took.as_secs_f64())),
        ]);
        Self {
            rows,
            faults: findings.faults.clone(),
            is_good: refused
                + findings.lost
                + findings.doubled
                + findings.foreign
                + findings.changed
                == 0
                && total == ledger.deliveries.len(),
        }
    }

    /// Whether nothing was lost, doubled, refused or changed.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.is_good
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn copied(ledger: &Ledger) -> String {
    let copies = ledger.copies();
    let count: u32 = copies.values().map(|copied| copied.acknowledged).sum();
    format!("{count} between users' and shared folders")
}

fn unknown(ledger: &Ledger, states: &[State], findings: &Findings) -> String {
    let deliveries: u32 = states.iter().map(|state| state.uncertain).sum();
    let copies: u32 = ledger.copies().values().map(|copied| copied.unknown).sum();
    format!(
        "{} extra, of {deliveries} deliveries and {copies} copies without a certain answer",
        findings.unknown_outcome
    )
}

fn changed(ledger: &Ledger, findings: &Findings) -> String {
    let seen = ledger.seen();
    let sum = |count: fn(&super::seen::Seen) -> usize| seen.values().map(count).sum::<usize>();
    format!(
        "{} of {} contents, {} dates and {} flags by UID that clients saw",
        findings.changed,
        sum(|seen| seen.contents_count()),
        sum(|seen| seen.dates_count()),
        sum(|seen| seen.flags_count()),
    )
}

fn pauses(what: &str, experience: &Experience) -> String {
    let pauses = &experience.longest_pauses;
    let longest = pauses.values().max().copied().unwrap_or_default();
    let phases: Vec<_> = pauses
        .iter()
        .map(|(phase, (took, what))| format!("{} {} {what}", phase.name(), took.as_millis()))
        .collect();
    let longest = longest.0.as_millis();
    format!("{longest} ms {what} ({})", phases.join(", "))
}

fn errors(delivering: &Experience, reading: &Experience) -> String {
    let mut kinds = Vec::new();
    for (side, experience) in [("LMTP", delivering), ("IMAP", reading)] {
        for (error, count) in &experience.errors {
            kinds.push(format!("{count} × {side}: {error}"));
        }
    }
    if kinds.is_empty() {
        "none".to_owned()
    } else {
        kinds.join("\n                   ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.rows {
            writeln!(f, "  {name:<16} {value}")?;
        }
        for fault in &self.faults {
            writeln!(f, "  ! {fault}")?;
        }
        let verdict = if self.is_good {
            "every message is accounted for"
        } else {
            "NOT every message is accounted for"
        };
        write!(f, "{verdict}")
    }
}
