//! The local platform over nodes that have no mail but an admin interface: start, restart, re-adoption, scale, drain,
//! take back, delete, stop.
#![cfg(feature = "kube")]
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod harness;
mod histories;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use harness::{Local, assert_code, is_alive, kill, pids, until};
use histories::{
    CREATE, DELETE, DRAIN, DRAIN_WITHOUT_END, SCALE, TAKE_BACK_EMPTY, TAKE_BACK_MOVING,
};

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

fn local() -> Local {
    Local::new(tests().join("fake_node.py"))
}

fn murder() -> PathBuf {
    tests().join("../../examples/murder.yaml")
}

/// A murder of the given Backends, each with more lines of its spec.
fn manifest(cluster: &str, backends: &[(&str, &str)], frontends: u32) -> String {
    let head = |kind: &str, name: &str| {
        format!("apiVersion: murder.rs/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n")
    };
    let of = "  clusterRef:\n    name: mc\n";
    let mut text = format!("{}{cluster}", head("MurderCluster", "mc"));
    for (name, spec) in backends {
        text.push_str(&format!("---\n{}{of}{spec}", head("Backend", name)));
    }
    let frontend = head("Frontend", "fe");
    text + &format!("---\n{frontend}{of}  replicas: {frontends}\n")
}

/// Puts a user on a backend.
fn give(local: &Local, backend: &str, user: &str, bytes: u64) {
    let pod = format!("{backend}-0");
    let endpoints = local.endpoints();
    let mut backends = endpoints.backends.iter();
    let port = backends.find(|b| b.name == pod).unwrap().metrics.port;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let path = format!("/fake/units?root=user.{user}&bytes={bytes}");
    write!(stream, "POST {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_murder_starts_heals_is_adopted_scales_and_stops() {
    let local = local();
    assert_code(&local.up(&murder(), &["--users", "2"]), 0);
    let first = local.endpoints();
    let names = first.backends.iter().map(|backend| backend.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["be-a-0", "be-b-0", "be-c-0"]);
    assert_eq!(first.frontends.len(), 2);
    let accounts = std::fs::read_to_string(local.state().join("accounts")).unwrap();
    let users = accounts.lines().filter_map(|line| line.split(':').next());
    let expected = ["admin", "user0001", "user0002"];
    assert_eq!(users.collect::<Vec<_>>(), expected);

    // A node that dies comes back on its old ports.
    kill(first.backends[1].pid);
    until("a restart", || {
        local.endpoints().backends[1].pid != first.backends[1].pid
    });
    let healed = local.endpoints();
    assert_eq!(healed.backends[1].imap, first.backends[1].imap);
    assert_eq!(healed.backends[0].pid, first.backends[0].pid);

    // A new supervisor finds the same nodes.
    local.kill_supervisor();
    let text = std::fs::read_to_string(murder()).unwrap();
    let fewer = local.manifest("fewer.yaml", &text.replace("replicas: 2", "replicas: 1"));
    assert_code(&local.up(&fewer, &[]), 0);
    until("scale-in", || local.endpoints().frontends.len() == 1);
    let adopted = local.endpoints();
    let before = pids(&healed);
    assert!(pids(&adopted).iter().all(|pid| before.contains(pid)));

    assert_code(&local.run(&["down"]), 0);
    assert!(!pids(&adopted).into_iter().any(is_alive));

    // What begins while the old supervisor still ends waits for that.
    assert_code(&local.up(&fewer, &[]), 0);
    assert_code(&local.run(&["down"]), 0);
    assert_code(&local.run(&["down", "--purge"]), 0);
    assert!(!local.state().exists());
}

#[test]
fn the_steps_are_those_of_the_simulation() {
    let local = local();
    let two = manifest(
        "  maxConcurrentDrains: 1\n",
        &[("be-a", ""), ("be-b", "")],
        2,
    );
    assert_code(&local.up(&local.manifest("two.yaml", &two), &[]), 0);
    assert_eq!(local.new_steps(), CREATE);
    let backends = [("be-a", ""), ("be-b", ""), ("be-c", "")];
    let three = manifest("  maxConcurrentDrains: 1\n", &backends, 1);
    assert_code(&local.up(&local.manifest("three.yaml", &three), &[]), 0);
    assert_eq!(local.new_steps(), SCALE);

    give(&local, "be-a", "alice", 10);
    give(&local, "be-a", "bob", 20);
    assert_code(&local.run(&["drain", "be-a"]), 0);
    assert_eq!(local.new_steps(), DRAIN);
    assert_eq!(local.backend("be-a")["drain"], "Empty");
    assert_code(&local.run(&["uncordon", "be-a"]), 0);
    assert_eq!(local.new_steps(), TAKE_BACK_EMPTY);

    // Whoever came from be-a may be on be-b, so be-b is emptied first.
    assert_code(&local.run(&["drain", "be-b"]), 0);
    assert_code(&local.run(&["uncordon", "be-b"]), 0);
    local.new_steps();
    give(&local, "be-b", "slow", 10);
    let drain = local.run(&["drain", "be-b", "--timeout", "1"]);
    assert_code(&drain, 1);
    assert!(
        stderr(&drain).contains("not done in 1 s"),
        "{}",
        stderr(&drain)
    );
    assert_eq!(local.new_steps(), DRAIN_WITHOUT_END);
    assert_code(&local.run(&["uncordon", "be-b"]), 0);
    assert_eq!(local.new_steps(), TAKE_BACK_MOVING);
    assert_eq!(local.backend("be-b")["units"], 1);

    assert_code(&local.run(&["drain", "be-c"]), 0);
    assert_code(&local.run(&["uncordon", "be-c"]), 0);
    local.new_steps();
    give(&local, "be-c", "carol", 10);
    assert_code(&local.run(&["delete", "be-c"]), 0);
    assert_eq!(local.new_steps(), DELETE);
    assert!(local.backend("be-c").is_null());
    let volumes = std::fs::read_dir(local.state().join("volumes")).unwrap();
    let mut names = volumes.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|name| name.starts_with("be-c.retired-")));
}

