//! The power loss that other tests rely on: each call is seen, and what is not synced is lost,
//! exactly. Scenarios run in `shim/exercise.c` and, for the calls of `std::fs`, in this program.

#![expect(clippy::unwrap_used, reason = "what a test cannot do ends it")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use murder_e2e::powerloss::{Loss, Point, PowerLoss, Shim, When};
use tempfile::TempDir;

/// Names the directory in which [`std_calls`] works when it runs under the shim.
const CHILD_DIRECTORY: &str = "POWERLOSS_TEST_CHILD_DIRECTORY";

/// The shim and the program of scenarios, built once.
fn tools() -> &'static (TempDir, Shim) {
    static TOOLS: OnceLock<(TempDir, Shim)> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let shim = Shim::build(directory.path()).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/shim/exercise.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", source, "-o"]);
        let built = compiler
            .arg(directory.path().join("exercise"))
            .status()
            .unwrap();
        assert!(built.success());
        (directory, shim)
    })
}

/// A directory that can lose power.
struct Scene {
    root: TempDir,
    power: PowerLoss,
}

impl Scene {
    fn new() -> Self {
        let root = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let power = PowerLoss::new(
            &tools().1,
            &root.path().join("disk"),
            &root.path().join("undo"),
        );
        Self {
            root,
            power: power.unwrap(),
        }
    }

    /// A scene with durable files.
    fn with(files: &[(&str, &str)]) -> Self {
        let scene = Self::new();
        for (name, content) in files {
            fs::write(scene.disk().join(name), content).unwrap();
        }
        scene
    }

    fn disk(&self) -> std::path::PathBuf {
        self.root.path().join("disk")
    }

    /// Runs calls, then kills the process.
    fn run(&self, calls: &[&str]) {
        let mut program = Command::new(tools().0.path().join("exercise"));
        program
            .envs(self.power.environment())
            .arg(self.disk())
            .args(calls);
        let output = program.output().unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
        assert!(killed, "{calls:?}: {output:?}");
    }

    /// Every file and directory with its content, before or after a strike.
    fn files(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        list(&self.disk(), "", &mut found);
        found
    }

    fn lost(&self) -> BTreeMap<String, String> {
        self.power.strike(Loss::Everything).unwrap();
        self.files()
    }
}

fn list(directory: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), found);
            found.insert(name, "directory".into());
        } else {
            let content = fs::read(entry.path()).unwrap();
            found.insert(name, content.escape_ascii().to_string());
        }
    }
}

fn files(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected
        .iter()
        .map(|(name, content)| (name.to_string(), content.to_string()))
        .collect()
}

#[test]
fn each_call_is_seen_and_taken_back() {
    for (call, arguments) in [
        ("write", "a:3:NEW"),
        ("writev", "a:3:NEW"),
        ("pwrite", "a:8:NEWER"),
        ("pwrite64", "a:20:NEW"),
        ("pwritev", "a:0:NEW"),
        ("pwritev64", "a:0:NEW AND LONGER"),
        ("copy_file_range", "a:b"),
        ("sendfile", "a:b"),
        ("sendfile64", "a:b"),
        ("ftruncate", "a:4"),
        ("ftruncate64", "a:400"),
        ("fallocate", "a:0:100"),
        ("fallocate64", "a:0:100"),
        ("posix_fallocate", "a:0:100"),
        ("posix_fallocate64", "a:50:100"),
        ("open", "new"),
        ("open64", "new"),
        ("openat", "new"),
        ("openat64", "new"),
        ("creat", "new"),
        ("creat64", "a"),
        ("rename", "a:b"),
        ("renameat", "a:new"),
        ("renameat2", "a:b"),
        ("unlink", "a"),
        ("unlinkat", "b"),
        ("link", "a:new"),
        ("linkat", "a:new"),
        ("mkdir", "new"),
        ("mkdirat", "new"),
    ] {
        let scene = Scene::with(&[("a", "0123456789"), ("b", "the other file")]);
        let before = scene.files();
        scene.run(&[&format!("{call}:{arguments}")]);
        assert_ne!(scene.files(), before, "{call} changes something");
        assert_eq!(
            scene.power.seen().unwrap().get(call),
            Some(&1),
            "{call} is seen"
        );
        assert_eq!(scene.lost(), before, "{call} is taken back");
        assert!(scene.power.seen().unwrap().is_empty());
    }
}

