//! Runs seeds: `sim [--trace] FROM [TO]`; prints each run's figures, or how it failed.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::process::ExitCode;

/// Lines of the trace, if all of it is wanted.
const TRACE_LINES: usize = 1_000_000;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let traced = words.first().is_some_and(|word| word == "--trace");
    if traced {
        words.remove(0);
    }
    let numbers: Result<Vec<u64>, _> = words.iter().map(|word| word.parse()).collect();
    let seeds = match numbers.as_deref() {
        Ok([seed]) => *seed..seed + 1,
        Ok([from, to]) => *from..*to,
        _ => {
            eprintln!("usage: sim [--trace] FROM [TO]");
            return ExitCode::from(2);
        }
    };
    for seed in seeds {
        let result = if traced {
            let (result, trace) = murder_sim::run_traced(seed, TRACE_LINES);
            if result.is_ok() {
                trace.iter().for_each(|line| println!("{line}"));
            }
            result
        } else {
            murder_sim::run(seed)
        };
        match result {
            Ok(summary) => println!("seed {seed}: {summary:?}"),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
