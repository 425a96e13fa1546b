//! The `murder-node` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    murder_node::cli::main()
}