#[test]
fn each_call_stays_if_it_was_synced() {
    for (calls, expected) in [
        (&["write:a:1:NEW", "fsync:a"][..], files(&[("a", "0NEW4")])),
        (
            &["pwrite64:a:4:NEW", "fdatasync:a"],
            files(&[("a", "0123NEW")]),
        ),
        (
            &["append:a:NEW", "fdatasync:a"],
            files(&[("a", "01234NEW")]),
        ),
        (&["dup:a:0:NEW", "fsync:a"], files(&[("a", "NEW34")])),
        (&["ftruncate64:a:2", "fdatasync:a"], files(&[("a", "01")])),
        (&["truncating:a", "fsync:a"], files(&[("a", "")])),
        (
            &["open64:b", "fsync:."],
            files(&[("a", "01234"), ("b", "")]),
        ),
        (&["rename:a:b", "fsync:."], files(&[("b", "01234")])),
        (&["unlink:a", "fsync:."], files(&[])),
        (
            &["mkdir:d", "fsync:."],
            files(&[("a", "01234"), ("d", "directory")]),
        ),
    ] {
        let scene = Scene::with(&[("a", "01234")]);
        scene.run(calls);
        assert_eq!(scene.files(), expected, "{calls:?}");
        assert_eq!(scene.lost(), expected, "{calls:?}");
    }
}

#[test]
fn only_what_came_before_a_sync_is_durable() {
    let scene = Scene::with(&[("a", "0123456789")]);
    scene.run(&[
        "pwrite64:a:0:AA",
        "pwrite64:a:8:BBBB",
        "fdatasync:a",
        "pwrite64:a:1:CC",
        "ftruncate64:a:5",
    ]);
    assert_eq!(scene.files(), files(&[("a", "ACC34")]));
    assert_eq!(scene.lost(), files(&[("a", "AA234567BBBB")]));
}

#[test]
fn a_hole_and_a_truncating_open_give_their_bytes_back() {
    let scene = Scene::with(&[("a", "0123456789"), ("b", "all of it")]);
    scene.run(&["punch:a:2:3", "truncating:b", "write:b:0:new"]);
    assert_eq!(
        scene.files(),
        files(&[("a", "01\\x00\\x00\\x0056789"), ("b", "new")])
    );
    assert_eq!(
        scene.lost(),
        files(&[("a", "0123456789"), ("b", "all of it")])
    );
}

#[test]
fn a_synced_file_is_gone_without_its_directory() {
    let scene = Scene::new();
    scene.run(&["open64:a", "write:a:0:text", "fsync:a"]);
    assert_eq!(scene.lost(), files(&[]));
}

#[test]
fn a_file_whose_directory_was_synced_is_empty_without_its_own_sync() {
    let scene = Scene::new();
    scene.run(&["open64:a", "write:a:0:text", "fsync:."]);
    assert_eq!(scene.lost(), files(&[("a", "")]));
}

#[test]
fn replacing_a_file_brings_back_the_old_one_until_the_directory_is_synced() {
    let calls = [
        "open64:a.new",
        "write:a.new:0:new",
        "fsync:a.new",
        "rename:a.new:a",
        "fsync:.",
    ];
    let scene = Scene::with(&[("a", "old")]);
    scene.run(&calls[..4]);
    assert_eq!(scene.lost(), files(&[("a", "old")]));
    scene.run(&calls);
    assert_eq!(scene.lost(), files(&[("a", "new")]));
}

#[test]
fn an_unsynced_rename_into_place_after_a_synced_create_goes_back_to_its_first_name() {
    let scene = Scene::new();
    scene.run(&[
        "open64:a",
        "fsync:.",
        "write:a:0:text",
        "fdatasync:a",
        "rename:a:b",
    ]);
    assert_eq!(scene.lost(), files(&[("a", "text")]));
}

#[test]
fn removed_files_come_back_with_their_durable_content() {
    let scene = Scene::with(&[("a", "01234")]);
    scene.run(&[
        "write:a:0:NEW",
        "unlink:a",
        "open64:a",
        "write:a:0:another",
        "fsync:a",
    ]);
    assert_eq!(scene.files(), files(&[("a", "another")]));
    assert_eq!(scene.lost(), files(&[("a", "01234")]));
}

