//! Logs, metrics and health.

pub mod health;
pub mod metrics;
pub mod sources;

pub use health::Health;
pub use metrics::Metrics;
pub use sources::Sources;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error; `json` chooses one JSON object a line over text.
/// `level` is a filter such as `info` or `murder_node=debug`.
pub fn start_logging(json: bool, level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first subscriber.
    let _already = if json {
        builder
            .json()
            .flatten_event(true)
            .with_target(false)
            .try_init()
    } else {
        builder.with_target(false).with_ansi(false).try_init()
    };
}
