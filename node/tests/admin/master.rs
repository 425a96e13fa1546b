//! The master's servers: read, cordoned, retired.

use std::sync::Arc;

use murder_locations::master::{Master, MasterOptions};
use murder_locations::name::Name;
use murder_locations::request::{
    Addresses, HostPort, Identity, Report, Request, Response, Role, Row, RowOp, ServerFlags,
};
use murder_model::{
    Epoch, Fence, Incarnation, MailboxId, OutboxNumber, PartitionName, RootName, ServerId,
    ServerName, Term, UnitId,
};
use murder_node::mupdate::master::{MasterHandle, MasterThread, start};
use murder_node::net::Tls;
use murder_node::telemetry::Metrics;

use crate::harness::{Authority, Parts, Running, json, refused, settings};

pub(crate) const ID_A: &str = "61616161-6161-6161-6161-616161616161";
pub(crate) const ID_B: &str = "62626262-6262-6262-6262-626262626262";

/// A master with its database in a folder.
pub(crate) struct Fixture {
    node: Running,
    operator: Tls,
    master: MasterHandle,
    thread: MasterThread,
}

impl Fixture {
    pub(crate) async fn start(authority: &Authority) -> Self {
        let path = authority.path().join("locations.redb");
        let master = Master::open(&path, MasterOptions::default()).unwrap();
        let (master, thread, _failed) = start(master, &Metrics::new()).unwrap();
        let parts = Parts {
            master: Some(master.clone()),
            ..Parts::new(settings(authority.path(), "mupdate", "mupdate"))
        };
        Self {
            node: Running::start(authority, parts).await,
            operator: authority.operator(),
            master,
            thread,
        }
    }

    /// A master to which be-a and be-b have reported; be-a has one unit with two names.
    pub(crate) async fn with_servers(authority: &Authority) -> Self {
        let fixture = Self::start(authority).await;
        // In another order than that of the names.
        for (name, byte) in [("be-b", b'b'), ("be-a", b'a')] {
            fixture.report(name, byte, 0).await;
            fixture.report(name, byte, 1).await;
            let done = Request::ReportDone {
                server_id: ServerId::from_bytes([byte; 16]),
                incarnation: Incarnation::new(4),
            };
            fixture.ask(Role::Backend, done, name).await;
        }
        let grant = Request::Grant {
            unit: UnitId::from_bytes([1; 16]),
            root: RootName::parse("user.alice").unwrap(),
            partition: PartitionName::parse("default").unwrap(),
            term: Term::new(1),
        };
        let answer = fixture.ask(Role::Backend, grant, "be-a").await;
        assert!(matches!(answer, Response::Granted(_)), "{answer:?}");
        fixture.name(1, "user.alice").await;
        fixture.name(2, "user.alice.Sent").await;
        fixture
    }

    pub(crate) async fn ask(&self, role: Role, request: Request, name: &str) -> Response {
        let name = name.to_owned();
        let who = Arc::new(Identity { name, role });
        self.master
            .submit(&who, request)
            .await
            .unwrap()
            .await
            .unwrap()
    }

    async fn report(&self, name: &str, byte: u8, promised: u64) {
        let at = |port| HostPort {
            host: "127.0.0.1".to_owned(),
            port,
        };
        let report = Request::Report(Report {
            server_id: ServerId::from_bytes([byte; 16]),
            incarnation: Incarnation::new(4),
            start_id: [byte; 16],
            addresses: Addresses {
                imap: at(1143),
                imaps: None,
                lmtp: at(2003),
                transfer: at(2006),
                admin: at(8443),
            },
            partitions: Vec::new(),
            promised_term: Term::new(promised),
        });
        self.ask(Role::Backend, report, name).await;
    }

    async fn name(&self, number: u64, name: &str) {
        let row = Request::Row(Row {
            unit: UnitId::from_bytes([1; 16]),
            epoch: Epoch::new(1),
            number: OutboxNumber::new(number),
            op: RowOp::Put {
                name: Name::from(name),
                mailbox: MailboxId::from_bytes([number as u8; 16]),
                acl: Vec::new(),
                special_use: None,
                selectable: true,
            },
        });
        let answer = self.ask(Role::Backend, row, "be-a").await;
        assert!(matches!(answer, Response::RowsApplied { .. }), "{answer:?}");
    }

