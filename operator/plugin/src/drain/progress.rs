//! How far a drain is: a bar on a terminal, a line for each change elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::jiff::Timestamp;
use murder_operator::crd::{Backend, DrainStatus};

use super::verdict::Verdict;
use crate::murder::count;
use crate::output;
use crate::text::{self, progress_bar};

/// Characters of a bar: the whole line fits into 80 columns.
const BAR_WIDTH: usize = 16;
/// Before that nothing is said of the speed.
const WARM_UP: Duration = Duration::from_secs(2);

/// Shows how far a drain is.
pub(super) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    meter: Option<Meter>,
    last: String,
    going: bool,
}

impl Progress {
    pub(super) fn new(name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(new_bar);
        Self {
            name: name.to_owned(),
            bar,
            meter: None,
            last: String::new(),
            going: false,
        }
    }

    /// Shows a look.
    pub(super) fn show(&mut self, backend: &Backend, verdict: &Verdict) {
        self.going = backend.metadata.deletion_timestamp.is_some();
        let (reason, message) = match verdict {
            Verdict::Unseen => ("waits for the operator", ""),
            Verdict::Empty => ("Empty", ""),
            Verdict::Blocked(reason, message) | Verdict::OnItsWay(reason, message) => {
                (reason.as_str(), message.as_str())
            }
            Verdict::TakenBack | Verdict::Replaced => return,
        };
        let drain = backend
            .status
            .as_ref()
            .and_then(|status| status.drain.clone());
        let drain = drain.filter(|_| *verdict != Verdict::Unseen);
        let now = Instant::now();
        let pace = drain.as_ref().map(|drain| {
            let meter = self.meter.get_or_insert_with(|| Meter::new(drain, now));
            let measured = meter.pace(drain, now - meter.started);
            told(drain, Timestamp::now()).unwrap_or(measured)
        });
        match &self.bar {
            Some(bar) => {
                bar.set_message(line(
                    &self.name,
                    drain.as_ref(),
                    pace.as_ref(),
                    reason,
                    message,
                ));
            }
            None => {
                // The speed changes at each look, which is no news.
                let news = line(&self.name, drain.as_ref(), None, reason, message);
                if news != self.last {
                    let line = line(&self.name, drain.as_ref(), pace.as_ref(), reason, message);
                    output::error(&line);
                    self.last = news;
                }
            }
        }
    }

    /// Says something beside.
    pub(super) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::error(text),
        }
    }

    /// Whether the Backend was deleted when it was last seen.
    pub(super) fn was_going(&self) -> bool {
        self.going
    }

    /// Leaves the last line standing.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
            output::error("");
        }
    }
}

/// The whole line is its message, so that one look is one drawing.
fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Measures from when we began to look: what happened before took an unknown time.
struct Meter {
    started: Instant,
    moved: u64,
    bytes: u64,
}

/// How fast it goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pace {
    bytes_per_second: u64,
    seconds_left: Option<u64>,
}

/// How fast it goes by the operator's word, which has watched for longer.
fn told(drain: &DrainStatus, now: Timestamp) -> Option<Pace> {
    let rate = drain.rate_bps.filter(|rate| *rate > 0)?;
    let end: Timestamp = drain.eta.as_ref()?.parse().ok()?;
    let left = u64::try_from(end.as_second() - now.as_second()).ok();
    Some(Pace {
        bytes_per_second: count(rate),
        seconds_left: left.map(|seconds| seconds.max(1)),
    })
}

impl Meter {
    fn new(drain: &DrainStatus, started: Instant) -> Self {
        Self {
            started,
            moved: count(drain.moved),
            bytes: count(drain.bytes_moved),
        }
    }

