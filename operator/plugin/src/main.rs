//! `kubectl murder`: looks at a mail murder, and empties, closes, finds and moves.
//!
//! Wishes are written into the custom resources, where the operator finds them. What is only known to the servers is
//! asked from them, through the API server's port-forward, with the client certificate in the Secret
//! `<murder>-admin-tls`: whoever may read that Secret and forward ports may do all that this program does.

mod access;
mod cli;
mod drain;
#[cfg(test)]
mod fixture;
mod locate;
mod murder;
mod nodes;
mod options;
mod output;
mod state;
mod status;
mod text;
mod transfer;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

/// Exit code for bad input.
const BAD_INPUT: u8 = 2;

/// What was asked for does not make sense as it is.
#[derive(Debug)]
struct BadInput(String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // Fails only if a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(Box::pin(cli.run())));
    outcome.unwrap_or_else(|error| {
        output::error(&format!("error: {error:#}"));
        let is_input = error.downcast_ref::<BadInput>().is_some();
        ExitCode::from(if is_input { BAD_INPUT } else { 1 })
    })
}
