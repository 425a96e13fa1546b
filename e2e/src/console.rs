//! What people see: lines on standard output, and a progress bar where that is a terminal.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Instant;

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
    label: &'static str,
    total: u64,
    told: u64,
    /// When progress was told first, and how much.
    begun: Option<(Instant, u64)>,
    bar: Option<ProgressBar>,
}

impl Phase {
    /// The time left, if it goes on as it went so far.
    fn left(&mut self, done: u64) -> String {
        let (begun, before) = *self.begun.get_or_insert_with(|| (Instant::now(), done));
        if done <= before || done >= self.total {
            return String::new();
        }
        let seconds = begun.elapsed().as_secs_f64() / (done - before) as f64;
        let left = seconds * (self.total - done) as f64;
        format!("about {left:.0} s left")
    }
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

    /// Begins a phase of `total` steps, which takes the place of the one before.
    pub fn begin(&self, label: &'static str, total: u64) {
        self.end();
        let bar = self.interactive.then(|| {
            let style =
                ProgressStyle::with_template("{prefix:>8} [{bar:40}] {pos}/{len} {wide_msg}");
            let bar = ProgressBar::new(total).with_prefix(label);
            match style {
                Ok(style) => bar.with_style(style.progress_chars("=> ")),
                Err(_) => bar,
            }
        });
        *self.lock() = Some(Phase {
            label,
            total,
            told: 0,
            begun: None,
            bar,
        });
    }

    /// Tells how far a phase is; nothing, if another one has taken its place.
    pub fn progress(&self, label: &str, done: u64, detail: &str) {
        let mut guard = self.lock();
        let Some(phase) = guard.as_mut().filter(|phase| phase.label == label) else {
            return;
        };
        let left = phase.left(done);
        let comma = if detail.is_empty() || left.is_empty() {
            ""
        } else {
            ", "
        };
        let detail = format!("{detail}{comma}{left}");
        if let Some(bar) = &phase.bar {
            bar.set_message(detail);
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

    /// Corrects how many steps there are.
    pub fn set_total(&self, label: &str, total: u64) {
        let mut guard = self.lock();
        if let Some(phase) = guard.as_mut().filter(|phase| phase.label == label) {
            phase.total = total;
            if let Some(bar) = &phase.bar {
                bar.set_length(total);
            }
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
