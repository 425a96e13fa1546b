//! The command line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use murder_api::Settings;
use murder_api::settings::LogFormat;
use murder_model::UserName;

use crate::accounts::{self, AccountsError};
use crate::store_cli::{self, StoreCommand};
use crate::{run, telemetry};

/// Exit code for bad settings and bad usage.
const BAD_INPUT: u8 = 2;
/// Longest password read from standard input, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// A node of a mail murder: frontend, backend, mupdate master or all in one.
#[derive(Debug, Parser)]
#[command(name = "murder-node", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  murder-node check-config -c node.yaml
  echo 'a secret' | murder-node passwd -c node.yaml alice
  echo 'a secret' | murder-node passwd --accounts accounts alice
  murder-node run -c node.yaml
  murder-node store check data/partitions/default -o json";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node until SIGTERM or SIGINT
    Run {
        /// Settings file
        #[arg(short, long, visible_alias = "settings", value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a settings file: exit 0 if it is good, 2 if not
    CheckConfig {
        /// Settings file
        #[arg(short, long, visible_alias = "settings", value_name = "FILE")]
        config: PathBuf,
    },
    /// Set an account's password, read from standard input, or delete the account
    Passwd {
        /// Settings file, which names the accounts file
        #[arg(short, long, value_name = "FILE", required_unless_present = "accounts")]
        config: Option<PathBuf>,
        /// The accounts file itself, for example one that becomes a Secret
        #[arg(long, value_name = "FILE", conflicts_with = "config")]
        accounts: Option<PathBuf>,
        /// Account
        user: String,
        /// Delete the account; its mail stays
        #[arg(long)]
        delete: bool,
    },
    /// Check, dump or rebuild a partition that no node holds
    #[command(subcommand)]
    Store(StoreCommand),
}

/// Runs the command that was given. Exit codes: 0 done, 1 failed, 2 bad input.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => match Settings::load(&config) {
            Ok(settings) => run_node(settings),
            Err(problems) => bad_input(&problems),
        },
        Command::CheckConfig { config } => match Settings::load(&config) {
            Ok(_) => ExitCode::SUCCESS,
            Err(problems) => bad_input(&problems),
        },
        Command::Passwd {
            config,
            accounts,
            user,
            delete,
        } => match accounts_file(config, accounts) {
            Ok(accounts) => passwd(&accounts, &user, delete),
            Err(problems) => bad_input(&problems),
        },
        Command::Store(command) => store_cli::main(command),
    }
}

fn run_node(settings: Settings) -> ExitCode {
    telemetry::start_logging(
        settings.logging.format == LogFormat::Json,
        &settings.logging.level,
    );
    // Another provider in this process would be a second copy of the same one.
    let _same = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run::run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("{error:#}")),
    }
}

/// The accounts file that is named, or that of a settings file.
fn accounts_file(config: Option<PathBuf>, accounts: Option<PathBuf>) -> Result<PathBuf, String> {
    match (accounts, config) {
        (Some(accounts), _) => Ok(accounts),
        (None, Some(config)) => Settings::load(&config)
            .map(|settings| settings.accounts)
            .map_err(|problems| problems.to_string()),
        (None, None) => Err("neither --config nor --accounts is given".to_owned()),
    }
}

fn passwd(accounts: &Path, user: &str, delete: bool) -> ExitCode {
    let user = match UserName::parse(user) {
        Ok(user) => user,
        Err(error) => return bad_input(&format!("{user:?}: {error}")),
    };
    let done = if delete {
        accounts::delete(accounts, &user)
    } else {
        let mut password = Vec::new();
        let read = std::io::stdin()
            .lock()
            .take(PASSWORD_BYTES_MAX + 1)
            .read_to_end(&mut password);
        if let Err(error) = read {
            return failed(&format!(
                "cannot read the password from standard input: {error}"
            ));
        }
        let password = password.strip_suffix(b"\n").unwrap_or(&password);
        let password = password.strip_suffix(b"\r").unwrap_or(password);
        if password.is_empty() || password.len() as u64 > PASSWORD_BYTES_MAX {
            return bad_input(&format!(
                "the password must have 1 to {PASSWORD_BYTES_MAX} bytes"
            ));
        }
        accounts::set_password(accounts, &user, password)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AccountsError::NoAccount(_)) => bad_input(&error),
        Err(error) => failed(&error),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the command line speaks on standard error"
)]
pub(crate) fn bad_input(message: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("murder-node: {message}");
    ExitCode::from(BAD_INPUT)
}

#[expect(
    clippy::print_stderr,
    reason = "the command line speaks on standard error"
)]
pub(crate) fn failed(message: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("murder-node: {message}");
    ExitCode::FAILURE
}
