//! What slow, silent and greedy clients get, and that they delay nobody.

use std::time::Duration;

use murder_locations::master::{Master, MasterOptions};
use murder_node::admin::Limits;
use murder_node::mupdate::master::start;
use murder_node::telemetry::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Authority, Parts, Running, read_answer, refused, request, settings};

/// A time after which a test waits for a client to be dropped.
const SHORT: Duration = Duration::from_millis(1500);

const CORDON: &str = "/v1/servers/be-a/cordon";

async fn mupdate(authority: &Authority, limits: Limits) -> Running {
    let settings = settings(authority.path(), "mupdate", "mupdate");
    let master = Master::in_memory(MasterOptions::default()).unwrap();
    let parts = Parts {
        master: Some(start(master, &Metrics::new()).unwrap().0),
        limits,
        ..Parts::new(settings)
    };
    Running::start(authority, parts).await
}

#[tokio::test]
async fn half_a_head_is_dropped_and_delays_nobody() {
    let authority = Authority::new();
    let limits = Limits {
        head: SHORT,
        ..Limits::default()
    };
    let node = mupdate(&authority, limits).await;
    let tls = authority.operator();
    let mut silent = node.connect(&tls).await;
    silent.write_all(b"GET /v1/status HT").await.unwrap();
    let answer = node.get(&tls, "/v1/status").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let mut one = [0];
    let open = tokio::time::timeout(Duration::ZERO, silent.read(&mut one)).await;
    assert!(open.is_err(), "the silent one is dropped by time only");
    let mut rest = Vec::new();
    // Dropped without the end of TLS.
    assert!(silent.read_to_end(&mut rest).await.is_err());
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_dropped() {
    let authority = Authority::new();
    let limits = Limits {
        handshake: SHORT,
        ..Limits::default()
    };
    let node = mupdate(&authority, limits).await;
    let mut socket = TcpStream::connect(node.address).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_connection_ends_after_its_time_whatever_it_does() {
    let authority = Authority::new();
    let limits = Limits {
        connection: SHORT,
        ..Limits::default()
    };
    let node = mupdate(&authority, limits).await;
    let mut stream = node.connect(&authority.operator()).await;
    let request = b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let authority = Authority::new();
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let node = mupdate(&authority, limits).await;
    let tls = authority.operator();
    let first = node.connect(&tls).await;
    let socket = TcpStream::connect(node.address).await.unwrap();
    assert!(tls.connect("localhost", socket).await.is_err());
    drop(first);
    // The slot comes free when the node has noticed.
    loop {
        let socket = TcpStream::connect(node.address).await.unwrap();
        if tls.connect("localhost", socket).await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn too_large_heads_are_refused() {
    let authority = Authority::new();
    let node = mupdate(&authority, Limits::default()).await;
    let tls = authority.operator();
    let large = format!(
        "GET /v1/status HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let answer = node.raw(&tls, large.as_bytes()).await;
    let status = "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    assert!(answer.starts_with(status), "{answer}");
    let many = format!("GET /v1/status HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(65));
    let answer = node.raw(&tls, many.as_bytes()).await;
    assert!(answer.starts_with(status), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let authority = Authority::new();
    let node = mupdate(&authority, Limits::default()).await;
    let answer = node.raw(&authority.operator(), b"a1 LOGOUT\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn many_requests_on_one_connection_are_answered_in_order() {
    let authority = Authority::new();
    let node = mupdate(&authority, Limits::default()).await;
    let pipelined = "GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n\
                     GET /v1/nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = node.raw(&authority.operator(), pipelined.as_bytes()).await;
    let statuses: Vec<_> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, text)| &answer[at + text.len()..at + text.len() + 3])
        .collect();
    assert_eq!(statuses, ["200", "404"]);
}

#[tokio::test]
async fn stopping_ends_idle_connections() {
    let authority = Authority::new();
    let node = mupdate(&authority, Limits::default()).await;
    let mut idle = node.connect(&authority.operator()).await;
    node.stop().await;
    assert_eq!(read_answer(&mut idle).await, "");
}

#[tokio::test]
async fn too_large_bodies_are_refused_announced_or_not() {
    let authority = Authority::new();
    let node = mupdate(&authority, Limits::default()).await;
    let tls = authority.operator();
    let expected = refused(
        "413 Payload Too Large",
        "TooLarge",
        "the body has more than 65536 bytes",
    );
    let body = "x".repeat(65_537);
    assert_eq!(node.post(&tls, CORDON, &body).await, expected);
    let chunked = format!(
        "POST {CORDON} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(node.raw(&tls, chunked.as_bytes()).await, expected);
    // One byte less is read, and found to be no JSON.
    let answer = node.post(&tls, CORDON, &body[1..]).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn half_a_body_is_dropped_and_delays_nobody() {
    let authority = Authority::new();
    let limits = Limits {
        body: SHORT,
        ..Limits::default()
    };
    let node = mupdate(&authority, limits).await;
    let tls = authority.operator();
    let request = request(CORDON, r#"{"fence":1,"cordoned":true}"#);
    let mut silent = node.connect(&tls).await;
    let half = &request.as_bytes()[..request.len() - 5];
    silent.write_all(half).await.unwrap();
    let answer = node
        .post(&tls, CORDON, r#"{"fence":1,"cordoned":true}"#)
        .await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    let message = "the body did not arrive in time";
    let expected = refused("408 Request Timeout", "TooSlow", message);
    assert_eq!(read_answer(&mut silent).await, expected);
}
