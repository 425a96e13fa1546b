//! The history of the repository that the program runs in, as mail.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::files::{Mbox, finish};

/// How `git format-patch` begins a message: a commit, and always the same date.
const SEPARATOR_DATE: &[u8] = b" Mon Sep 17 00:00:00 2001";

/// The root of the git checkout that holds the current directory.
#[must_use]
pub fn root() -> Option<PathBuf> {
    let output = Command::new("git")
        .args(["rev-parse", "--show-toplevel"])
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// The newest commits as `git format-patch` writes them, each a message.
pub(super) fn patches(root: &Path, messages_max: usize) -> Result<Vec<Vec<u8>>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["format-patch", "--stdout", &format!("-{messages_max}")])
        .output()
        .context("cannot run git")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "git format-patch failed: {}",
        errors.trim()
    );
    let is_separator = |line: &[u8]| {
        let line = line.trim_ascii_end();
        line.starts_with(b"From ") && line.ends_with(SEPARATOR_DATE)
    };
    // A hunk's lines begin with a space, + or -, so no patch holds such a line itself.
    let mut messages = Vec::new();
    let mut mbox = Mbox::new(output.stdout.as_slice(), is_separator);
    while let Some(message) = mbox.next_message()? {
        messages.push(finish(message));
    }
    Ok(messages)
}
