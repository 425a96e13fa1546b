//! Progress of a drain: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::output;
use crate::platform::local::protocol::BackendLine;

/// Shows how far a drain is.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    bytes_before: Option<u64>,
    last_line: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} users  {msg}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style)
        });
        Self {
            bar,
            started: Instant::now(),
            bytes_before: None,
            last_line: String::new(),
        }
    }

    /// Shows one look.
    pub(super) fn show(&mut self, backend: &BackendLine) {
        let total = backend.moved + backend.units;
        let message = self.message(backend);
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(format!("{} {}", backend.name, backend.drain));
                bar.set_length(total);
                bar.set_position(backend.moved);
                bar.set_message(message);
            }
            None => {
                // A line when something changed: a log stays readable.
                let key = format!("{} {}/{total}", backend.drain, backend.moved);
                if key != self.last_line {
                    output::error(&format!("{} {key} users  {message}", backend.name));
                    self.last_line = key;
                }
            }
        }
    }

    fn message(&mut self, backend: &BackendLine) -> String {
        if backend.blocked {
            return backend.message.clone();
        }
        let before = *self.bytes_before.get_or_insert(backend.bytes_moved);
        let moved = backend.bytes_moved.saturating_sub(before);
        let seconds = self.started.elapsed().as_secs().max(1);
        let rate = moved / seconds;
        let left = match backend.bytes.checked_div(rate) {
            Some(left) if backend.units > 0 => format!(", {left} s left"),
            _ => String::new(),
        };
        format!(
            "{} mailboxes, {}, {}/s{left}",
            backend.mailboxes_moved,
            output::bytes(backend.bytes_moved),
            output::bytes(rate),
        )
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}
