//! The master's units of record, as they are listed.

use murder_locations::request::{Request, Role};
use murder_model::{PartitionName, RootName, Term, UnitId};

use crate::harness::{Authority, json, refused};
use crate::master::{Fixture, ID_A, ID_B};

fn row(number: u8, root: &str, server: &str, id: &str) -> String {
    let unit = UnitId::from_bytes([number; 16]);
    format!(
        r#"{{"unit":"{unit}","root":"{root}","server":"{server}","serverId":"{id}","partition":"default","epoch":1,"state":"Owned","confirmed":true}}"#
    )
}

fn page(rows: &[String], next: Option<u8>) -> String {
    let next = next.map(|next| format!(r#","next":"{}""#, UnitId::from_bytes([next; 16])));
    let body = format!(
        r#"{{"rows":[{}]{}}}"#,
        rows.join(","),
        next.unwrap_or_default()
    );
    json("200 OK", &body)
}

/// be-a has alice (unit 1) and carol (unit 3), be-b has bob (unit 2).
async fn three_units(authority: &Authority) -> Fixture {
    let fixture = Fixture::with_servers(authority).await;
    for (server, number, root) in [("be-b", 2, "user.bob"), ("be-a", 3, "user.carol")] {
        let grant = Request::Grant {
            unit: UnitId::from_bytes([number; 16]),
            root: RootName::parse(root).unwrap(),
            partition: PartitionName::parse("default").unwrap(),
            term: Term::new(1),
        };
        fixture.ask(Role::Backend, grant, server).await;
    }
    fixture
}

#[tokio::test]
async fn all_units_of_record_are_listed_page_by_page() {
    let authority = Authority::new();
    let fixture = three_units(&authority).await;
    let (alice, bob) = (
        row(1, "user.alice", "be-a", ID_A),
        row(2, "user.bob", "be-b", ID_B),
    );
    let carol = row(3, "user.carol", "be-a", ID_A);
    let all = [alice.clone(), bob.clone(), carol.clone()];
    assert_eq!(fixture.get("/v1/rows").await, page(&all, None));
    let first = fixture.get("/v1/rows?limit=2").await;
    assert_eq!(first, page(&[alice, bob], Some(2)));
    let after = UnitId::from_bytes([2; 16]);
    let second = fixture
        .get(&format!("/v1/rows?after={after}&limit=2"))
        .await;
    assert_eq!(second, page(&[carol], None));
}

#[tokio::test]
async fn the_unit_of_a_root_is_found_by_its_name() {
    let authority = Authority::new();
    let fixture = three_units(&authority).await;
    let bob = page(&[row(2, "user.bob", "be-b", ID_B)], None);
    assert_eq!(fixture.get("/v1/rows?root=user%2Ebob").await, bob);
    assert_eq!(fixture.get("/v1/rows?root=user.bo").await, page(&[], None));
}

#[tokio::test]
async fn broken_queries_are_refused_with_what_is_wrong() {
    let authority = Authority::new();
    let fixture = Fixture::start(&authority).await;
    for (query, message) in [
        ("limit=0", "limit is from 1 to 1000"),
        (
            "after=user.a",
            "\\\"user.a\\\" is not a unit id (32 hexadecimal digits)",
        ),
        ("root=%zz", "root is not escaped well"),
        (
            "root=a&limit=1",
            "a root has one row: no \\\"after\\\", no \\\"limit\\\"",
        ),
        (
            "before=1",
            "\\\"before\\\" is none of \\\"root\\\", \\\"after\\\" and \\\"limit\\\"",
        ),
    ] {
        let answer = fixture.get(&format!("/v1/rows?{query}")).await;
        assert_eq!(
            answer,
            refused("400 Bad Request", "BadRequest", message),
            "{query}"
        );
    }
}