#[test]
fn directories_are_lost_with_what_is_in_them() {
    let scene = Scene::new();
    scene.run(&[
        "mkdir:d",
        "open64:d/a",
        "write:d/a:0:text",
        "fsync:d/a",
        "fsync:d",
    ]);
    assert_eq!(scene.lost(), files(&[]));
    scene.run(&["mkdir:d", "fsync:.", "mkdir:e", "rmdir:d"]);
    assert_eq!(scene.files(), files(&[("e", "directory")]));
    assert_eq!(scene.lost(), files(&[("d", "directory")]));
}

#[test]
fn a_killed_process_leaves_its_unsynced_changes_to_the_next_one() {
    let scene = Scene::with(&[("a", "0123456789")]);
    scene.run(&["pwrite64:a:0:AA"]);
    scene.run(&["pwrite64:a:1:BB"]);
    assert_eq!(scene.files(), files(&[("a", "ABB3456789")]));
    // A record that the kill tore off is no record.
    let log = scene.root.path().join("undo/log");
    let torn = fs::read(&log).unwrap();
    OpenOptions::new()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(&torn[..30])
        .unwrap();
    scene.run(&["pwrite64:a:9:C"]);
    assert_eq!(scene.lost(), files(&[("a", "0123456789")]));
}

#[test]
fn a_process_ends_before_or_after_the_call_that_it_was_told() {
    let calls = [
        "write:a:0:X",
        "fsync:a",
        "write:b:1:Y",
        "fdatasync:b",
        "write:a:1:Y",
        "fsync:a",
        "write:a:2:Z",
        "rename:a:c",
    ];
    for (point, expected, durable) in [
        (
            Point::new(When::Before, "fsync", "disk/a"),
            ("X123", "0123"),
            ("0123", "0123"),
        ),
        (
            Point::new(When::After, "fsync", "disk/a"),
            ("X123", "0123"),
            ("X123", "0123"),
        ),
        (
            Point::new(When::Before, "fdatasync", "disk/"),
            ("X123", "0Y23"),
            ("X123", "0123"),
        ),
        (
            Point::new(When::Before, "fsync", "disk/a").number(2),
            ("XY23", "0Y23"),
            ("X123", "0Y23"),
        ),
        (
            Point::new(When::After, "fsync", "disk/").of(b"Y"),
            ("XY23", "0Y23"),
            ("XY23", "0Y23"),
        ),
        (
            Point::new(When::Before, "rename", "disk/c"),
            ("XYZ3", "0Y23"),
            ("XY23", "0Y23"),
        ),
    ] {
        let scene = Scene::with(&[("a", "0123"), ("b", "0123")]);
        scene.power.arm(&point).unwrap();
        scene.run(&calls);
        let of = |(a, b)| files(&[("a", a), ("b", b)]);
        assert_eq!(scene.files(), of(expected), "{point:?}");
        assert_eq!(scene.lost(), of(durable), "{point:?}");
        // Nothing is told any more.
        scene.run(&calls);
        assert!(scene.files().contains_key("c"));
    }
    let scene = Scene::with(&[("a", "0123")]);
    let point = Point::new(When::After, "rename", "/c");
    scene.power.arm(&point).unwrap();
    scene.run(&["rename:a:c", "write:c:0:X"]);
    assert_eq!(scene.files(), files(&[("c", "0123")]));
}

#[test]
fn files_elsewhere_are_left_alone() {
    let scene = Scene::new();
    let elsewhere = scene.root.path().join("elsewhere");
    fs::write(&elsewhere, "01234").unwrap();
    scene.run(&["pwrite64:../elsewhere:0:NEW", "open64:../another"]);
    assert!(scene.power.seen().unwrap().is_empty());
    scene.lost();
    assert_eq!(fs::read(&elsewhere).unwrap(), b"NEW34");
}

