//! Fuzz targets: each module has `run`, which takes any octets and panics if a promise is broken.
//!
//! Two drivers call them. `cargo fuzz run TARGET --features libfuzzer` is guided by coverage and
//! needs a nightly compiler (or `--sanitizer none`). `cargo run --bin smoke` needs a stable one: it
//! mutates the seeds under `corpus/` for some seconds each, as part of every test run.

pub mod imap_command;
pub mod imap_response;
pub mod lmtp_server;
pub mod log_recovery;
pub mod mupdate_line;
pub mod mutate;
pub mod sasl_plain;
pub mod structure_scan;

/// A target as a driver sees it.
pub struct Target {
    /// Its name, also that of its folder under `corpus/`.
    pub name: &'static str,
    /// The body.
    pub run: fn(&[u8]),
    /// What its input is made of, for mutations.
    pub words: &'static [&'static [u8]],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "imap_command",
        run: imap_command::run,
        words: imap_command::WORDS,
    },
    Target {
        name: "imap_response",
        run: imap_response::run,
        words: imap_response::WORDS,
    },
    Target {
        name: "lmtp_server",
        run: lmtp_server::run,
        words: lmtp_server::WORDS,
    },
    Target {
        name: "log_recovery",
        run: log_recovery::run,
        words: log_recovery::WORDS,
    },
    Target {
        name: "mupdate_line",
        run: mupdate_line::run,
        words: mupdate_line::WORDS,
    },
    Target {
        name: "sasl_plain",
        run: sasl_plain::run,
        words: sasl_plain::WORDS,
    },
    Target {
        name: "structure_scan",
        run: structure_scan::run,
        words: structure_scan::WORDS,
    },
];

/// Cuts `data` as a network might: into pieces of one size, which its length decides. The last piece
/// is empty, so that there is one.
pub(crate) fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    const SIZES: [usize; 5] = [1, 2, 3, 7, 61];
    let pieces = data.chunks(SIZES[data.len() % SIZES.len()]);
    pieces.chain([&[][..]])
}
