//! Runs seeds: `sim FROM TO`; prints each run's figures, or how it failed.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(from)), to) = (numbers.next(), numbers.next()) else {
        eprintln!("usage: sim FROM [TO]");
        return ExitCode::from(2);
    };
    let to = match to {
        Some(Ok(to)) => to,
        Some(Err(error)) => {
            eprintln!("TO: {error}");
            return ExitCode::from(2);
        }
        None => from + 1,
    };
    for seed in from..to {
        match murder_sim::run(seed) {
            Ok(summary) => println!("seed {seed}: {summary:?}"),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