#[test]
fn a_partial_loss_depends_on_its_seed_only_and_keeps_what_is_durable() {
    let durable = "a".repeat(20_000);
    let mut outcomes = BTreeMap::new();
    for seed in (0..20).chain(0..20) {
        let scene = Scene::with(&[("a", &durable)]);
        let new = format!("write:a:5000:{}", "b".repeat(20_000));
        scene.run(&[&new, "open64:b", "open64:c"]);
        scene.power.strike(Loss::Some(seed)).unwrap();
        let found = scene.files();
        assert_eq!(
            found["a"][..4096],
            durable[..4096],
            "the first page was never written to"
        );
        let length = fs::metadata(scene.disk().join("a")).unwrap().len();
        assert!(matches!(length, 20_000 | 25_000), "{length}");
        assert!(
            found.contains_key("b") || !found.contains_key("c"),
            "entries go from the end"
        );
        assert_eq!(
            outcomes.entry(seed).or_insert_with(|| found.clone()),
            &found
        );
    }
    let kinds: std::collections::BTreeSet<_> = outcomes.values().collect();
    assert!(kinds.len() > 5, "{}", kinds.len());
}

/// Runs a test of this program as a child under the shim, kills it once `enough` of its lines, given
/// to it one by one, are read.
fn run_until(scene: &Scene, test: &str, mut enough: impl FnMut(&str) -> bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .envs(scene.power.environment())
        .env(CHILD_DIRECTORY, scene.disk())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| enough(&line.unwrap())));
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had acknowledged before it died.
    for line in lines {
        enough(&line.unwrap());
    }
}

/// Threads write records of one file, sync and acknowledge each; runs in a child.
#[test]
fn threads_that_sync() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let file = File::options()
        .write(true)
        .open(Path::new(&directory).join("records"))
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..WRITERS {
            let file = &file;
            scope.spawn(move || {
                for number in (thread..RECORDS).step_by(WRITERS as usize) {
                    file.write_all_at(&number.to_be_bytes(), number * 8)
                        .unwrap();
                    file.sync_data().unwrap();
                    std::io::stdout()
                        .write_all(format!("\n{number}\n").as_bytes())
                        .unwrap();
                }
            });
        }
    });
}

const WRITERS: u64 = 4;
const RECORDS: u64 = 1_000_000;

#[test]
fn what_threads_acknowledged_after_a_sync_survives() {
    let scene = Scene::with(&[("records", "")]);
    let mut acknowledged = Vec::new();
    run_until(&scene, "threads_that_sync", |line| {
        acknowledged.extend(line.parse::<u64>());
        acknowledged.len() > 300
    });
    scene.power.strike(Loss::Everything).unwrap();
    let content = fs::read(scene.disk().join("records")).unwrap();
    for number in acknowledged {
        let at = number as usize * 8;
        assert_eq!(
            content.get(at..at + 8),
            Some(&number.to_be_bytes()[..]),
            "record {number}"
        );
    }
}

/// What a store does with `std::fs`; runs in a child under the shim, and is killed at the end.
#[test]
fn std_calls() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    std::env::set_current_dir(directory).unwrap();
    let options = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .clone()
    };
    let log = options().open("log").unwrap();
    log.write_all_at(b"0123456789", 0).unwrap();
    log.sync_data().unwrap();
    log.set_len(5).unwrap();
    fs::create_dir_all("d/e").unwrap();
    fs::write("d/spool", "spooled").unwrap();
    fs::rename("d/spool", "d/blob").unwrap();
    let mut source = File::open("d/blob").unwrap();
    let mut target = options().open("copy").unwrap();
    std::io::copy(&mut source, &mut target).unwrap();
    let written = target.write_vectored(&[std::io::IoSlice::new(b"x")]);
    assert_eq!(written.unwrap(), 1);
    fs::hard_link("copy", "link").unwrap();
    fs::remove_file("copy").unwrap();
    fs::remove_dir("d/e").unwrap();
    File::open(".").unwrap().sync_all().unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    // Waits to be killed.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn the_calls_of_std_are_seen() {
    let scene = Scene::new();
    run_until(&scene, "std_calls", |line| line.ends_with("ready"));
    let seen = scene.power.seen().unwrap();
    for call in [
        "open64",
        "pwrite64",
        "fdatasync",
        "ftruncate64",
        "mkdir",
        "write",
        "rename",
        "copy_file_range",
        "writev",
        "linkat",
        "unlink",
        "rmdir",
        "fsync",
    ] {
        assert!(seen.contains_key(call), "{call} is not in {seen:?}");
    }
    let found = scene.lost();
    assert_eq!(
        found,
        files(&[("d", "directory"), ("link", ""), ("log", "0123456789")])
    );
}
