//! How often power was lost at each point.

use std::collections::BTreeMap;
use std::io::Write as _;

/// Kills by point; whoever counts one has found all well after it.
pub(crate) struct Table {
    title: &'static str,
    kills: BTreeMap<String, usize>,
}

impl Table {
    pub(crate) const fn new(title: &'static str) -> Self {
        Self {
            title,
            kills: BTreeMap::new(),
        }
    }

    pub(crate) fn count(&mut self, point: &str) {
        *self.kills.entry(point.to_owned()).or_default() += 1;
    }

    /// Past the test runner, which keeps what a passing test prints.
    pub(crate) fn show(&self) {
        let mut text = format!("power lost: {}\n", self.title);
        for (point, kills) in &self.kills {
            text.push_str(&format!("  {kills:4}  {point}: all well\n"));
        }
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
}
