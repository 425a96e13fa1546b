//! Volume claims.

use serde_json::{Value, json};

use crate::{backend, with_murder};

fn claim(spec: Value) -> Value {
    with_murder(json!({}), |murder| murder.backend_claim(&backend(spec)))
}

/// Row 30: no collector takes a volume because its Backend is gone.
#[test]
fn row_30_a_claim_has_no_owner() {
    with_murder(json!({}), |murder| {
        for claim in [
            murder.mupdate_claim(),
            murder.backend_claim(&backend(json!({}))),
        ] {
            assert_eq!(claim["metadata"]["ownerReferences"], Value::Null);
        }
        let set = murder.backend(&backend(json!({}))).unwrap().set;
        assert_eq!(set["spec"]["volumeClaimTemplates"], Value::Null);
    });
}

/// One that somebody deletes by mistake stays until the operator lets it go.
#[test]
fn a_claim_is_held_by_a_finalizer() {
    let held = json!(["murder.rs/murder"]);
    with_murder(json!({}), |murder| {
        assert_eq!(murder.mupdate_claim()["metadata"]["finalizers"], held);
    });
    assert_eq!(claim(json!({}))["metadata"]["finalizers"], held);
}

#[test]
fn size_class_and_access_mode_are_those_of_the_spec() {
    let storage =
        json!({"size": "3Ti", "storageClassName": "fast", "accessModes": ["ReadWriteOnce"]});
    let expected = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "3Ti"}},
        "storageClassName": "fast",
    });
    assert_eq!(claim(json!({"storage": storage}))["spec"], expected);
}

/// A claim that must exist is not made: an API server refuses one without a spec.
#[test]
fn an_adopted_claim_gets_labels_and_keeps_its_spec() {
    let spec = json!({"adoptVolume": {"claimName": "old-data", "serverID": "s"}});
    let found = claim(spec.clone());
    assert_eq!(found["metadata"]["name"], "old-data");
    assert_eq!(found["metadata"]["labels"]["murder.rs/backend"], "be-a");
    assert_eq!(found["spec"], Value::Null);
    with_murder(json!({}), |murder| {
        let set = murder.backend(&backend(spec)).unwrap().set;
        let volume = &set["spec"]["template"]["spec"]["volumes"][3];
        assert_eq!(volume["persistentVolumeClaim"]["claimName"], "old-data");
    });
}
