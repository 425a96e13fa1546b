//! The local platform over nodes that only say that they are ready: start, restart, re-adoption, scale, stop.
#![cfg(feature = "kube")]
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use murder_api::endpoints::Endpoints;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

struct Local {
    folder: tempfile::TempDir,
}

impl Local {
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_murder-operator"))
            .arg("local")
            .args(arguments)
            .arg("--state")
            .arg(self.folder.path().join("state"))
            .output()
            .unwrap()
    }

    fn up(&self, manifest: &Path) -> Output {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        self.run(&[
            "up",
            "--detach",
            "--users",
            "2",
            "--filename",
            manifest.to_str().unwrap(),
            "--endpoints",
            self.endpoints_path().to_str().unwrap(),
            "--node-binary",
            tests.join("fake_node.py").to_str().unwrap(),
        ])
    }

    fn endpoints_path(&self) -> PathBuf {
        self.folder.path().join("endpoints.json")
    }

    fn endpoints(&self) -> Endpoints {
        serde_json::from_slice(&std::fs::read(self.endpoints_path()).unwrap()).unwrap()
    }

    fn until(&self, what: &str, done: impl Fn(&Endpoints) -> bool) {
        let started = Instant::now();
        while !done(&self.endpoints()) {
            assert!(started.elapsed() < LIMIT, "{what} never happens");
            std::thread::yield_now();
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.run(&["down", "--purge"]);
    }
}

fn assert_done(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

fn kill(pid: u32) {
    let command = format!("kill -KILL {pid}");
    assert!(
        Command::new("sh")
            .args(["-c", &command])
            .status()
            .unwrap()
            .success()
    );
}

fn pids(endpoints: &Endpoints) -> Vec<u32> {
    let backends = endpoints.backends.iter().map(|backend| backend.pid);
    let frontends = endpoints.frontends.iter().map(|frontend| frontend.pid);
    backends
        .chain(frontends)
        .chain(endpoints.mupdate.iter().map(|m| m.pid))
        .collect()
}

#[test]
fn a_murder_starts_heals_is_adopted_scales_and_stops() {
    let local = Local {
        folder: tempfile::tempdir().unwrap(),
    };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    assert_done(&local.up(&examples.join("murder.yaml")));
    let first = local.endpoints();
    let names: Vec<&str> = first
        .backends
        .iter()
        .map(|backend| backend.name.as_str())
        .collect();
    assert_eq!(names, ["be-a-0", "be-b-0", "be-c-0"]);
    assert_eq!(first.frontends.len(), 2);
    let accounts = std::fs::read_to_string(local.folder.path().join("state/accounts")).unwrap();
    let users: Vec<&str> = accounts
        .lines()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(users, ["admin", "user0001", "user0002"]);

    // A node that dies comes back on its old ports.
    kill(first.backends[1].pid);
    local.until("a restart", |now| {
        now.backends[1].pid != first.backends[1].pid
    });
    let healed = local.endpoints();
    assert_eq!(healed.backends[1].imap, first.backends[1].imap);
    assert_eq!(healed.backends[0].pid, first.backends[0].pid);

    // A new supervisor finds the same nodes.
    let lock = local.folder.path().join("state/supervisor.lock");
    kill(
        std::fs::read_to_string(&lock)
            .unwrap()
            .trim()
            .parse()
            .unwrap(),
    );
    let text = std::fs::read_to_string(examples.join("murder.yaml")).unwrap();
    let fewer = local.folder.path().join("fewer.yaml");
    std::fs::write(&fewer, text.replace("replicas: 2", "replicas: 1")).unwrap();
    assert_done(&local.up(&fewer));
    local.until("scale-in", |now| now.frontends.len() == 1);
    let adopted = local.endpoints();
    let before = pids(&healed);
    assert!(pids(&adopted).iter().all(|pid| before.contains(pid)));

    assert_done(&local.run(&["down"]));
    // One that ended and that nobody waits for has no command line.
    let line = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let alive = |pid: &u32| !line(pid).is_empty();
    assert!(!pids(&adopted).iter().any(alive));
}

#[test]
fn bad_manifests_start_nothing() {
    let local = Local {
        folder: tempfile::tempdir().unwrap(),
    };
    let manifest = local.folder.path().join("bad.yaml");
    std::fs::write(&manifest, "apiVersion: murder.rs/v1alpha1\nkind: Murder\n").unwrap();
    let output = local.up(&manifest);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("bad.yaml:2: kind: `Murder` is not known"),
        "{error}"
    );
    assert!(!local.folder.path().join("state").exists());
}
