//! Runs the targets for some seconds each over mutated seeds, on a stable compiler.
//!
//! `smoke [--seconds N] [--seed S] [--corpus DIR] [--artifacts DIR] [TARGET…]`: 5 s, seed 1, all
//! targets. Exit 0 if none panicked, 1 if one did (its input is kept in the artifacts folder), 2 on
//! wrong usage. The same seed tries the same inputs in the same order.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use murder_fuzz::mutate::{Random, mutate};
use murder_fuzz::{TARGETS, Target};

struct Options {
    seconds: u64,
    seed: u64,
    corpus: PathBuf,
    artifacts: PathBuf,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("smoke: {message}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for target in &options.targets {
        match fuzz(target, &options) {
            Ok(line) => println!("{line}"),
            Err(line) => {
                eprintln!("{line}");
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut options = Options {
        seconds: 5,
        seed: 1,
        corpus: here.join("corpus"),
        artifacts: here.join("artifacts"),
        targets: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is not a number"));
        match argument.as_str() {
            "--seconds" => options.seconds = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--corpus" => options.corpus = value()?.into(),
            "--artifacts" => options.artifacts = value()?.into(),
            name => {
                let target = TARGETS.iter().find(|target| target.name == name);
                let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
                let unknown = || format!("{name} is not a target; they are {}", known.join(", "));
                options.targets.push(target.ok_or_else(unknown)?);
            }
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn fuzz(target: &Target, options: &Options) -> Result<String, String> {
    let folder = options.corpus.join(target.name);
    let corpus = seeds(&folder).map_err(|error| format!("read {}: {error}", folder.display()))?;
    if corpus.is_empty() {
        return Err(format!("{}: no seeds in {}", target.name, folder.display()));
    }
    let mut random = Random::new(options.seed);
    let (started, limit) = (Instant::now(), Duration::from_secs(options.seconds));
    let (mut executions, mut slowest) = (0_u64, Duration::ZERO);
    let mut pending: Vec<Vec<u8>> = corpus.clone();
    loop {
        let input = pending.pop().unwrap_or_else(|| {
            let seed = &corpus[random.below(corpus.len())];
            mutate(seed, &corpus, target.words, &mut random)
        });
        let before = started.elapsed();
        if panic::catch_unwind(|| (target.run)(&input)).is_err() {
            let kept = keep(target, &input, &options.artifacts);
            return Err(format!(
                "{}: panicked after {executions} executions; {kept}",
                target.name
            ));
        }
        executions += 1;
        let now = started.elapsed();
        slowest = slowest.max(now - before);
        if now >= limit && pending.is_empty() {
            return Ok(format!(
                "{}: {executions} executions in {:.1} s from {} seeds, slowest {} ms, seed {}",
                target.name,
                now.as_secs_f64(),
                corpus.len(),
                slowest.as_millis(),
                options.seed
            ));
        }
    }
}

/// The seeds, in the order of their names.
fn seeds(folder: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// Writes an input that panicked where it can be run again: put it into the corpus.
fn keep(target: &Target, input: &[u8], artifacts: &Path) -> String {
    let sum = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &octet| {
        (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = artifacts.join(format!("{}-{sum:016x}", target.name));
    match fs::create_dir_all(artifacts).and_then(|()| fs::write(&path, input)) {
        Ok(()) => format!("input kept as {}", path.display()),
        Err(error) => format!("input not kept ({error}): {}", input.escape_ascii()),
    }
}
