//! Standard output for results, standard error for everything else.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde::Serialize;

use crate::options::Format;

/// Writes text to standard output.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write"),
    }
}

/// Writes a line to standard error.
pub(crate) fn error(line: &str) {
    // Nothing is left to complain to when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes a value for programs, or text for people; `text` is told whether more is wanted.
pub(crate) fn answer<T: Serialize>(
    format: Format,
    value: &T,
    names: &[String],
    people: impl Fn(bool) -> String,
) -> anyhow::Result<()> {
    let written = match format {
        Format::Text => people(false),
        Format::Wide => people(true),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
        Format::Yaml => serde_yaml::to_string(value)?,
        Format::Name => names.iter().map(|name| format!("{name}\n")).collect(),
    };
    text(&written)
}

/// Whether results may be coloured.
pub(crate) fn is_colourful() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}
