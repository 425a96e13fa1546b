//! What people see: lines on standard output, and a progress bar where that is a terminal.

use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal, progress is told that often.
const PLAIN_STEPS: u64 = 10;

/// Where the progress of one phase is told.
#[derive(Debug)]
pub struct Console {
    interactive: bool,
    phase: Mutex<Option<Phase>>,
}

#[derive(Debug)]
struct Phase {
    label: String,
    total: u64,
    told: u64,
    bar: Option<ProgressBar>,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            interactive: std::io::stdout().is_terminal() && std::io::stderr().is_terminal(),
            phase: Mutex::default(),
        }
    }
}

impl Console {
    /// A line.
    pub fn say(&self, line: &str) {
        match &*self.lock() {
            Some(Phase { bar: Some(bar), .. }) => bar.suspend(|| print(line)),
            _ => print(line),
        }
    }

    /// Begins a phase of `total` steps.
    pub fn begin(&self, label: &str, total: u64) {
        let bar = self.interactive.then(|| {
            let style = ProgressStyle::with_template(
                "{prefix:>8} [{bar:40}] {pos}/{len} {msg} {elapsed} (left {eta})",
            );
            let bar = ProgressBar::new(total).with_prefix(label.to_owned());
            match style {
                Ok(style) => bar.with_style(style.progress_chars("=> ")),
                Err(_) => bar,
            }
        });
        *self.lock() = Some(Phase {
            label: label.to_owned(),
            total,
            told: 0,
            bar,
        });
    }

    /// Tells how far the phase is.
    pub fn progress(&self, done: u64, detail: &str) {
        let mut guard = self.lock();
        let Some(phase) = guard.as_mut() else {
            return;
        };
        if let Some(bar) = &phase.bar {
            bar.set_message(detail.to_owned());
            bar.set_position(done);
            return;
        }
        let step = done * PLAIN_STEPS / phase.total.max(1);
        if step > phase.told {
            phase.told = step;
            let line = format!("{:>8}: {done}/{} {detail}", phase.label, phase.total);
            print(line.trim_end());
        }
    }

    /// Ends the phase.
    pub fn end(&self) {
        if let Some(Phase { bar: Some(bar), .. }) = self.lock().take() {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Phase>> {
        self.phase
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the program's output for people; all of it passes here"
)]
fn print(line: &str) {
    println!("{line}");
}
