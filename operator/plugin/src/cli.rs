//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::access::Access;
use crate::drain::{self, DrainArgs};
use crate::locate::{self, Whom};
use crate::options::Options;
use crate::state;
use crate::status;
use crate::transfer::{self, MoveArgs};
use crate::verify;

/// Looks at a mail murder, and empties, closes, finds and moves
///
/// Exit codes: 0 done, 1 failed or blocked, 2 bad input.
#[derive(Debug, Parser)]
#[command(name = "kubectl-murder", bin_name = "kubectl murder", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  kubectl murder status
  kubectl murder drain be-b --dry-run
  kubectl murder drain be-b --wait
  kubectl murder uncordon be-b
  kubectl murder where alice
  kubectl murder move alice be-c --wait
  kubectl murder verify";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the murder: how full backends are, who serves, and what needs attention
    #[command(after_help = "Examples:
  kubectl murder status
  kubectl murder status -o wide -n mail -c mc
  kubectl murder status -o json | jq '.alerts'")]
    Status,
    /// Give all users of a Backend to others; it stays, empty
    #[command(after_help = "Examples:
  kubectl murder drain be-b --dry-run          # what would move where, and what is in the way
  kubectl murder drain be-b --dry-run=server   # the same, and the API server checks the request
  kubectl murder drain be-b --wait             # exit code 0 once be-b is proven empty
  kubectl murder drain be-b --wait --timeout 2h
  kubectl murder uncordon be-b                 # takes it back")]
    Drain(DrainArgs),
    /// Keep new users away from a Backend; it goes on serving those that it has
    #[command(after_help = "Examples:
  kubectl murder cordon be-b")]
    Cordon {
        /// Name of the Backend
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let a Backend take users again; takes a drain back, too
    #[command(after_help = "Examples:
  kubectl murder uncordon be-b")]
    Uncordon {
        /// Name of the Backend
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Tell which server has a user, by its own word and by the master's
    #[command(after_help = "Examples:
  kubectl murder where alice
  kubectl murder where alice -o json | jq -r .server
  kubectl murder where announcements --shared

Exit code 1 if nobody serves the user or not all agree.")]
    Where(Whom),
    /// Give one user to another Backend
    #[command(after_help = "Examples:
  kubectl murder move alice be-c
  kubectl murder move alice be-c --wait
  kubectl murder move announcements be-c --shared")]
    Move(MoveArgs),
    /// Compare the master's rows with what the servers really have
    #[command(after_help = "Examples:
  kubectl murder verify
  kubectl murder verify -o json | jq '.findings'

Findings: Double (two serve it), Ghost (a row without a unit), Stray (served, and the master says
otherwise), Mismatch (epochs differ). Each was seen twice, two seconds apart.
Exit code 1 if there is any, and if not all could be asked.")]
    Verify,
}

impl Cli {
    /// Does what was asked for.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let options = self.options;
        let access = Access::open(&options).await?;
        match self.command {
            Command::Status => status::run(&access, &options).await,
            Command::Drain(args) => Box::pin(drain::run(&access, &options, &args)).await,
            Command::Cordon { name } => state::cordon(&access, &options, &name).await,
            Command::Uncordon { name } => state::uncordon(&access, &options, &name).await,
            Command::Where(whom) => Box::pin(locate::run(&access, &options, &whom)).await,
            Command::Move(args) => Box::pin(transfer::run(&access, &options, &args)).await,
            Command::Verify => Box::pin(verify::run(&access, &options)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let example = format!("  kubectl murder {}", command.get_name());
            let help = help.unwrap_or_default();
            assert!(help.contains(&example), "{}", command.get_name());
        }
    }
}
