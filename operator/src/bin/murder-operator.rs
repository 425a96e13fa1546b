//! The `murder-operator` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    murder_operator::cli::main()
}
