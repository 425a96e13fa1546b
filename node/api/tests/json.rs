//! The JSON that scripts read, in full: a renamed key here breaks somebody's tool.

use murder_api::admin::{
    BackendStatus, NodeStatus, PartitionStatus, SetCordon, TransferPhase, UnitPage,
};
use murder_api::endpoints::{
    Account, Address, BackendEndpoint, Endpoints, FrontendEndpoint, MupdateEndpoint,
};
use murder_api::settings::Role;
use murder_model::{Fence, Incarnation, ServerId, Term};
use serde_json::json;

fn local(port: u16) -> Address {
    Address {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

fn account(user: &str) -> Account {
    Account {
        user: user.to_owned(),
        password_file: format!("state/{user}.password").into(),
    }
}

#[test]
fn endpoints_have_the_documented_keys() {
    let endpoints = Endpoints {
        frontends: vec![FrontendEndpoint {
            name: "fe-0".to_owned(),
            pid: 11,
            imap: local(1),
            imaps: local(2),
            lmtp: local(3),
            admin: local(4),
            metrics: local(5),
        }],
        backends: vec![BackendEndpoint {
            name: "be-a-0".to_owned(),
            pid: 12,
            imap: local(6),
            imaps: local(7),
            lmtp: local(8),
            admin: local(9),
            metrics: local(10),
            transfer: local(11),
            data_dir: "state/be-a-0".into(),
        }],
        mupdate: Some(MupdateEndpoint {
            host: "127.0.0.1".to_owned(),
            port: 12,
            pid: 13,
            admin: local(13),
            metrics: local(14),
        }),
        ca: "state/ca.pem".into(),
        admin: account("admin"),
        users: vec![account("user0001")],
    };
    let at = |port: u16| json!({"host": "127.0.0.1", "port": port});
    let expected = json!({
        "frontends": [{
            "name": "fe-0", "pid": 11, "imap": at(1), "imaps": at(2), "lmtp": at(3),
            "admin": at(4), "metrics": at(5),
        }],
        "backends": [{
            "name": "be-a-0", "pid": 12, "imap": at(6), "imaps": at(7), "lmtp": at(8),
            "admin": at(9), "metrics": at(10), "transfer": at(11), "dataDir": "state/be-a-0",
        }],
        "mupdate": {
            "host": "127.0.0.1", "port": 12, "pid": 13, "admin": at(13), "metrics": at(14),
        },
        "ca": "state/ca.pem",
        "admin": {"user": "admin", "passwordFile": "state/admin.password"},
        "users": [{"user": "user0001", "passwordFile": "state/user0001.password"}],
    });
    assert_eq!(serde_json::to_value(&endpoints).unwrap(), expected);
    assert_eq!(
        serde_json::from_value::<Endpoints>(expected).unwrap(),
        endpoints
    );
}

#[test]
fn a_single_server_has_no_mupdate_key() {
    let text = r#"{"frontends":[],"backends":[],"ca":"ca.pem","admin":{"user":"admin","passwordFile":"p"},"users":[]}"#;
    let endpoints: Endpoints = serde_json::from_str(text).unwrap();
    assert_eq!(endpoints.mupdate, None);
    assert_eq!(serde_json::to_string(&endpoints).unwrap(), text);
}

#[test]
fn a_backend_says_what_emptiness_is_judged_by() {
    let status = NodeStatus {
        name: "be-a-0".to_owned(),
        server: "be-a".parse().unwrap(),
        role: Role::Backend,
        version: "0.1.0".to_owned(),
        ready: true,
        fence: Fence::new(7),
        term: Term::new(1),
        sessions: 2,
        backend: Some(BackendStatus {
            server_id: ServerId::from_bytes([0xab; 16]),
            incarnation: Incarnation::new(3),
            cordoned: true,
            deactivated: false,
            units: 0,
            units_in_doubt: 1,
            units_staged: 0,
            units_grace: 4,
            mailboxes: 0,
            messages: 0,
            bytes: 0,
            outbox: 5,
            held: 6,
            transfer_bytes_per_second: 1_000_000,
            partitions: vec![PartitionStatus {
                name: "default".parse().unwrap(),
                free_bytes: 10,
                total_bytes: 20,
                failed: None,
            }],
        }),
    };
    let expected = json!({
        "name": "be-a-0", "server": "be-a", "role": "backend", "version": "0.1.0", "ready": true,
        "fence": 7, "term": 1, "sessions": 2,
        "backend": {
            "serverId": "abababab-abab-abab-abab-abababababab", "incarnation": 3, "cordoned": true,
            "deactivated": false, "units": 0, "unitsInDoubt": 1, "unitsStaged": 0,
            "unitsGrace": 4, "mailboxes": 0, "messages": 0, "bytes": 0, "outbox": 5, "held": 6,
            "transferBytesPerSecond": 1_000_000,
            "partitions": [{"name": "default", "freeBytes": 10, "totalBytes": 20}],
        },
    });
    assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    assert_eq!(
        serde_json::from_value::<NodeStatus>(expected).unwrap(),
        status
    );
}

#[test]
fn commands_without_a_fence_or_with_strange_keys_are_refused() {
    assert!(serde_json::from_str::<SetCordon>(r#"{"fence":1,"cordoned":true}"#).is_ok());
    for text in [
        r#"{"cordoned":true}"#,
        r#"{"fence":1,"cordoned":true,"force":true}"#,
        r#"{"fence":-1,"cordoned":true}"#,
        r#"{"fence":"1","cordoned":true}"#,
    ] {
        assert!(serde_json::from_str::<SetCordon>(text).is_err(), "{text}");
    }
}

#[test]
fn the_last_page_has_no_next() {
    let page: UnitPage = serde_json::from_str(r#"{"units":[]}"#).unwrap();
    assert_eq!(page.next, None);
    assert_eq!(serde_json::to_string(&page).unwrap(), r#"{"units":[]}"#);
    let phase = serde_json::to_string(&TransferPhase::CatchingUp).unwrap();
    assert_eq!(phase, r#""CatchingUp""#);
}
