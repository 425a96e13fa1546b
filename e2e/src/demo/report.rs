//! The table at the end.

use std::fmt;
use std::time::Duration;

use super::ledger::{Experience, Ledger};
use super::verify::Findings;
use crate::mail::Kind;

/// The account of a demonstration.
#[derive(Debug)]
pub struct Report {
    rows: Vec<(&'static str, String)>,
    faults: Vec<String>,
    is_good: bool,
}

impl Report {
    /// Puts it together.
    pub fn of(ledger: &Ledger, findings: &Findings, took: Duration) -> Self {
        let states = ledger.states();
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
        let unanswered: u32 = states.iter().map(|state| state.unanswered).sum();
        let (delivering, reading) = (ledger.delivering(), ledger.reading());
        let (flags, bodies) = {
            let seen = ledger.seen();
            let flags: usize = seen
                .values()
                .flat_map(|s| s.flags.values())
                .map(|f| f.len())
                .sum();
            let bodies: usize = seen.values().map(|seen| seen.contents.len()).sum();
            (flags, bodies)
        };
        let mib = findings.bytes as f64 / f64::from(1 << 20);
        let rows = vec![
            (
                "delivered",
                format!("{total} ({real} real, {sample} sample, {generated} generated)"),
            ),
            ("refused", refused.to_string()),
            ("read back", format!("{} ({mib:.1} MiB)", findings.read)),
            ("lost", findings.lost.to_string()),
            ("doubled", findings.doubled.to_string()),
            (
                "outcome unknown",
                format!(
                    "{} extra copies without Message-ID, of {unanswered} deliveries without answer",
                    findings.unknown_outcome
                ),
            ),
            ("not as sent", findings.foreign.to_string()),
            (
                "changed",
                format!(
                    "{} of {flags} flags and {bodies} messages by UID that clients saw",
                    findings.changed
                ),
            ),
            ("kills (-9)", ledger.kills().to_string()),
            (
                "longest pause",
                format!(
                    "{} ms delivering, {} ms reading",
                    delivering.longest_pause_ms, reading.longest_pause_ms
                ),
            ),
            ("errors seen", errors(&delivering, &reading)),
            ("time", format!("{:.1} s", took.as_secs_f64())),
        ];
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
