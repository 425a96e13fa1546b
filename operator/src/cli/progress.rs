//! Progress of drains: a bar each on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output;
use crate::platform::local::protocol::BackendLine;

/// Characters of a bar: the whole line fits into 80 columns.
const BAR_WIDTH: usize = 16;

/// Shows how far drains are.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
    drains: BTreeMap<String, Shown>,
}

/// One drain.
struct Shown {
    bar: Option<ProgressBar>,
    started: Instant,
    /// Units and bytes moved when we began to look.
    before: (u64, u64),
    /// Most users that were moved or there at one look: a look may see one at neither end.
    total: u64,
    last_line: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self {
            bars: is_terminal.then(MultiProgress::new),
            drains: BTreeMap::new(),
        }
    }

    /// Shows one look at a Backend.
    pub(super) fn show(&mut self, backend: &BackendLine) {
        if backend.drain == "NotRequested" && !self.drains.contains_key(&backend.name) {
            return;
        }
        let name = backend.name.clone();
        let bars = self.bars.as_ref();
        let shown = self.drains.entry(name).or_insert_with(|| Shown {
            bar: bars.map(|bars| bars.add(new_bar())),
            started: Instant::now(),
            before: (backend.moved, backend.bytes_moved),
            total: 0,
            last_line: String::new(),
        });
        shown.show(backend);
    }

    pub(super) fn finish(self) {
        let bars = self.drains.into_values().filter_map(|shown| shown.bar);
        let shown = bars.map(|bar| bar.abandon()).count();
        if shown > 0 {
            // The cursor stands behind the last bar.
            output::error("");
        }
    }
}

/// The whole line is its message, so that one look is one drawing.
fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Shown {
    fn show(&mut self, backend: &BackendLine) {
        let (name, drain) = (&backend.name, &backend.drain);
        self.total = self.total.max(backend.moved + backend.units);
        let total = self.total;
        let moved = total - backend.units.min(total);
        let users = format!("{moved}/{total} users");
        let what = match backend.message.as_str() {
            "" if drain == "Transferring" => figures(backend, self.before, self.started.elapsed()),
            "" => drain.clone(),
            message => format!("{drain}: {message}"),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{name} [{}] {users}, {what}", drawn(moved, total)))
            }
            None => {
                // A line when something changed: a log stays readable.
                let key = format!("{drain} {moved}/{total} {}", backend.message);
                if key != self.last_line {
                    output::error(&format!("{name} {users}, {what}"));
                    self.last_line = key;
                }
            }
        }
    }
}

/// A bar of fixed width, full if there is nothing to do.
fn drawn(done: u64, total: u64) -> String {
    let full = BAR_WIDTH as u64;
    let filled = (done * full).checked_div(total).unwrap_or(full).min(full);
    let filled = usize::try_from(filled).unwrap_or(BAR_WIDTH);
    let head = if filled < BAR_WIDTH { ">" } else { "" };
    format!("{:<BAR_WIDTH$}", format!("{}{head}", "=".repeat(filled)))
}

/// Mailboxes, bytes, rate and the time that is left at this rate.
fn figures(backend: &BackendLine, before: (u64, u64), elapsed: Duration) -> String {
    let milliseconds = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let units = backend.moved.saturating_sub(before.0);
    let bytes = backend.bytes_moved.saturating_sub(before.1);
    let rate = bytes.saturating_mul(1000) / milliseconds;
    let mut text = format!(
        "{} mailboxes, {}, {}/s",
        backend.mailboxes_moved,
        output::bytes(backend.bytes_moved),
        output::bytes(rate),
    );
    // Many small users take their time too: the slower of both tells.
    let by_bytes = backend.bytes.checked_div(rate);
    let by_units = (backend.units * milliseconds / 1000).checked_div(units);
    if let Some(left) = by_bytes.max(by_units)
        && backend.units > 0
    {
        text.push_str(&format!(", {} left", output::seconds(left.max(1))));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{drawn, figures};
    use crate::platform::local::protocol::BackendLine;

    #[test]
    fn rate_and_time_left_count_from_when_we_began_to_look() {
        let backend = BackendLine {
            units: 30,
            bytes: 60 << 20,
            moved: 15,
            mailboxes_moved: 45,
            bytes_moved: 25 << 20,
            ..BackendLine::default()
        };
        let text = figures(&backend, (5, 5 << 20), Duration::from_secs(10));
        assert_eq!(text, "45 mailboxes, 25 MiB, 2048 KiB/s, 30 s left");
    }

    #[test]
    fn a_bar_fills_from_the_left() {
        assert_eq!(drawn(0, 4), ">               ");
        assert_eq!(drawn(1, 4), "====>           ");
        assert_eq!(drawn(4, 4), "================");
        assert_eq!(drawn(0, 0), "================");
    }

    #[test]
    fn nothing_moved_promises_nothing() {
        let backend = BackendLine {
            units: 3,
            bytes: 100,
            ..BackendLine::default()
        };
        let text = figures(&backend, (0, 0), Duration::from_millis(1));
        assert_eq!(text, "0 mailboxes, 0 B, 0 B/s");
    }
}
