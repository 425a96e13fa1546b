//! What each kind of node tells of itself on `/metrics`: every name, and that the values are true.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use murder_e2e::murder::{Murder, Plan};

use crate::NODE;
use crate::client::{Client, message};
use crate::moving::owner_and_other;

fn scrape(murder: &Murder, node: &str) -> String {
    let address = murder.addresses(node).unwrap().metrics;
    let mut socket = TcpStream::connect(address).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}

/// The names of a node's own metrics, whether or not they have samples yet.
fn names(scraped: &str) -> BTreeSet<&str> {
    let types = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split(' ').next());
    names
        .filter(|name| name.starts_with("murder_node_"))
        .collect()
}

fn value(scraped: &str, series: &str) -> f64 {
    let mut lines = scraped.lines();
    let found = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| unreachable!("no {series} in {scraped}"));
    found.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_tells_what_it_has() {
    let murder = Plan::discrete(NODE, 2, 1)
        .users(["alice"])
        .start()
        .await
        .unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    alice.append("INBOX", "", &message("1"));
    let (from, to) = owner_and_other(&murder, "user.alice");
    let mut admin = Client::login(&murder, "fe-0", "admin");
    admin.ok(&format!("XFER \"Other Users/alice\" {to}"));
    let everywhere = [
        "murder_node_certificate_expiry_timestamp_seconds",
        "murder_node_fenced_commands",
    ];
    let mailboxes = [
        "murder_node_mailboxes",
        "murder_node_master_connected",
        "murder_node_messages_bytes",
        "murder_node_partition_bytes",
        "murder_node_partition_failed",
        "murder_node_transfer_bytes",
        "murder_node_transfer_freeze_seconds",
        "murder_node_transfer_seconds",
        "murder_node_transfers",
        "murder_node_units",
    ];
    let routes = [
        "murder_node_master_connected",
        "murder_node_replica_lag_changes",
    ];
    let all = |more: &[&'static str]| -> BTreeSet<&str> {
        everywhere.iter().chain(more).copied().collect()
    };
    let source = scrape(&murder, &format!("{from}-0"));
    let destination = scrape(&murder, &format!("{to}-0"));
    let (frontend, master) = (scrape(&murder, "fe-0"), scrape(&murder, "mupdate-0"));
    assert_eq!(names(&source), all(&mailboxes));
    assert_eq!(names(&frontend), all(&routes));
    assert_eq!(names(&master), all(&[]));

    let expected = [
        ("murder_node_units{state=\"grace\"}", 1.0),
        ("murder_node_units{state=\"staged\"}", 0.0),
        ("murder_node_transfers_total{outcome=\"done\"}", 1.0),
        ("murder_node_transfer_seconds_count", 1.0),
        ("murder_node_transfer_freeze_seconds_count", 1.0),
        ("murder_node_partition_failed{partition=\"default\"}", 0.0),
        ("murder_node_master_connected", 1.0),
        ("murder_node_fenced_commands_total", 0.0),
    ];
    for (series, wanted) in expected {
        assert!(
            (value(&source, series) - wanted).abs() < 0.1,
            "{series}: {source}"
        );
    }
    let sent = value(&source, "murder_node_transfer_bytes_total");
    assert!(sent > 0.0);
    assert!((value(&destination, "murder_node_messages_bytes") - sent).abs() < 0.1);
    assert!(value(&destination, "murder_node_mailboxes") >= 1.0);
    assert!(value(&destination, "murder_node_units{state=\"owner\"}") >= 1.0);
    for state in ["free", "total"] {
        let series =
            format!("murder_node_partition_bytes{{partition=\"default\",state=\"{state}\"}}");
        assert!(value(&source, &series) > 0.0);
    }
    // It is behind for a moment after each change.
    let deadline = Instant::now() + Duration::from_secs(30);
    while value(&scrape(&murder, "fe-0"), "murder_node_replica_lag_changes") > 0.0 {
        assert!(Instant::now() < deadline, "the replica stays behind");
    }
    for node in [&source, &frontend, &master] {
        let expiry = "murder_node_certificate_expiry_timestamp_seconds{certificate=\"node\"}";
        assert!(value(node, expiry) > 1_700_000_000.0);
    }
}
