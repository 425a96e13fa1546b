//! What the operator commands backends to do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use murder_model::MoveId;
use murder_node::admin::commands::TransferRefusal;
use murder_node::server_state::ServerState;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Authority, json, read_answer, refused};
use crate::mailboxes::{As, Mailboxes};

const MOVE: &str = "000102030405060708090a0b0c0d0e0f";

fn start(fence: u64) -> String {
    format!(
        r#"{{"fence":{fence},"moveId":"{MOVE}","root":"user.alice","destination":"be-b","partition":"ssd"}}"#
    )
}

fn transfer(phase: &str) -> String {
    format!(
        r#"{{"moveId":"{MOVE}","root":"user.alice","destination":"be-b","phase":"{phase}","attempts":0,"mailboxes":0,"bytesSent":0,"bytesTotal":0,"freezeMs":0,"error":"to ssd"}}"#
    )
}

/// Whether an answer is a status of a server that is so.
fn is(answer: &str, cordoned: bool, deactivated: bool) -> bool {
    let flags = format!(r#""cordoned":{cordoned},"deactivated":{deactivated},"#);
    answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(&flags)
}

#[tokio::test]
async fn a_cordon_is_durable_before_it_is_answered() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let body = r#"{"fence":3,"cordoned":true}"#;
    let answer = node.post(&tls, "/v1/cordon", body).await;
    assert!(is(&answer, true, false), "{answer}");
    assert!(answer.contains(r#""fence":3,"#), "{answer}");
    let folder = &mailboxes.backend.settings.data_dir;
    assert!(ServerState::open(folder).unwrap().is_cordoned());
    let body = r#"{"fence":3,"cordoned":false}"#;
    let answer = node.post(&tls, "/v1/cordon", body).await;
    assert!(is(&answer, false, false), "{answer}");
    assert!(!ServerState::open(folder).unwrap().is_cordoned());
}

#[tokio::test]
async fn an_empty_server_is_deactivated_and_comes_back() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    // Copies of units that live elsewhere, and what is gone, do not keep it.
    mailboxes.put("slow", 1, "user.alice", As::Moved).await;
    mailboxes.put("slow", 2, "user.bob", As::Gone).await;
    let (node, tls) = mailboxes.admin(&authority).await;
    for _ in 0..2 {
        let answer = node.post(&tls, "/v1/deactivate", r#"{"fence":3}"#).await;
        assert!(is(&answer, true, true), "{answer}");
    }
    let folder = &mailboxes.backend.settings.data_dir;
    assert!(ServerState::open(folder).unwrap().is_deactivated());
    let body = r#"{"fence":3,"cordoned":false}"#;
    let answer = node.post(&tls, "/v1/cordon", body).await;
    assert!(is(&answer, false, false), "{answer}");
    assert!(!ServerState::open(folder).unwrap().is_deactivated());
}

#[tokio::test]
async fn a_server_that_holds_anything_is_not_deactivated() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let refused_for = async |what: &str| {
        let answer = node.post(&tls, "/v1/deactivate", r#"{"fence":3}"#).await;
        let message = format!("the server still has {what}");
        assert_eq!(answer, refused("409 Conflict", "Conflict", &message));
        assert!(!mailboxes.backend.state.is_deactivated());
        assert!(!mailboxes.backend.state.is_cordoned());
    };
    mailboxes.own("slow", 1, "user.alice", 0).await;
    refused_for("1 units, 1 names to tell the master").await;
    mailboxes.put("slow", 1, "user.alice", As::Released).await;
    mailboxes.told().await;
    refused_for("1 units in doubt").await;
    mailboxes.put("slow", 1, "user.alice", As::Prepared).await;
    refused_for("1 units staged").await;
    mailboxes.put("slow", 1, "user.alice", As::Staging).await;
    refused_for("1 units staged").await;
    mailboxes.put("slow", 1, "user.alice", As::Gone).await;
    mailboxes.backend.held.store(2, Ordering::Release);
    refused_for("2 held deliveries").await;
    mailboxes.backend.held.store(0, Ordering::Release);
    let answer = node.post(&tls, "/v1/deactivate", r#"{"fence":3}"#).await;
    assert!(is(&answer, true, true), "{answer}");
}

#[tokio::test]
async fn lower_fences_are_refused_also_after_a_restart() {
    let authority = Authority::new();
    let mut mailboxes = Mailboxes::open(&authority);
    let (mut node, mut tls) = mailboxes.admin(&authority).await;
    let body = r#"{"fence":8,"cordoned":false}"#;
    node.post(&tls, "/v1/cordon", body).await;
    let cancel = format!("/v1/transfers/{MOVE}/cancel");
    let commands = [
        ("/v1/cordon", r#"{"fence":7,"cordoned":true}"#.to_owned()),
        ("/v1/deactivate", r#"{"fence":7}"#.to_owned()),
        ("/v1/transfers", start(7)),
        (
            "/v1/transfer-rate",
            r#"{"fence":7,"bytesPerSecond":1}"#.to_owned(),
        ),
        (&cancel, r#"{"fence":7}"#.to_owned()),
    ];
    for _ in 0..2 {
        for (path, body) in &commands {
            let answer = node.post(&tls, path, body).await;
            let fenced = refused("409 Conflict", "Fenced", "fence is below 8");
            assert_eq!(answer, fenced, "{path}");
        }
        assert_eq!(node.metrics.node.fenced_commands.get(), 5);
        assert!(!mailboxes.backend.state.is_cordoned());
        assert_eq!(*mailboxes.transfers.known.lock().unwrap(), []);
        node.stop().await;
        mailboxes = Mailboxes::open(&authority);
        (node, tls) = mailboxes.admin(&authority).await;
    }
}

#[tokio::test]
async fn a_transfer_rate_counts_at_once_and_is_told() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    for rate in [1_500_000, 0] {
        let body = format!(r#"{{"fence":3,"bytesPerSecond":{rate}}}"#);
        let answer = node.post(&tls, "/v1/transfer-rate", &body).await;
        let told = format!(r#""transferBytesPerSecond":{rate},"#);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains(&told) && answer.contains(r#""fence":3,"#),
            "{answer}"
        );
        assert_eq!(mailboxes.transfers.rate.load(Ordering::Acquire), rate);
    }
    let (single, tls) = mailboxes.alone(&authority).await;
    let answer = single.post(
        &tls,
        "/v1/transfer-rate",
        r#"{"fence":3,"bytesPerSecond":9}"#,
    );
    let refusal = refused(
        "409 Conflict",
        "Conflict",
        "a single server has nobody to transfer to",
    );
    assert_eq!(answer.await, refusal);
}

#[tokio::test]
async fn a_transfer_is_started_once_listed_and_cancelled() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let none = json("200 OK", r#"{"transfers":[]}"#);
    assert_eq!(node.get(&tls, "/v1/transfers").await, none);
    for _ in 0..2 {
        let answer = node.post(&tls, "/v1/transfers", &start(1)).await;
        assert_eq!(answer, json("200 OK", &transfer("Queued")));
    }
    let one = format!(r#"{{"transfers":[{}]}}"#, transfer("Queued"));
    assert_eq!(node.get(&tls, "/v1/transfers").await, json("200 OK", &one));
    let cancel = format!("/v1/transfers/{MOVE}/cancel");
    let answer = node.post(&tls, &cancel, r#"{"fence":1}"#).await;
    assert_eq!(answer, json("200 OK", &transfer("Cancelled")));
}

#[tokio::test]
async fn refusals_of_transfers_have_a_reason() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let other = MoveId::from_bytes([0xab; 16]);
    let moved_as = "the unit is being moved as abababababababababababababababab";
    let (not_found, conflict) = ("404 Not Found", "409 Conflict");
    let refusals = [
        (
            TransferRefusal::NotFound,
            not_found,
            "NotFound",
            "no such transfer or unit",
        ),
        (
            TransferRefusal::NotOwner,
            conflict,
            "NotOwner",
            "the unit is not served here",
        ),
        (
            TransferRefusal::TooLate,
            conflict,
            "TooLate",
            "the unit has been given away already",
        ),
        (
            TransferRefusal::OtherMove(other),
            conflict,
            "OtherMove",
            moved_as,
        ),
        (
            TransferRefusal::SameServer,
            "400 Bad Request",
            "BadRequest",
            "the destination is this server",
        ),
        (
            TransferRefusal::Draining,
            "503 Service Unavailable",
            "Unavailable",
            "no transfer can begin now",
        ),
    ];
    let cancel = format!("/v1/transfers/{MOVE}/cancel");
    for (refusal, status, reason, message) in refusals {
        let expected = refused(status, reason, message);
        for (path, body) in [
            ("/v1/transfers", &start(1)),
            (&cancel, &r#"{"fence":1}"#.to_owned()),
        ] {
            *mailboxes.transfers.refusal.lock().unwrap() = Some(refusal.clone());
            assert_eq!(node.post(&tls, path, body).await, expected, "{path}");
        }
    }
    let answer = node
        .post(&tls, "/v1/transfers/1234/cancel", r#"{"fence":1}"#)
        .await;
    let message = r#"\"1234\" is not a move id (32 hexadecimal digits)"#;
    assert_eq!(answer, refused("400 Bad Request", "BadRequest", message));
}

#[tokio::test]
async fn garbage_is_refused_with_its_place_and_changes_nothing() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    for (body, message) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        (
            r#"{"fence":9}"#,
            "missing field `cordoned` at line 1 column 11",
        ),
        (
            r#"{"fence":9,"cordoned":true,"x":1}"#,
            "unknown field `x`, expected `fence` or `cordoned` at line 1 column 30",
        ),
        (
            r#"{"fence":-1,"cordoned":true}"#,
            "invalid value: integer `-1`, expected u64 at line 1 column 11",
        ),
        (
            r#"{"fence":9,"cordoned":true}}"#,
            "trailing characters at line 1 column 28",
        ),
    ] {
        let answer = node.post(&tls, "/v1/cordon", body).await;
        assert_eq!(answer, refused("400 Bad Request", "BadRequest", message));
    }
    let binary = b"POST /v1/cordon HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                   content-length: 3\r\n\r\n\xff\x00\xfe";
    let answer = node.raw(&tls, binary).await;
    let message = "expected value at line 1 column 1";
    assert_eq!(answer, refused("400 Bad Request", "BadRequest", message));
    let status = node.get(&tls, "/v1/status").await;
    assert!(is(&status, false, false), "{status}");
    assert!(status.contains(r#""fence":0,"#), "{status}");
}

#[tokio::test]
async fn a_single_server_has_no_transfers() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.alone(&authority).await;
    let none = json("200 OK", r#"{"transfers":[]}"#);
    assert_eq!(node.get(&tls, "/v1/transfers").await, none);
    let answer = node.post(&tls, "/v1/transfers", &start(1)).await;
    let message = "a single server has nobody to transfer to";
    assert_eq!(answer, refused("409 Conflict", "Conflict", message));
}

#[tokio::test]
async fn calls_in_parallel_are_all_answered() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    mailboxes.own("slow", 1, "user.alice", 1).await;
    let (node, tls) = mailboxes.admin(&authority).await;
    let node = Arc::new(node);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0_u64..48 {
        let (node, tls) = (Arc::clone(&node), tls.clone());
        calls.spawn(async move {
            match number % 4 {
                0 => node.get(&tls, "/v1/status").await,
                1 => node.get(&tls, "/v1/units").await,
                2 => node.post(&tls, "/v1/transfers", &start(5)).await,
                _ => {
                    let cordoned = number % 8 == 3;
                    let body = format!(r#"{{"fence":5,"cordoned":{cordoned}}}"#);
                    node.post(&tls, "/v1/cordon", &body).await
                }
            }
        });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.len(), 48);
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(mailboxes.transfers.known.lock().unwrap().len(), 1);
}

/// Keeps calls that start transfers waiting until it is told otherwise.
async fn keep_waiting(mailboxes: &Mailboxes) -> std::sync::mpsc::Sender<()> {
    let transfers = Arc::clone(&mailboxes.transfers);
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let (open, opened) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let gate = transfers.gate.lock().unwrap();
        locked.send(()).unwrap();
        opened.recv().unwrap();
        drop(gate);
    });
    is_locked.await.unwrap();
    open
}

#[tokio::test]
async fn commands_run_one_at_a_time_and_reads_beside_them() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let node = Arc::new(node);
    let open = keep_waiting(&mailboxes).await;
    let call = |path: &'static str, body: String| {
        let (node, tls) = (Arc::clone(&node), tls.clone());
        tokio::spawn(async move { node.post(&tls, path, &body).await })
    };
    let first = call("/v1/transfers", start(5));
    // Its fence is admitted before it waits.
    while !node.get(&tls, "/v1/status").await.contains(r#""fence":5,"#) {}
    let second = call("/v1/cordon", r#"{"fence":6,"cordoned":true}"#.to_owned());
    for _ in 0..3 {
        let status = node.get(&tls, "/v1/status").await;
        assert!(is(&status, false, false), "{status}");
        assert!(status.contains(r#""fence":5,"#), "{status}");
    }
    open.send(()).unwrap();
    let answer = first.await.unwrap();
    assert_eq!(answer, json("200 OK", &transfer("Queued")));
    let answer = second.await.unwrap();
    assert!(is(&answer, true, false), "{answer}");
}

#[tokio::test]
async fn stopping_waits_for_the_call_under_way() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let open = keep_waiting(&mailboxes).await;
    let mut stream = node.connect(&tls).await;
    let request = crate::harness::request("/v1/transfers", &start(5));
    stream.write_all(request.as_bytes()).await.unwrap();
    while !node.get(&tls, "/v1/status").await.contains(r#""fence":5,"#) {}
    let stopping = tokio::spawn(node.stop());
    open.send(()).unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer, json("200 OK", &transfer("Queued")));
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_command_ends_though_its_caller_went_away() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let open = keep_waiting(&mailboxes).await;
    let mut stream = node.connect(&tls).await;
    let request = crate::harness::request("/v1/transfers", &start(5));
    stream.write_all(request.as_bytes()).await.unwrap();
    while !node.get(&tls, "/v1/status").await.contains(r#""fence":5,"#) {}
    drop(stream);
    open.send(()).unwrap();
    let one = format!(r#"{{"transfers":[{}]}}"#, transfer("Queued"));
    while node.get(&tls, "/v1/transfers").await != json("200 OK", &one) {}
}
