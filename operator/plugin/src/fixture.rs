//! A murder of three Backends for tests: be-a is full, be-b is to be drained, be-c is new.

use murder_api::admin::{
    BackendStatus, NodeStatus, PartitionStatus, ServerStatus, UnitOfRecord, UnitSummary,
};
use murder_api::settings::Role;
use murder_model::{
    Epoch, Fence, Incarnation, PartitionName, RootName, ServerId, ServerName, Term, UnitId,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::murder::Murder;
use crate::nodes::{Answers, Heard};

const GIB: u64 = 1 << 30;

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn conditions(of: &[(&str, &str, &str, &str)]) -> Value {
    let all = of.iter().map(|(name, status, reason, message)| {
        json!({"type": name, "status": status, "reason": reason, "message": message,
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    });
    all.collect()
}

fn pod(name: &str, labels: Value, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"apiVersion": "v1", "kind": "Pod",
           "metadata": {"name": name, "namespace": "mail", "labels": labels},
           "spec": {"nodeName": "worker-1", "containers": []},
           "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
}

fn backend(name: &str, wish: &str, status: Value) -> Value {
    json!({"apiVersion": "murder.rs/v1alpha1", "kind": "Backend",
           "metadata": {"name": name, "namespace": "mail", "uid": name, "generation": 1},
           "spec": {"clusterRef": {"name": "mc"}, "desiredState": wish}, "status": status})
}

/// The murder mc.
pub(crate) fn murder() -> Murder {
    let draining = json!({
        "observedGeneration": 1,
        "drain": {"reason": "Spec", "total": 4, "moved": 1, "remaining": 3, "failedCount": 1,
                  "failed": [{"root": "user.bob", "attempts": 8, "lastError": "be-c refused"}]},
        "conditions": conditions(&[
            ("Ready", "True", "Serving", ""),
            ("Drained", "False", "FailedMailboxes", "1 user was given up for now"),
        ]),
    });
    let fine = json!({"observedGeneration": 1, "conditions": conditions(&[
        ("Ready", "True", "Serving", ""),
        ("Drained", "False", "NotRequested", ""),
    ])});
    let mc = json!({"apiVersion": "murder.rs/v1alpha1", "kind": "MurderCluster",
        "metadata": {"name": "mc", "namespace": "mail", "annotations": {"murder.rs/fence": "7"}},
        "spec": {},
        "status": {"conditions": conditions(&[("Ready", "True", "AllServe", "")])}});
    let fe = json!({"apiVersion": "murder.rs/v1alpha1", "kind": "Frontend",
        "metadata": {"name": "fe", "namespace": "mail"},
        "spec": {"clusterRef": {"name": "mc"}, "replicas": 2}});
    let of_frontend = json!({"murder.rs/cluster": "mc", "murder.rs/frontend": "fe"});
    let labels = json!({"murder.rs/cluster": "mc"});
    Murder {
        cluster: object(mc),
        backends: vec![
            object(backend("be-a", "Active", fine.clone())),
            object(backend("be-b", "Drained", draining)),
            object(backend("be-c", "Active", fine)),
        ],
        frontends: vec![object(fe)],
        pods: vec![
            object(pod("be-a-0", labels.clone(), true)),
            object(pod("be-b-0", labels.clone(), true)),
            object(pod("be-c-0", labels.clone(), true)),
            object(pod("fe-x1", of_frontend.clone(), true)),
            object(pod("fe-x2", of_frontend, false)),
            object(pod("mc-mupdate-0", labels, true)),
        ],
    }
}

/// Identity of a server, from the last letter of its name.
pub(crate) fn server_id(name: &str) -> ServerId {
    ServerId::from_bytes([*name.as_bytes().last().unwrap(); 16])
}

pub(crate) fn server_name(name: &str) -> ServerName {
    ServerName::parse(name).unwrap()
}

/// What every node says of itself.
pub(crate) fn node(name: &str, server: &str, role: Role) -> NodeStatus {
    NodeStatus {
        name: name.to_owned(),
        server: server_name(server),
        role,
        version: "0.1.0".to_owned(),
        ready: true,
        fence: Fence::new(7),
        term: Term::new(3),
        sessions: 5,
        backend: None,
    }
}

/// A backend that has used some of its 10 GiB.
pub(crate) fn backend_node(name: &str, units: u64, used: u64) -> Heard {
    let partition = PartitionStatus {
        name: PartitionName::parse("default").unwrap(),
        free_bytes: 10 * GIB - used,
        total_bytes: 10 * GIB,
        failed: None,
    };
    let backend: BackendStatus = object(json!({
        "serverId": server_id(name), "incarnation": 1, "cordoned": false, "deactivated": false,
        "units": units, "unitsInDoubt": 0, "unitsStaged": 0, "unitsGrace": 0,
        "mailboxes": units * 4, "messages": units * 100, "bytes": used / 2, "outbox": 0,
        "held": 0, "partitions": [partition],
    }));
    let mut status = node(&format!("{name}-0"), name, Role::Backend);
    status.backend = Some(backend);
    Heard {
        status: Some(status),
        transfers: Some(Vec::new()),
        ..Heard::default()
    }
}

/// A server as the master lists it.
pub(crate) fn server(name: &str, units: u64) -> ServerStatus {
    ServerStatus {
        server: server_name(name),
        server_id: server_id(name),
        incarnation: Incarnation::new(1),
        cordoned: false,
        retired: false,
        blocked: false,
        units,
        names: units * 4,
    }
}

/// A unit as the master has it of record.
pub(crate) fn row(number: u8, root: &str, server: &str, epoch: u64) -> UnitOfRecord {
    UnitOfRecord {
        unit: UnitId::from_bytes([number; 16]),
        root: root.to_owned(),
        server: server_name(server),
        server_id: server_id(server),
        partition: PartitionName::parse("default").ok(),
        epoch: Epoch::new(epoch),
        state: "Owned".to_owned(),
        confirmed: true,
    }
}

/// A unit, of 4 mailboxes.
pub(crate) fn unit(number: u8, root: &str, state: &str, epoch: u64, bytes: u64) -> UnitSummary {
    UnitSummary {
        unit: UnitId::from_bytes([number; 16]),
        root: RootName::parse(root).unwrap(),
        partition: PartitionName::parse("default").unwrap(),
        state: state.to_owned(),
        epoch: Epoch::new(epoch),
        mailboxes: 4,
        messages: 100,
        bytes,
    }
}

/// What the nodes of mc say; of be-b also its units.
pub(crate) fn answers() -> Answers {
    let mut be_b = backend_node("be-b", 3, 2 * GIB);
    be_b.units = Some(vec![
        unit(1, "user.alice", "Owner", 1, GIB / 2),
        unit(2, "user.bob", "Owner", 1, GIB / 4),
        unit(3, "user.carol", "Owner", 1, GIB / 4),
        unit(4, "user.dave", "Moved", 2, GIB),
    ]);
    let mut master = Heard {
        status: Some(node("mc-mupdate-0", "mc-mupdate", Role::Mupdate)),
        ..Heard::default()
    };
    master.servers = Some(vec![
        server("be-a", 9),
        server("be-b", 3),
        server("be-c", 1),
    ]);
    let frontend = Heard {
        status: Some(node("fe-x1", "fe", Role::Frontend)),
        ..Heard::default()
    };
    let silent = Heard {
        error: Some("fe-x2 did not answer in 5s".to_owned()),
        ..Heard::default()
    };
    Answers::from([
        (
            "be-a-0".to_owned(),
            backend_node("be-a", 9, 9 * GIB + GIB / 2),
        ),
        ("be-b-0".to_owned(), be_b),
        ("be-c-0".to_owned(), backend_node("be-c", 1, GIB / 10)),
        ("fe-x1".to_owned(), frontend),
        ("fe-x2".to_owned(), silent),
        ("mc-mupdate-0".to_owned(), master),
    ])
}