#[test]
fn a_drain_that_needs_help_says_why_and_can_be_asked_for_again() {
    let local = local();
    assert_code(&local.up(&murder(), &[]), 0);
    give(&local, "be-a", "broken", 10);
    give(&local, "be-a", "alice", 10);
    for _ in 0..2 {
        let drain = local.run(&["drain", "be-a"]);
        assert_code(&drain, 1);
        let expected =
            "error: be-a: FailedMailboxes: user.broken could not be moved: digests differ\n";
        assert!(stderr(&drain).ends_with(expected), "{}", stderr(&drain));
        let steps = local.new_steps();
        let started = steps.iter().filter(|step| step.contains("StartTransfer"));
        assert!(started.count() >= 8, "{steps:#?}");
    }
    let failed = &local.backend("be-a")["failed"][0];
    assert_eq!(failed["root"], "user.broken");
    assert_eq!(failed["attempts"], 8);
    assert_eq!(local.backend("be-a")["units"], 1);

    let unknown = local.run(&["drain", "be-x"]);
    assert_code(&unknown, 2);
    let expected = "error: there is no Backend be-x; known: be-a, be-b, be-c\n";
    assert_eq!(stderr(&unknown), expected);
}

#[test]
fn a_volume_is_deleted_by_policy_after_the_grace_period() {
    let local = local();
    let volume = |name: &str| local.state().join("volumes").join(name);
    let kept = "  transfer:\n    gracePeriod: 2h\n";
    let policy = "  volumeRetention: DeleteWhenEmpty\n";
    let backends = [("be-a", ""), ("be-b", policy)];
    let text = manifest(kept, &backends, 1);
    assert_code(&local.up(&local.manifest("all.yaml", &text), &[]), 0);
    give(&local, "be-b", "alice", 10);
    let delete = local.run(&["delete", "be-b"]);
    assert_code(&delete, 0);
    let expected = "be-b is retired and stopped; its volume is deleted in 1";
    assert!(stderr(&delete).contains(expected), "{}", stderr(&delete));
    assert!(volume("be-b").exists());
    assert_eq!(local.status()["converged"], true);
    assert_eq!(local.backend("be-b")["drain"], "ReleaseVolume");
    assert_eq!(local.backend("be-a")["units"], 1);
}

#[test]
fn plaintext_stays_allowed_until_it_is_forbidden() {
    let local = local();
    let allowed = || {
        let settings = local.state().join("nodes/be-a-0/settings.yaml");
        let text = std::fs::read_to_string(settings).unwrap();
        text.contains("insecureLoopback: true\n")
    };
    let text = manifest(
        "  topology: Unified\n  mupdate:\n    replicas: 0\n",
        &[("be-a", "")],
        0,
    );
    let text = text
        .split("---\napiVersion: murder.rs/v1alpha1\nkind: Frontend")
        .next()
        .unwrap()
        .to_owned();
    let single = local.manifest("single.yaml", &text);
    assert_code(&local.up(&single, &["--insecure-loopback"]), 0);
    assert!(allowed());
    assert_code(&local.up(&single, &[]), 0);
    assert!(allowed());
    assert_code(&local.up(&single, &["--insecure-loopback=false"]), 0);
    assert!(!allowed());
}

#[test]
fn bad_manifests_start_nothing() {
    let local = local();
    let text = "apiVersion: murder.rs/v1alpha1\nkind: Murder\n";
    let output = local.up(&local.manifest("bad.yaml", text), &[]);
    assert_code(&output, 2);
    let expected = "bad.yaml:2: kind: `Murder` is not known";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    assert!(!local.state().exists());
}
