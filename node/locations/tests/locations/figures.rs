//! What things cost: pages, where a test can hold them to it, and rates on request.
//!
//! `cargo test -p murder-locations --release -- --ignored --nocapture figures`

use std::ops::ControlFlow;
use std::time::Instant;

use murder_locations::master::{Master, MasterOptions};
use murder_locations::replica::{Replica, ReplicaOptions, Viewer};
use murder_locations::request::*;
use murder_model::*;
use tempfile::tempdir;

use crate::support::*;

/// A replica of `count` users, of whom `alice` sees four names.
fn replica_of(count: u32) -> Replica {
    let mut replica = Replica::in_memory(&ReplicaOptions::default()).unwrap();
    let term = Term::new(1);
    replica
        .apply(vec![StreamItem::SnapshotBegin { term }])
        .unwrap();
    let name = |name: String, acl: String| {
        Change::Name(NameRecord {
            name: Name::from(name.as_str()),
            unit: unit_id("u"),
            epoch: Epoch::new(1),
            number: OutboxNumber::new(1),
            mailbox: MailboxId::from_bytes([7; 16]),
            acl: acl.into_bytes(),
            special_use: None,
            selectable: true,
            cyrus: None,
        })
    };
    let mut part: Vec<_> = ["user.alice", "user.alice.Sent", "user.alice.Trash"]
        .map(|own| name(own.to_owned(), "alice\tlrswipkxtea\t".to_owned()))
        .to_vec();
    part.push(name("shared.team".to_owned(), "alice\tlr\t".to_owned()));
    for number in 0..count {
        let acl = format!("u{number:07}\tlrswipkxtea\t");
        part.push(name(format!("user.u{number:07}"), acl));
        if part.len() == 5000 {
            replica
                .apply(vec![StreamItem::SnapshotPart(std::mem::take(&mut part))])
                .unwrap();
        }
    }
    let position = Position { term, seq: 1 };
    replica
        .apply(vec![
            StreamItem::SnapshotPart(part),
            StreamItem::SnapshotEnd { position },
        ])
        .unwrap();
    replica
}

/// Names that alice sees, and pages read for it.
fn list(replica: &Replica) -> (usize, u64) {
    let reader = replica.reader();
    let before = reader.pages_read();
    let mut seen = 0;
    reader
        .visible(&Viewer::new("alice", &[]), None, &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    (seen, reader.pages_read() - before)
}

#[test]
fn a_listing_costs_what_the_user_sees_and_not_what_exists() {
    let (few, many) = (list(&replica_of(500)), list(&replica_of(20_000)));
    assert_eq!((few.0, many.0), (4, 4));
    // Each of ten descents may go one page deeper.
    assert!(many.1 <= few.1 + 10, "{} pages, then {}", few.1, many.1);
}

#[test]
#[ignore = "prints rates of this machine"]
fn rates() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("locations.redb");
    let mut master = Master::open(&path, MasterOptions::default()).unwrap();
    Server::new("be-a").report(&mut master);
    grant(&mut master, "be-a", "user.alice");
    for size in [1_u64, 16, 128, 1024] {
        let (start, rows) = (Instant::now(), size * if size == 1 { 200 } else { 20 });
        for first in (0..rows).step_by(size as usize) {
            let batch = (first..first + size)
                .map(|number| {
                    let name = format!("user.alice.{size}.{number}");
                    row(
                        "be-a",
                        "user.alice",
                        1,
                        size * 100_000 + number,
                        put(&name, "alice\tlr\t"),
                    )
                })
                .collect();
            master.batch(batch).unwrap();
        }
        let rate = rows as f64 / start.elapsed().as_secs_f64();
        println!("rows/s in batches of {size}: {rate:.0}");
    }
    let activate = |number: u32| {
        let request = Request::Activate {
            name: Name::from(format!("user.c{number:07}").as_str()),
            location: b"be1!default".to_vec(),
            acl: b"c\tlrswipkxtecda\t".to_vec(),
        };
        (cyrus(), request)
    };
    for first in (0..100_000).step_by(1000) {
        master
            .batch((first..first + 1000).map(activate).collect())
            .unwrap();
    }
    let start = Instant::now();
    for first in (0..20_000).step_by(128) {
        master
            .batch((first..first + 128).map(|n| activate(n * 5)).collect())
            .unwrap();
    }
    let rate = 20_000.0 / start.elapsed().as_secs_f64();
    println!("ACTIVATE/s at 100,000 rows in batches of 128: {rate:.0}");
    for count in [10_000, 100_000, 1_000_000] {
        let (seen, pages) = list(&replica_of(count));
        println!("a user who sees {seen} of {count} names: {pages} pages read");
    }
}
