//! Real nodes on the local platform: mail is delivered and read through frontends while backends are cordoned, drained,
//! taken back and deleted, and the supervisor is killed.
#![cfg(feature = "kube")]
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod harness;
mod mail;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use harness::{Local, assert_code, is_alive, kill, pids, until};
use mail::{Imap, Mailbox, deliver};

/// Users of a murder.
const USERS: u32 = 12;

fn murder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/murder.yaml")
}

fn local() -> Local {
    let operator = Path::new(env!("CARGO_BIN_EXE_murder-operator"));
    let node = operator.with_file_name("murder-node");
    let path = node.display();
    assert!(
        node.is_file(),
        "{path} is missing; cargo build -p murder-node makes it"
    );
    Local::new(node)
}

/// Starts a command without waiting for its end.
fn begin(local: &Local, arguments: &[&str]) -> Child {
    let mut command = local.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn user(number: u32) -> String {
    format!("user{number:04}")
}

fn units(local: &Local, backend: &str) -> u64 {
    local.backend(backend)["units"].as_u64().unwrap()
}

/// A message that is told from all others, of about so many bytes.
fn message(subject: &str, bytes: usize) -> String {
    let line = "The quick brown fox jumps over the lazy dog and is not seen again.\r\n";
    let body = line.repeat(bytes.div_ceil(line.len()));
    format!("From: sender@example.org\r\nSubject: {subject}\r\n\r\n{subject}\r\n{body}")
}

/// Delivers through each frontend in turn. Like a mail server, it tries again what is refused for now.
fn deliver_to(local: &Local, numbers: impl IntoIterator<Item = u32>, subject: &str, bytes: usize) {
    let frontends = local.endpoints().frontends;
    for (number, frontend) in numbers.into_iter().zip(frontends.iter().cycle()) {
        let text = message(&format!("{subject} {number}"), bytes);
        until("a delivery", || {
            let reply = deliver(&frontend.lmtp, &user(number), &text);
            let (done, later) = (reply.starts_with("250"), reply.starts_with("451"));
            assert!(done || later, "{}: {reply}", user(number));
            done
        });
    }
}

fn login(local: &Local, number: u32) -> Imap {
    let endpoints = local.endpoints();
    let frontend = &endpoints.frontends[number as usize % endpoints.frontends.len()];
    let password = std::fs::read_to_string(&endpoints.users[0].password_file).unwrap();
    Imap::login(&frontend.imap, &user(number), &password)
}

/// Everything that the users have, as read through frontends.
fn everything(local: &Local) -> BTreeMap<u32, Mailbox> {
    let read = |number| (number, login(local, number).read("INBOX"));
    (1..=USERS).map(read).collect()
}

/// Drains a backend while mail for all users comes in; gives the exit code and how many messages were delivered.
fn drain_under_load(local: &Local, backend: &str) -> (Option<i32>, usize) {
    let mut drain = begin(local, &["drain", backend]);
    let mut delivered = 0;
    let mut users = (1..=USERS).cycle();
    loop {
        if let Some(status) = drain.try_wait().unwrap() {
            return (status.code(), delivered);
        }
        deliver_to(local, users.next(), &format!("load {delivered}"), 100);
        delivered += 1;
    }
}

/// A murder from the example, with mail for all users, some of it flagged.
fn with_mail(bytes: usize) -> Local {
    let local = local();
    let users = USERS.to_string();
    let more = ["--users", &users, "--insecure-loopback"];
    assert_code(&local.up(&murder(), &more), 0);
    for subject in ["first", "second"] {
        deliver_to(&local, 1..=USERS, subject, bytes);
    }
    for number in 1..=USERS {
        let mut imap = login(&local, number);
        imap.done("SELECT INBOX");
        imap.done("UID STORE 2 +FLAGS (\\Flagged)");
    }
    local
}

#[test]
fn a_backend_is_cordoned_drained_taken_back_and_deleted_under_its_users() {
    let local = with_mail(2000);
    let status = local.status();
    assert_eq!(
        (&status["converged"], &status["problems"]),
        (&true.into(), &serde_json::json!([]))
    );
    until("every unit is counted", || {
        let all = ["be-a", "be-b", "be-c"].map(|name| units(&local, name));
        all.iter().sum::<u64>() == u64::from(USERS)
    });
    let before = everything(&local);
    assert!(before.values().all(|inbox| inbox.messages.len() == 2));

    // A cordoned backend keeps what it has and gets nothing new.
    assert_code(&local.run(&["cordon", "be-b"]), 0);
    let kept = units(&local, "be-b");
    let more = (USERS + 8).to_string();
    assert_code(&local.run(&["uncordon", "be-b"]), 0);
    assert_code(&local.up(&murder(), &["--users", &more]), 0);
    assert_code(&local.run(&["cordon", "be-b"]), 0);
    deliver_to(&local, USERS + 1..=USERS + 8, "new", 100);
    until("the new users are counted", || {
        let here = ["be-a", "be-c"].map(|name| units(&local, name));
        here.iter().sum::<u64>() + kept == u64::from(USERS) + 8
    });
    assert_eq!(units(&local, "be-b"), kept);

    // Drained while mail comes in: all of it is elsewhere, as it was, and what came is there.
    local.new_steps();
    let (code, delivered) = drain_under_load(&local, "be-b");
    assert_eq!(code, Some(0));
    assert!(delivered > 0);
    let moves = usize::try_from(kept).unwrap();
    let moves = vec!["Backend/be-b StartTransfer Spec"; moves];
    let proof = [
        "Backend/be-b RecordProof Spec",
        "Backend/be-b Deactivate Spec",
    ];
    assert_eq!(local.new_steps(), [&moves[..], &proof[..]].concat());
    assert_eq!(local.backend("be-b")["drain"], "Empty");
    assert_eq!(units(&local, "be-b"), 0);
    let after = everything(&local);
    let mut came = 0;
    for (number, inbox) in &before {
        let now = &after[number];
        assert_eq!(now.validity, inbox.validity);
        let old = now.messages.iter().take(inbox.messages.len());
        assert!(old.eq(&inbox.messages), "user {number}");
        came += now.messages.len() - inbox.messages.len();
    }
    assert_eq!(came, delivered);

    // Taken back: it gets users again when it is the only one that may.
    assert_code(&local.run(&["uncordon", "be-b"]), 0);
    assert_code(&local.run(&["cordon", "be-a"]), 0);
    let before = everything(&local);
    let volume = local.backend("be-c")["serverID"]
        .as_str()
        .unwrap()
        .to_owned();
    let pod = local.endpoints().backends[2].pid;
    assert_code(&local.run(&["delete", "be-c"]), 0);
    assert!(local.backend("be-c").is_null());
    assert!(!is_alive(pod));
    let retired = local.state().join(format!("volumes/be-c.retired-{volume}"));
    assert!(retired.is_dir());
    assert!(units(&local, "be-b") > 0);
    assert_eq!(everything(&local), before);
}

/// Whoever dies in a drain is started again, and the drain ends as if nobody had.
#[test]
fn a_drain_outlives_its_source_a_destination_and_the_master() {
    let local = with_mail(1 << 20);
    let before = everything(&local);
    let endpoints = local.endpoints();
    let names = ["be-a", "be-b", "be-c"];
    let victim = names.into_iter().max_by_key(|name| units(&local, name));
    let victim = victim.unwrap();
    let of = |wanted: &str| {
        let mut backends = endpoints.backends.iter();
        backends
            .find(|b| b.name == format!("{wanted}-0"))
            .unwrap()
            .pid
    };
    let other = names.into_iter().find(|name| *name != victim).unwrap();
    let master = endpoints.mupdate.as_ref().unwrap().pid;
    let mut drain = begin(&local, &["drain", victim, "--timeout", "100"]);
    until("a transfer runs", || {
        let line = local.backend(victim);
        line["inFlight"] != 0 || line["moved"] != 0
    });
    for pid in [of(victim), of(other), master] {
        kill(pid);
        until("all serve again", || {
            let status = local.status();
            let pods = status["backends"].as_array().unwrap().iter();
            let pods = pods
                .map(|backend| &backend["pod"])
                .chain([&status["mupdate"]]);
            !is_alive(pid)
                && pods
                    .clone()
                    .all(|pod| pod["ready"] == true && pod["pid"] != pid)
        });
    }
    assert_eq!(drain.wait().unwrap().code(), Some(0));
    assert_eq!(local.backend(victim)["drain"], "Empty");
    assert_eq!(everything(&local), before);
}

#[test]
fn a_single_server_can_be_cordoned_but_emptied_only_if_it_is() {
    let local = local();
    let single = murder().with_file_name("single/single.yaml");
    let more = ["--users", "1", "--insecure-loopback"];
    assert_code(&local.up(&single, &more), 0);
    let backend = local.endpoints().backends.remove(0);
    assert_code(&local.run(&["cordon", "be-a"]), 0);
    let reply = deliver(&backend.lmtp, "user0001", &message("too early", 100));
    assert!(reply.starts_with('4'), "{reply}");
    assert_code(&local.run(&["uncordon", "be-a"]), 0);
    let reply = deliver(&backend.lmtp, "user0001", &message("first", 100));
    assert!(reply.starts_with("250"), "{reply}");
    let drain = local.run(&["drain", "be-a"]);
    assert_code(&drain, 1);
    let error = String::from_utf8(drain.stderr).unwrap();
    assert!(error.contains("error: be-a: NoDestination: "), "{error}");
    assert_code(&local.run(&["uncordon", "be-a"]), 0);
    assert_eq!(local.status()["converged"], true);

    let password = local.endpoints().users.remove(0).password_file;
    let password = std::fs::read_to_string(password).unwrap();
    let mut imap = Imap::login(&backend.imap, "user0001", &password);
    assert_eq!(imap.read("INBOX").messages.len(), 1);
}

#[test]
fn a_supervisor_killed_in_a_drain_is_replaced_by_one_that_finishes_it() {
    let local = with_mail(1 << 20);
    let before = everything(&local);
    let running = pids(&local.endpoints());
    let victim = ["be-a", "be-b", "be-c"]
        .into_iter()
        .max_by_key(|name| units(&local, name))
        .unwrap();
    let mut drain = begin(&local, &["drain", victim]);
    until("a transfer runs", || {
        let line = local.backend(victim);
        line["inFlight"] != 0 || line["moved"] != 0
    });
    local.kill_supervisor();
    assert_eq!(drain.wait().unwrap().code(), Some(1));
    assert!(running.iter().all(|pid| is_alive(*pid)));

    // `up` makes the world equal to its files, so they say what is to be finished.
    let text = std::fs::read_to_string(murder()).unwrap();
    let head = format!("name: {victim}\nspec:\n");
    let text = text.replace(&head, &format!("{head}  desiredState: Drained\n"));
    assert_code(&local.up(&local.manifest("drained.yaml", &text), &[]), 0);
    assert_eq!(local.backend(victim)["drain"], "Empty");
    assert_eq!(units(&local, victim), 0);
    assert_eq!(pids(&local.endpoints()), running);
    assert_eq!(everything(&local), before);

    // A node that dies is started again and knows that it is empty.
    let pod = local
        .endpoints()
        .backends
        .into_iter()
        .find(|b| b.name == format!("{victim}-0"));
    kill(pod.unwrap().pid);
    until("it is empty again", || {
        let line = local.backend(victim);
        line["pod"]["restarts"] == 1 && line["drain"] == "Empty"
    });
    assert_code(&local.run(&["down", "--purge"]), 0);
    assert!(!running.iter().any(|pid| is_alive(*pid)));
    assert!(!local.state().exists());
}
