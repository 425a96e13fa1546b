//! Where a process ends by itself: just before or just after a sync or a rename.

use std::fmt::Write as _;

/// On which side of the call.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum When {
    /// The call is not made.
    Before,
    /// The call has succeeded, and nothing that follows from it has happened.
    After,
}

impl When {
    /// Its word in the preload library's file, and for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// A call at which a process ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Point {
    when: When,
    call: &'static str,
    path: String,
    number: u32,
    bytes: Vec<u8>,
}

impl Point {
    /// The first call (`fsync`, `fdatasync` or `rename`) on a path that contains `path`, which has no
    /// spaces; of a rename, the new path.
    #[must_use]
    pub fn new(when: When, call: &'static str, path: &str) -> Self {
        Self {
            when,
            call,
            path: path.to_owned(),
            number: 1,
            bytes: Vec::new(),
        }
    }

    /// Not the first such call, but the one of this number.
    #[must_use]
    pub const fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Only syncs count before which these bytes (at most 256) were written, in one call, to the file.
    #[must_use]
    pub fn of(mut self, bytes: &[u8]) -> Self {
        self.bytes = bytes.to_vec();
        self
    }

    pub(super) fn line(&self) -> String {
        let (when, call, path, number) = (self.when.word(), self.call, &self.path, self.number);
        let mut line = format!("{when} {call} {path} {number} ");
        for byte in &self.bytes {
            // Writing to a string does not fail.
            let _written = write!(line, "{byte:02x}");
        }
        line
    }
}