    fn pace(&self, drain: &DrainStatus, elapsed: Duration) -> Pace {
        let elapsed_ms = u64::try_from(elapsed.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let units = count(drain.moved).saturating_sub(self.moved);
        let bytes = count(drain.bytes_moved).saturating_sub(self.bytes);
        let bytes_per_second = bytes.saturating_mul(1000) / elapsed_ms;
        let bytes_left = count(drain.bytes_total.saturating_sub(drain.bytes_moved));
        // Many small users take their time too: the slower of both tells.
        let by_bytes = bytes_left.checked_div(bytes_per_second);
        let by_units = count(drain.remaining)
            .saturating_mul(elapsed_ms)
            .checked_div(units);
        let seconds = by_bytes.max(by_units.map(|milliseconds| milliseconds / 1000));
        let known = drain.remaining > 0 && elapsed >= WARM_UP;
        Pace {
            bytes_per_second,
            seconds_left: seconds.filter(|_| known).map(|seconds| seconds.max(1)),
        }
    }
}

fn line(
    name: &str,
    drain: Option<&DrainStatus>,
    pace: Option<&Pace>,
    reason: &str,
    message: &str,
) -> String {
    let mut parts = Vec::new();
    let mut bar = String::new();
    if let Some(drain) = drain {
        let (moved, total) = (count(drain.moved), count(drain.total));
        bar = format!("[{}] ", progress_bar(moved, total, BAR_WIDTH));
        parts.push(format!("{moved}/{total} users"));
        if drain.bytes_moved > 0 {
            parts.push(text::bytes(count(drain.bytes_moved)));
        }
        if drain.failed_count > 0 {
            parts.push(format!("{} failed", drain.failed_count));
        }
    }
    if let Some(pace) = pace.filter(|pace| pace.bytes_per_second > 0) {
        parts.push(format!("{}/s", text::bytes(pace.bytes_per_second)));
    }
    if let Some(left) = pace.and_then(|pace| pace.seconds_left) {
        parts.push(format!("{} left", text::seconds(left)));
    }
    match (reason, message) {
        ("Transferring", "") => {}
        (reason, "") => parts.push(reason.to_owned()),
        (reason, message) => parts.push(format!("{reason}: {message}")),
    }
    format!("{name} {bar}{}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use murder_operator::crd::DrainStatus;

    use k8s_openapi::jiff::Timestamp;

    use super::{Meter, Pace, line, told};

    fn drain(moved: i64, remaining: i64, bytes_moved: i64) -> DrainStatus {
        DrainStatus {
            total: moved + remaining,
            moved,
            remaining,
            bytes_moved,
            bytes_total: 100 << 20,
            ..DrainStatus::default()
        }
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let meter = Meter::new(&drain(5, 40, 5 << 20), Instant::now());
        let now = drain(15, 30, 25 << 20);
        let pace = meter.pace(&now, Duration::from_secs(10));
        let expected = Pace {
            bytes_per_second: 2 << 20,
            seconds_left: Some(37),
        };
        assert_eq!(pace, expected);
        assert_eq!(
            line("be-b", Some(&now), Some(&pace), "Transferring", ""),
            "be-b [=====>          ] 15/45 users, 25.0 MiB, 2.0 MiB/s, 37 s left"
        );
    }

    #[test]
    fn the_operators_own_estimate_comes_first() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut drain = drain(15, 30, 25 << 20);
        assert_eq!(told(&drain, now), None);
        drain.rate_bps = Some(1 << 20);
        drain.eta = Some("2026-01-01T00:01:15Z".to_owned());
        let expected = Pace {
            bytes_per_second: 1 << 20,
            seconds_left: Some(75),
        };
        assert_eq!(told(&drain, now), Some(expected));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let meter = Meter::new(&drain(0, 3, 0), Instant::now());
        let now = drain(0, 3, 0);
        let pace = meter.pace(&now, Duration::from_secs(60));
        assert_eq!(
            line("be-b", Some(&now), Some(&pace), "Queued", ""),
            "be-b [>               ] 0/3 users, Queued"
        );
        assert_eq!(
            line("be-b", None, None, "waits for the operator", ""),
            "be-b waits for the operator"
        );
    }

    #[test]
    fn a_first_look_promises_nothing() {
        let meter = Meter::new(&drain(0, 30, 0), Instant::now());
        let pace = meter.pace(&drain(1, 29, 50 << 20), Duration::from_millis(500));
        assert_eq!(pace.seconds_left, None);
    }

    #[test]
    fn trouble_is_told_with_its_message() {
        assert_eq!(
            line(
                "be-b",
                Some(&drain(2, 1, 2048)),
                None,
                "NoDestination",
                "add a Backend"
            ),
            "be-b [==========>     ] 2/3 users, 2.0 KiB, NoDestination: add a Backend"
        );
    }
}
