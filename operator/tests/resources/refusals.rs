//! Specs that no object can be made of: the field and the reason.

use murder_operator::resources::Owner;
use serde_json::{Value, json};

use crate::{backend, cluster, frontend, with_murder};

fn of_backend(cluster_spec: Value, spec: Value) -> String {
    with_murder(cluster_spec, |murder| {
        murder.backend(&backend(spec)).unwrap_err().to_string()
    })
}

fn of_frontend(cluster_spec: Value, spec: Value) -> String {
    with_murder(cluster_spec, |murder| {
        murder.frontend(&frontend(spec)).unwrap_err().to_string()
    })
}

#[test]
fn a_frontend_without_a_master_has_nobody_to_ask() {
    let single = json!({"topology": "Unified", "mupdate": {"replicas": 0}});
    assert_eq!(
        of_frontend(single, json!({})),
        "spec.clusterRef: MurderCluster mc has no mupdate master (mupdate.replicas is 0), which a Frontend needs to \
         find mailboxes"
    );
}

#[test]
fn settings_that_no_node_accepts_name_the_field_that_they_come_from() {
    assert_eq!(
        of_backend(json!({"domains": ["example..org"]}), json!({})),
        "spec.domains: \"example..org\" is not a domain such as example.org"
    );
    assert_eq!(
        of_backend(json!({"transfer": {"freezeTimeout": "5m"}}), json!({})),
        "spec.transfer.freezeTimeout: 300000 is not between 50 and 60000"
    );
    assert_eq!(
        of_backend(json!({"transfer": {"gracePeriod": "soon"}}), json!({})),
        "spec.transfer.gracePeriod: \"soon\" is not a duration such as 10m"
    );
    assert_eq!(
        of_backend(json!({}), json!({"partitions": ["one", "one"]})),
        "spec.partitions: two have the same name"
    );
    let error = of_backend(json!({"auth": {"admins": ["a/b"]}}), json!({}));
    assert!(
        error.starts_with("spec.auth.admins: user name a/b: "),
        "{error}"
    );
    let error = of_backend(json!({}), json!({"partitions": ["a b"]}));
    assert!(
        error.starts_with("spec.partitions: partition a b: "),
        "{error}"
    );
    assert_eq!(
        of_frontend(json!({}), json!({"drainTimeout": "a while"})),
        "spec.drainTimeout: \"a while\" is not a duration such as 5m"
    );
    assert_eq!(
        of_frontend(json!({}), json!({"drainTimeout": "2d"})),
        "spec.drainTimeout: 172800 is not between 0 and 86400"
    );
    let service = json!({"proxyProtocol": "Enabled", "proxyProtocolNetworks": ["balancer"]});
    assert_eq!(
        of_frontend(json!({}), json!({"service": service})),
        "spec.service.proxyProtocolNetworks: \"balancer\" is not `address/prefix`"
    );
}

#[test]
fn parts_of_other_apis_that_do_not_fit() {
    let error = of_backend(json!({}), json!({"resources": {"limits": 3}}));
    assert!(
        error.starts_with("spec.resources: invalid type: integer"),
        "{error}"
    );
    assert_eq!(
        of_frontend(
            json!({}),
            json!({"topologySpread": [{"maxSkew": 1, "topologyKey": "zone"}]})
        ),
        "spec.topologySpread[0]: whenUnsatisfiable is missing"
    );
    let wrong =
        json!({"maxSkew": "x", "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"});
    let error = of_frontend(json!({}), json!({"topologySpread": [wrong]}));
    assert!(
        error.starts_with("spec.topologySpread[0]: invalid type: string"),
        "{error}"
    );
    assert_eq!(
        of_frontend(json!({}), json!({"service": {"annotations": {"a": 3}}})),
        "spec.service.annotations[a]: 3 is not a string; write it in quotes"
    );
}

/// Other kinds of Services do not keep anybody out: the wish must not be lost silently.
#[test]
fn source_ranges_need_a_load_balancer() {
    let service = json!({"type": "NodePort", "sourceRanges": ["192.0.2.0/24"]});
    assert_eq!(
        of_frontend(json!({}), json!({"service": service})),
        "spec.service.sourceRanges: only a Service of type LoadBalancer keeps others out, this is NodePort"
    );
    let service = json!({"type": "LoadBalancer", "sourceRanges": ["192.0.2.0/33"]});
    assert_eq!(
        of_frontend(json!({}), json!({"service": service})),
        "spec.service.sourceRanges: \"192.0.2.0/33\" is not `address/prefix`"
    );
    assert_eq!(
        of_frontend(json!({}), json!({"lmtpTrustedNetworks": ["mta.example"]})),
        "spec.lmtpTrustedNetworks: \"mta.example\" is not `address/prefix`"
    );
}

#[test]
fn an_object_that_no_api_server_has_seen_owns_nothing() {
    let mut unseen = cluster(json!({}));
    unseen.metadata.uid = None;
    let error = Owner::of(&unseen).unwrap_err();
    assert_eq!(error.to_string(), "metadata.uid: is missing");
}
