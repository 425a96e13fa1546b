//! The master as Cyrus servers and Cyrus' own tools know it (RFC 3656).

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use murder_e2e::murder::{Murder, PASSWORD, Plan};

use crate::NODE;
use crate::client::Client;

async fn murder() -> Murder {
    let plan = Plan::discrete(NODE, 1, 1).users(["alice"]);
    plan.start().await.unwrap()
}

/// A session of an administrator of Cyrus servers.
pub(crate) fn administrator(murder: &Murder) -> Client {
    let master = murder.nodes()[0].name();
    let mut client = Client::connect(murder.addresses(master).unwrap().mupdate);
    let mut greeting = vec![client.line()];
    while !greeting.last().unwrap().starts_with("* OK MUPDATE ") {
        greeting.push(client.line());
    }
    assert!(
        greeting.contains(&"* AUTH \"PLAIN\"".to_owned()),
        "{greeting:?}"
    );
    assert!(
        greeting.last().unwrap().ends_with(" \"(master)\""),
        "{greeting:?}"
    );
    let initial = murder_proto::sasl::encode(format!("\0admin\0{PASSWORD}").as_bytes());
    let answer = client.command(&format!(
        "AUTHENTICATE \"PLAIN\" {{{}+}}\r\n{initial}",
        initial.len()
    ));
    assert_eq!(answer, ["t OK \"Authenticated\""]);
    client
}

/// All lines of an answer whose rows have the tag, too.
pub(crate) fn rows(client: &mut Client, command: &str) -> Vec<String> {
    client.send(format!("t {command}\r\n").as_bytes());
    let mut lines = Vec::new();
    loop {
        let line = client.line();
        assert!(!line.is_empty(), "the connection ended: {lines:?}");
        let ended = line.starts_with("t OK ");
        lines.push(line);
        if ended {
            return lines;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_cyrus_servers_are_reserved_activated_found_listed_and_deleted() {
    let murder = murder().await;
    let mut client = administrator(&murder);
    assert_eq!(
        client.command("FIND \"user.old\""),
        ["t OK \"Search completed\""]
    );
    assert_eq!(
        client.command("DELETE \"user.old\""),
        ["t NO \"mailbox doesn't exist\""]
    );
    let reserve = "RESERVE \"user.old\" \"cyrus1!default\"";
    assert_eq!(client.command(reserve), ["t OK \"done\""]);
    let found = rows(&mut client, "FIND \"user.old\"");
    assert_eq!(
        found,
        [
            "t RESERVE {8+}",
            "user.old {14+}",
            "cyrus1!default",
            "t OK \"Search completed\""
        ]
    );
    let activate = "ACTIVATE \"user.old\" \"cyrus1!default\" {16+}\r\nold\tlrswipkxtea\t";
    assert_eq!(client.command(activate), ["t OK \"done\""]);
    let listed = rows(&mut client, "LIST \"cyrus1!\"");
    assert_eq!(
        listed,
        [
            "t MAILBOX {8+}",
            "user.old {14+}",
            "cyrus1!default {16+}",
            "old\tlrswipkxtea\t",
            "t OK \"list complete\""
        ]
    );
    assert_eq!(client.command("DELETE \"user.old\""), ["t OK \"done\""]);
    assert_eq!(client.command("NOOP"), ["t OK \"Noop done\""]);
    assert_eq!(
        client.command("FIND user.old"),
        ["t BAD \"Extra arguments\""]
    );
    assert_eq!(client.command("LOGOUT"), ["t OK \"bye-bye\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_stream_tells_what_is_and_then_what_changes() {
    let murder = murder().await;
    let mut alice = Client::login(&murder, "fe-0", "alice");
    // Listed means told to the master.
    alice.ok("LIST \"\" \"*\"");
    let mut client = administrator(&murder);
    client.send(b"t UPDATE\r\n");
    let mut names = Vec::new();
    loop {
        let line = client.line();
        if line == "t OK \"streaming starts\"" {
            break;
        }
        if let Some(name) = line.strip_suffix(" {12+}") {
            names.push(name.to_owned());
        }
    }
    let folders = ["", ".Archive", ".Drafts", ".Junk", ".Sent", ".Trash"];
    let expected = folders.map(|folder| format!("user.alice{folder}"));
    assert_eq!(names, expected);
    alice.ok("CREATE New");
    let told = [client.line(), client.line(), client.line(), client.line()];
    assert_eq!(
        told,
        [
            "t MAILBOX {14+}",
            "user.alice.New {12+}",
            "be-a!default {18+}",
            "alice\tlrswipkxtea\t"
        ]
    );
    alice.ok("DELETE New");
    assert_eq!(
        [client.line(), client.line()],
        ["t DELETE {14+}", "user.alice.New"]
    );
    client.send(b"n NOOP\r\n");
    assert_eq!(client.line(), "n OK \"Noop done\"");
    client.send(b"f FIND \"user.alice\"\r\n");
    assert_eq!(client.line(), "f BAD \"not legal when streaming\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_do_not_let_in_who_is_no_administrator() {
    let murder = murder().await;
    let master = murder.nodes()[0].name();
    let mut client = Client::connect(murder.addresses(master).unwrap().mupdate);
    while !client.line().starts_with("* OK MUPDATE ") {}
    let initial = murder_proto::sasl::encode(format!("\0alice\0{PASSWORD}").as_bytes());
    let answer = client.command(&format!("AUTHENTICATE \"PLAIN\" \"{initial}\""));
    assert_eq!(answer, ["t NO \"authentication failure\""]);
    assert_eq!(client.command("LIST"), ["t BAD \"Please login first\""]);
    assert_eq!(
        client.command("GARBAGE \"x\""),
        ["t BAD \"Unrecognized command\""]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mupdatetest_of_cyrus_logs_in_and_asks() {
    let program = "/usr/lib/cyrus/bin/mupdatetest";
    assert!(
        std::path::Path::new(program).exists(),
        "{program} is missing: install cyrus-clients"
    );
    let murder = murder().await;
    Client::login(&murder, "fe-0", "alice").ok("LIST \"\" \"*\"");
    let port = murder
        .addresses(murder.nodes()[0].name())
        .unwrap()
        .mupdate
        .port();
    // Its service name must be known: only this process and its children see the file.
    let script = format!(
        "set -e; cp /etc/services \"$1\"; printf 'mupdate 3905/tcp\\nlmtp 24/tcp\\n' >> \"$1\"; \
         mount --bind \"$1\" /etc/services; \
         exec {program} -m PLAIN -u admin -a admin -w {PASSWORD} -p {port} 127.0.0.1"
    );
    let services = murder.folder().join("services");
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(&services)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut expect = |expected: &str| {
        let found = shown.any(|line| line.unwrap().starts_with(expected));
        assert!(found, "the output ended before {expected}");
    };
    expect("S: * OK MUPDATE ");
    expect("S: A01 OK \"Authenticated\"");
    expect("Security strength factor: ");
    // It drops what comes back while it reads more input: one question at a time.
    input.write_all(b"F01 FIND \"user.alice\"\r\n").unwrap();
    expect("F01 MAILBOX {10+}");
    expect("user.alice {12+}");
    expect("be-a!default {18+}");
    expect("F01 OK \"Search completed\"");
    input.write_all(b"L01 LOGOUT\r\n").unwrap();
    expect("L01 OK \"bye-bye\"");
    drop(input);
    child.wait().unwrap();
}