    async fn post(&self, path: &str, body: &str) -> String {
        self.node.post(&self.operator, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.node.get(&self.operator, path).await
    }

    async fn stop(self) {
        self.node.stop().await;
        let thread = self.thread;
        tokio::task::spawn_blocking(|| thread.stop()).await.unwrap();
    }
}

fn server(name: &str, id: &str, flags: (bool, bool), units: u64, names: u64) -> String {
    let (cordoned, retired) = flags;
    format!(
        r#"{{"server":"{name}","serverId":"{id}","incarnation":4,"cordoned":{cordoned},"retired":{retired},"units":{units},"names":{names}}}"#
    )
}

fn servers(servers: &[String]) -> String {
    json(
        "200 OK",
        &format!(r#"{{"servers":[{}]}}"#, servers.join(",")),
    )
}

const NONE: (bool, bool) = (false, false);
const CORDONED: (bool, bool) = (true, false);
const RETIRED: (bool, bool) = (false, true);

#[tokio::test]
async fn the_status_of_a_master_has_its_own_fence_and_term() {
    let authority = Authority::new();
    let fixture = Fixture::start(&authority).await;
    let fence = Fence::new(9);
    let raise = Request::Raise { fence };
    fixture.ask(Role::Operator, raise, "operator").await;
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        r#"{{"name":"mupdate-0","server":"mupdate","role":"mupdate","version":"{version}","ready":false,"fence":9,"term":1,"sessions":0}}"#
    );
    assert_eq!(fixture.get("/v1/status").await, json("200 OK", &expected));
}

#[tokio::test]
async fn servers_are_listed_by_name_with_units_and_names() {
    let authority = Authority::new();
    let fixture = Fixture::start(&authority).await;
    assert_eq!(fixture.get("/v1/servers").await, servers(&[]));
    fixture.stop().await;
    let fixture = Fixture::with_servers(&authority).await;
    let a = server("be-a", ID_A, NONE, 1, 2);
    let b = server("be-b", ID_B, NONE, 0, 0);
    assert_eq!(fixture.get("/v1/servers").await, servers(&[a, b]));
    fixture.name(3, "user.alice.Drafts").await;
    let a = server("be-a", ID_A, NONE, 1, 3);
    // A count that took long may be told once more.
    while !fixture.get("/v1/servers").await.contains(&a) {}
}

#[tokio::test]
async fn a_cordon_is_durable_and_keeps_the_drain_epoch() {
    let authority = Authority::new();
    let fixture = Fixture::with_servers(&authority).await;
    let flags = Request::SetFlags {
        server: ServerName::parse("be-b").unwrap(),
        flags: ServerFlags {
            cordoned: false,
            drain_epoch: 12,
        },
        fence: Fence::new(1),
    };
    fixture.ask(Role::Operator, flags, "operator").await;
    let path = "/v1/servers/be-b/cordon";
    let answer = fixture.post(path, r#"{"fence":1,"cordoned":true}"#).await;
    let cordoned = server("be-b", ID_B, CORDONED, 0, 0);
    assert_eq!(answer, json("200 OK", &cordoned));
    fixture.stop().await;
    let fixture = Fixture::start(&authority).await;
    let answer = fixture.get("/v1/servers").await;
    assert!(answer.contains(&cordoned), "{answer}");
    let records = fixture.master.reader().servers().unwrap();
    let drains: Vec<_> = records
        .iter()
        .map(|record| record.flags.drain_epoch)
        .collect();
    assert_eq!(drains, [0, 12]);
    let answer = fixture.post(path, r#"{"fence":1,"cordoned":false}"#).await;
    assert_eq!(answer, json("200 OK", &server("be-b", ID_B, NONE, 0, 0)));
}

#[tokio::test]
async fn a_server_without_units_is_retired_for_ever() {
    let authority = Authority::new();
    let fixture = Fixture::with_servers(&authority).await;
    let body = format!(r#"{{"fence":1,"serverId":"{ID_B}"}}"#);
    let retired = json("200 OK", &server("be-b", ID_B, RETIRED, 0, 0));
    for _ in 0..2 {
        let answer = fixture.post("/v1/servers/be-b/retire", &body).await;
        assert_eq!(answer, retired);
    }
    let cordon = r#"{"fence":1,"cordoned":true}"#;
    let answer = fixture.post("/v1/servers/be-b/cordon", cordon).await;
    let expected = refused("409 Conflict", "Conflict", "server is retired");
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_server_with_units_or_another_identity_is_not_retired() {
    let authority = Authority::new();
    let fixture = Fixture::with_servers(&authority).await;
    let body = format!(r#"{{"fence":1,"serverId":"{ID_A}"}}"#);
    let answer = fixture.post("/v1/servers/be-a/retire", &body).await;
    let expected = refused("409 Conflict", "Conflict", "server still has 1 units");
    assert_eq!(answer, expected);
    let answer = fixture.post("/v1/servers/be-b/retire", &body).await;
    let message = format!("be-b has the identity {ID_B}, not {ID_A}");
    assert_eq!(answer, refused("409 Conflict", "Conflict", &message));
    let (a, b) = (ID_A, ID_B);
    let all = [server("be-a", a, NONE, 1, 2), server("be-b", b, NONE, 0, 0)];
    assert_eq!(fixture.get("/v1/servers").await, servers(&all));
}

#[tokio::test]
async fn lower_fences_are_refused_also_after_a_restart() {
    let authority = Authority::new();
    let mut fixture = Fixture::with_servers(&authority).await;
    let cordon = |fence| format!(r#"{{"fence":{fence},"cordoned":true}}"#);
    let answer = fixture.post("/v1/servers/be-a/cordon", &cordon(8)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for _ in 0..2 {
        let fenced = refused("409 Conflict", "Fenced", "fence 7 is below 8");
        // The fence comes first, whatever else is wrong.
        for path in ["/v1/servers/be-b/cordon", "/v1/servers/no-one/cordon"] {
            assert_eq!(fixture.post(path, &cordon(7)).await, fenced);
        }
        let body = format!(r#"{{"fence":7,"serverId":"{ID_A}"}}"#);
        let answer = fixture.post("/v1/servers/be-b/retire", &body).await;
        assert_eq!(answer, fenced);
        let answer = fixture.get("/v1/servers").await;
        let b = server("be-b", ID_B, NONE, 0, 0);
        assert!(answer.contains(&b), "{answer}");
        fixture.stop().await;
        fixture = Fixture::start(&authority).await;
    }
}

#[tokio::test]
async fn unknown_servers_and_odd_names_are_named() {
    let authority = Authority::new();
    let fixture = Fixture::with_servers(&authority).await;
    let cordon = r#"{"fence":1,"cordoned":true}"#;
    let answer = fixture.post("/v1/servers/be-c/cordon", cordon).await;
    assert_eq!(
        answer,
        refused("404 Not Found", "NotFound", "no such server")
    );
    let retire = format!(r#"{{"fence":1,"serverId":"{ID_A}"}}"#);
    let answer = fixture.post("/v1/servers/be-c/retire", &retire).await;
    assert_eq!(
        answer,
        refused("404 Not Found", "NotFound", "no such server")
    );
    let answer = fixture.post("/v1/servers/be%20c/cordon", cordon).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.contains(r#""message":"\"be c\" is not a server name"#));
    let answer = fixture.post("/v1/servers/%ff/cordon", cordon).await;
    let message = "Invalid URL: Invalid UTF-8 in `name`";
    assert_eq!(answer, refused("400 Bad Request", "BadRequest", message));
    let answer = fixture.get("/v1/units").await;
    let message = "this node has no /v1/units";
    assert_eq!(answer, refused("404 Not Found", "NotFound", message));
}

#[tokio::test]
async fn a_database_that_stopped_is_unavailable() {
    let authority = Authority::new();
    let fixture = Fixture::with_servers(&authority).await;
    let thread = fixture.thread;
    tokio::task::spawn_blocking(|| thread.stop()).await.unwrap();
    let path = "/v1/servers/be-a/cordon";
    let body = r#"{"fence":1,"cordoned":true}"#;
    let answer = fixture.node.post(&fixture.operator, path, body).await;
    let message = "the location database has stopped";
    let expected = refused("503 Service Unavailable", "Unavailable", message);
    assert_eq!(answer, expected);
}
