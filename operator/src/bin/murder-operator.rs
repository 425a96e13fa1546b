//! The `murder-operator` program.

use std::process::ExitCode;

#[cfg(feature = "kube")]
fn main() -> ExitCode {
    murder_operator::cli::main()
}

/// Without custom resources there is nothing to run; the library alone is of use.
#[cfg(not(feature = "kube"))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
