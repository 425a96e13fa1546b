//! Revision and inputs: what changes them, and what must not.

use kube::ResourceExt as _;
use murder_operator::resources::{Defaults, Murder, Workload};
use serde_json::{Value, json};

use crate::{backend, cluster, defaults, frontend, with_murder};

fn of_backend(cluster_spec: Value, backend_spec: Value) -> Workload {
    with_murder(cluster_spec, |murder| {
        murder.backend(&backend(backend_spec)).unwrap()
    })
}

fn of_frontend(cluster_spec: Value, frontend_spec: Value) -> Workload {
    with_murder(cluster_spec, |murder| {
        murder.frontend(&frontend(frontend_spec)).unwrap()
    })
}

#[test]
fn the_same_input_gives_the_same_objects() {
    assert_eq!(
        of_backend(json!({}), json!({})),
        of_backend(json!({}), json!({}))
    );
    assert_eq!(
        of_frontend(json!({}), json!({})),
        of_frontend(json!({}), json!({}))
    );
}

/// Row 51: another operator changes the revision, which then waits; it does not change what the user asked for.
#[test]
fn row_51_another_default_image_changes_the_revision_and_not_the_inputs() {
    let (cluster, backend, frontend) =
        (cluster(json!({})), backend(json!({})), frontend(json!({})));
    let render = |image: &str| {
        let defaults = Defaults {
            image: image.to_owned(),
            ..defaults()
        };
        let murder = Murder {
            cluster: &cluster,
            namespace: "mail",
            defaults: &defaults,
        };
        [
            murder.mupdate().unwrap(),
            murder.backend(&backend).unwrap(),
            murder.frontend(&frontend).unwrap(),
        ]
    };
    for (old, new) in render("murder.local/node:1")
        .into_iter()
        .zip(render("murder.local/node:2"))
    {
        assert_ne!(old.revision, new.revision);
        assert_eq!(old.inputs, new.inputs);
    }
}

/// If one of these changes, every pod of every murder restarts as soon as this operator is installed.
#[test]
fn row_51_inputs_of_known_objects_are_what_they_were() {
    let spec = json!({
        "image": "registry.example/node:7",
        "domains": ["example.org"],
        "auth": {"admins": ["postmaster"]},
        "transfer": {"gracePeriod": "48h"},
        "mupdate": {"podOverlay": {"spec": {"priorityClassName": "mail"}}},
    });
    let of_mupdate = with_murder(spec.clone(), |murder| murder.mupdate().unwrap());
    let own = json!({"partitions": ["one", "two"], "resources": {"limits": {"memory": "1Gi"}}});
    let of_be_a = of_backend(spec.clone(), own);
    let own = json!({"drainTimeout": "1m", "protocols": {"lmtp": "Disabled"}});
    let of_fe = of_frontend(spec, own);
    let found = [of_mupdate, of_be_a, of_fe, of_backend(json!({}), json!({}))];
    let found: Vec<String> = found.into_iter().map(|workload| workload.inputs).collect();
    let expected = [
        "9d4bef5a4a119335",
        "b41cd13bb9533695",
        "9f7745a68c9dae39",
        "be1a8dd792873587",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_the_user_changes_in_a_pod_changes_both_hashes() {
    let before = of_backend(json!({}), json!({}));
    for (cluster_spec, spec) in [
        (json!({"image": "registry.example/node:7"}), json!({})),
        (json!({"domains": ["example.org"]}), json!({})),
        (json!({"auth": {"admins": ["root"]}}), json!({})),
        (json!({"auth": {"secretRef": {"name": "users"}}}), json!({})),
        (json!({"transfer": {"freezeTimeout": "2s"}}), json!({})),
        (json!({}), json!({"partitions": ["default", "more"]})),
        (json!({}), json!({"resources": {"requests": {"cpu": "2"}}})),
        (
            json!({}),
            json!({"podOverlay": {"spec": {"priorityClassName": "mail"}}}),
        ),
        (
            json!({}),
            json!({"adoptVolume": {"claimName": "old", "serverID": "x"}}),
        ),
    ] {
        let case = format!("{cluster_spec} {spec}");
        let after = of_backend(cluster_spec, spec);
        assert_ne!(before.inputs, after.inputs, "{case}");
        assert_ne!(before.revision, after.revision, "{case}");
    }
}

#[test]
fn what_is_no_matter_of_pods_changes_neither_hash() {
    let before = of_backend(json!({}), json!({}));
    for (cluster_spec, spec) in [
        (json!({"paused": true}), json!({})),
        (
            json!({"transfer": {"parallelPerBackend": 9, "parallelTotal": 90}}),
            json!({}),
        ),
        (json!({"networkPolicy": {"state": "Disabled"}}), json!({})),
        (
            json!({"mupdate": {"podOverlay": {"spec": {"priorityClassName": "mail"}}}}),
            json!({}),
        ),
        (json!({}), json!({"desiredState": "Drained", "weight": 3})),
        (json!({}), json!({"storage": {"size": "20Gi"}})),
        (
            json!({}),
            json!({"nodeDrain": "Hold", "volumeRetention": "DeleteWhenEmpty"}),
        ),
    ] {
        let case = format!("{cluster_spec} {spec}");
        let after = of_backend(cluster_spec, spec);
        assert_eq!(before.inputs, after.inputs, "{case}");
        assert_eq!(before.revision, after.revision, "{case}");
    }
    let (before, after) = (
        of_frontend(json!({}), json!({"replicas": 2})),
        of_frontend(
            json!({}),
            json!({"replicas": 5, "service": {"type": "NodePort"}}),
        ),
    );
    assert_eq!(
        (before.inputs, before.revision),
        (after.inputs, after.revision)
    );
}

/// Row 70.
#[test]
fn row_70_a_wish_for_a_restart_changes_both_hashes() {
    let mut be_a = backend(json!({}));
    let mut mc = cluster(json!({}));
    let defaults = defaults();
    let mut seen = Vec::new();
    for (on_cluster, on_backend) in [
        (None, None),
        (None, Some("1")),
        (Some("1"), None),
        (Some("1"), Some("2")),
    ] {
        let set = |annotations: &mut std::collections::BTreeMap<String, String>,
                   at: Option<&str>| {
            annotations.clear();
            annotations.extend(at.map(|at| ("murder.rs/restartedAt".to_owned(), at.to_owned())));
        };
        set(mc.annotations_mut(), on_cluster);
        set(be_a.annotations_mut(), on_backend);
        let murder = Murder {
            cluster: &mc,
            namespace: "mail",
            defaults: &defaults,
        };
        let workload = murder.backend(&be_a).unwrap();
        let at = &workload.set["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(at["murder.rs/revision"], workload.revision);
        seen.push((
            workload.inputs,
            workload.revision,
            at["murder.rs/restartedAt"].clone(),
        ));
    }
    let inputs: std::collections::BTreeSet<_> = seen.iter().map(|(inputs, _, _)| inputs).collect();
    assert_eq!(inputs.len(), 4);
    let times: Vec<_> = seen.iter().map(|(_, _, at)| at.clone()).collect();
    assert_eq!(times, [Value::Null, "1".into(), "1".into(), "1 2".into()]);
}

#[test]
fn a_workload_carries_its_hashes() {
    let workload = of_backend(json!({}), json!({}));
    let annotations = &workload.set["metadata"]["annotations"];
    assert_eq!(annotations["murder.rs/inputs"], workload.inputs);
    assert_eq!(annotations["murder.rs/revision"], workload.revision);
}
