//! What a backend says of itself and of its units.

use std::sync::atomic::Ordering;

use murder_model::UnitId;

use crate::harness::{Authority, json, refused};
use crate::mailboxes::{As, Mailboxes, unit_id};

/// Two units owned, and one in each other state.
async fn in_all_states(authority: &Authority) -> Mailboxes {
    let mailboxes = Mailboxes::open(authority);
    mailboxes.own("default", 1, "user.alice", 3).await;
    mailboxes.own("slow", 2, "user.bob", 1).await;
    mailboxes.own("default", 3, "user.carol", 2).await;
    mailboxes.told().await;
    mailboxes
        .put("default", 3, "user.carol", As::Released)
        .await;
    mailboxes.put("slow", 4, "user.dave", As::Creating).await;
    mailboxes.put("slow", 5, "user.erin", As::Staging).await;
    mailboxes
        .put("default", 6, "user.frank", As::Prepared)
        .await;
    mailboxes.put("slow", 7, "user.grace", As::Moved).await;
    mailboxes.put("slow", 8, "user.heidi", As::Gone).await;
    mailboxes
}

fn unit(number: u8, root: &str, partition: &str, state: &str, numbers: (u8, u8)) -> String {
    let (mailboxes, messages) = numbers;
    let (unit, bytes): (UnitId, _) = (unit_id(number), u64::from(messages) * 10);
    format!(
        r#"{{"unit":"{unit}","root":"{root}","partition":"{partition}","state":"{state}","epoch":{number},"mailboxes":{mailboxes},"messages":{messages},"bytes":{bytes}}}"#
    )
}

fn page(units: &[String], next: Option<&str>) -> String {
    let next = next.map_or_else(String::new, |next| format!(r#","next":"{next}""#));
    json(
        "200 OK",
        &format!(r#"{{"units":[{}]{next}}}"#, units.join(",")),
    )
}

#[tokio::test]
async fn the_status_counts_units_by_state() {
    let authority = Authority::new();
    let mailboxes = in_all_states(&authority).await;
    mailboxes.own("slow", 9, "user.ivan", 0).await;
    mailboxes.backend.held.store(4, Ordering::Release);
    let (node, tls) = mailboxes.admin(&authority).await;
    let version = env!("CARGO_PKG_VERSION");
    let id = mailboxes.backend.state.server_id();
    let expected = format!(
        r#"{{"name":"be-a-0","server":"be-a","role":"backend","version":"{version}","ready":false,"fence":0,"term":0,"sessions":0,"backend":{{"serverId":"{id}","incarnation":1,"cordoned":false,"deactivated":false,"units":3,"unitsInDoubt":1,"unitsStaged":2,"unitsGrace":1,"mailboxes":3,"messages":4,"bytes":40,"outbox":1,"held":4,"transferBytesPerSecond":0,"partitions":[{{"name":"default","freeBytes":610000000,"totalBytes":900000000}},{{"name":"slow","freeBytes":610000000,"totalBytes":900000000}}]}}}}"#
    );
    let answer = node.get(&tls, "/v1/status").await;
    assert_eq!(answer, json("200 OK", &expected));
}

#[tokio::test]
async fn the_status_names_a_partition_that_stopped() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    mailboxes.own("default", 1, "user.alice", 3).await;
    mailboxes.disk.fail_syncs_after(0);
    let failed = mailboxes.try_own("slow", 2, "user.bob", 0).await;
    assert!(failed.is_err());
    let (node, tls) = mailboxes.admin(&authority).await;
    let answer = node.get(&tls, "/v1/status").await;
    let failed = r#""totalBytes":900000000,"failed":""#;
    assert_eq!(answer.matches(failed).count(), 1, "{answer}");
    assert!(answer.contains(r#""units":1,"#), "{answer}");
}

#[tokio::test]
async fn units_are_listed_in_the_order_of_their_roots_in_every_state() {
    let authority = Authority::new();
    let mailboxes = in_all_states(&authority).await;
    let (node, tls) = mailboxes.admin(&authority).await;
    let all = [
        unit(1, "user.alice", "default", "Owner", (1, 3)),
        unit(2, "user.bob", "slow", "Owner", (1, 1)),
        unit(3, "user.carol", "default", "Released", (1, 2)),
        unit(4, "user.dave", "slow", "Creating", (0, 0)),
        unit(5, "user.erin", "slow", "Staging", (0, 0)),
        unit(6, "user.frank", "default", "Prepared", (0, 0)),
        unit(7, "user.grace", "slow", "Moved", (0, 0)),
    ];
    assert_eq!(node.get(&tls, "/v1/units").await, page(&all, None));
    let (one, two) = (
        page(&all[..3], Some("user.carol")),
        page(&all[3..6], Some("user.frank")),
    );
    assert_eq!(node.get(&tls, "/v1/units?limit=3").await, one);
    let path = "/v1/units?limit=3&after=user.carol";
    assert_eq!(node.get(&tls, path).await, two);
    let path = "/v1/units?after=user%2Efrank&limit=3";
    assert_eq!(node.get(&tls, path).await, page(&all[6..], None));
    let path = "/v1/units?after=user.zoe";
    assert_eq!(node.get(&tls, path).await, page(&[], None));
}

#[tokio::test]
async fn units_of_one_root_are_on_one_page() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    mailboxes.put("slow", 1, "user.alice", As::Moved).await;
    mailboxes.own("default", 2, "user.alice", 0).await;
    mailboxes.own("default", 3, "user.bob", 0).await;
    let (node, tls) = mailboxes.admin(&authority).await;
    let both = [
        unit(1, "user.alice", "slow", "Moved", (0, 0)),
        unit(2, "user.alice", "default", "Owner", (1, 0)),
    ];
    let answer = node.get(&tls, "/v1/units?limit=1").await;
    assert_eq!(answer, page(&both, Some("user.alice")));
    let rest = [unit(3, "user.bob", "default", "Owner", (1, 0))];
    let answer = node.get(&tls, "/v1/units?limit=1&after=user.alice").await;
    assert_eq!(answer, page(&rest, None));
}

#[tokio::test]
async fn a_later_page_shows_states_as_they_are_then() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    mailboxes.own("default", 1, "user.alice", 0).await;
    mailboxes.own("default", 2, "user.bob", 0).await;
    mailboxes.own("default", 3, "user.carol", 0).await;
    let (node, tls) = mailboxes.admin(&authority).await;
    let first = [unit(1, "user.alice", "default", "Owner", (1, 0))];
    let answer = node.get(&tls, "/v1/units?limit=1").await;
    assert_eq!(answer, page(&first, Some("user.alice")));
    mailboxes.put("default", 2, "user.bob", As::Gone).await;
    mailboxes.put("default", 3, "user.carol", As::Moved).await;
    let rest = [unit(3, "user.carol", "default", "Moved", (1, 0))];
    let answer = node.get(&tls, "/v1/units?after=user.alice").await;
    assert_eq!(answer, page(&rest, None));
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let authority = Authority::new();
    let mailboxes = Mailboxes::open(&authority);
    let (node, tls) = mailboxes.admin(&authority).await;
    let answer = node.get(&tls, "/v1/units?limit=0").await;
    let message = "limit is from 1 to 1000";
    assert_eq!(answer, refused("400 Bad Request", "BadRequest", message));
    let answer = node.get(&tls, "/v1/units?after=user.a.b").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
}
