//! Row 66: parts of a pod template that users lay over the operator's.

use murder_operator::resources::RenderError;
use serde_json::{Value, json};

use crate::{backend, frontend, with_murder};

fn template(overlay: Value) -> Result<Value, RenderError> {
    with_murder(json!({}), |murder| {
        let workload = murder.backend(&backend(json!({"podOverlay": overlay})))?;
        Ok(workload.set["spec"]["template"].clone())
    })
}

fn refusal(overlay: Value) -> (String, String) {
    let error = template(overlay).unwrap_err();
    (error.field, error.reason)
}

/// What of `after` is not in `before`, by path.
fn added(before: &Value, after: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in after {
                let path = format!("{path}/{key}");
                added(before.get(key).unwrap_or(&Value::Null), value, &path, found);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() <= after.len() => {
            for (index, value) in after.iter().enumerate() {
                let path = format!("{path}/{index}");
                added(
                    before.get(index).unwrap_or(&Value::Null),
                    value,
                    &path,
                    found,
                );
            }
        }
        _ if before == after => {}
        _ => found.push((path.to_owned(), after.clone())),
    }
}

fn added_by(overlay: Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let (before, after) = (template(json!({})).unwrap(), template(overlay).unwrap());
    added(&before, &after, "", &mut found);
    found.retain(|(path, _)| path != "/metadata/annotations/murder.rs/revision");
    found
}

fn at(path: &str, value: Value) -> (String, Value) {
    (path.to_owned(), value)
}

#[test]
fn row_66_priority_runtime_pull_secrets_and_tolerations_are_added() {
    let found = added_by(json!({"spec": {
        "priorityClassName": "mail",
        "runtimeClassName": "gvisor",
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "mail", "operator": "Exists"}],
    }}));
    let expected = [
        at("/spec/imagePullSecrets", json!([{"name": "registry"}])),
        at("/spec/priorityClassName", "mail".into()),
        at("/spec/runtimeClassName", "gvisor".into()),
        at(
            "/spec/tolerations",
            json!([{"key": "mail", "operator": "Exists"}]),
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn row_66_volumes_mounts_environment_and_containers_are_added_by_name() {
    let found = added_by(json!({
        "metadata": {"labels": {"team": "mail"}, "annotations": {"sidecar.example/inject": "false"}},
        "spec": {
            "volumes": [{"name": "extra", "emptyDir": {}}],
            "containers": [
                {"name": "node",
                 "env": [{"name": "RUST_BACKTRACE", "value": "1"}],
                 "volumeMounts": [{"name": "extra", "mountPath": "/extra"}]},
                {"name": "shipper", "image": "registry.example/shipper:1"},
            ],
        },
    }));
    let expected = [
        at(
            "/metadata/annotations/sidecar.example/inject",
            "false".into(),
        ),
        at("/metadata/labels/team", "mail".into()),
        at(
            "/spec/containers/0/env",
            json!([{"name": "RUST_BACKTRACE", "value": "1"}]),
        ),
        at(
            "/spec/containers/0/volumeMounts/5",
            json!({"name": "extra", "mountPath": "/extra"}),
        ),
        at(
            "/spec/containers/1",
            json!({"name": "shipper", "image": "registry.example/shipper:1"}),
        ),
        at("/spec/volumes/5", json!({"name": "extra", "emptyDir": {}})),
    ];
    assert_eq!(found, expected);
}

#[test]
fn objects_merge_lists_are_replaced_and_null_removes() {
    let found = template(json!({"spec": {
        "securityContext": {"fsGroup": 20000},
        "topologySpreadConstraints": [],
        "affinity": null,
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
    }}))
    .unwrap();
    let spec = &found["spec"];
    assert_eq!(spec["securityContext"]["fsGroup"], 20000);
    assert_eq!(spec["securityContext"]["runAsUser"], 10001);
    assert_eq!(spec["topologySpreadConstraints"], json!([]));
    assert_eq!(spec["affinity"], Value::Null);
    assert_eq!(
        spec["volumes"][4],
        json!({"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}})
    );
}

#[test]
fn rights_may_be_changed_as_the_namespace_decides_on_them() {
    let overlay = json!({"spec": {"containers": [
        {"name": "node", "securityContext": {"readOnlyRootFilesystem": false}},
    ]}});
    let found = template(overlay).unwrap();
    let context = &found["spec"]["containers"][0]["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], false);
    assert_eq!(context["allowPrivilegeEscalation"], false);
}

#[test]
fn what_keeps_a_server_itself_cannot_be_changed() {
    let node = |part: Value| {
        let mut node = json!({"name": "node"});
        node["volumeMounts"] = part;
        json!({"spec": {"containers": [node]}})
    };
    for (overlay, field) in [
        (
            json!({"metadata": {"labels": {"murder.rs/cluster": "other"}}}),
            "metadata.labels[murder.rs/cluster]",
        ),
        (
            json!({"metadata": {"labels": {"app.kubernetes.io/name": null}}}),
            "metadata.labels[app.kubernetes.io/name]",
        ),
        (
            json!({"metadata": {"labels": {"murder.rs/frontend": "fe"}}}),
            "metadata.labels[murder.rs/frontend]",
        ),
        (
            json!({"metadata": {"labels": null}}),
            "metadata.labels[app.kubernetes.io/component]",
        ),
        (
            json!({"metadata": {"annotations": {"murder.rs/revision": "0"}}}),
            "metadata.annotations[murder.rs/revision]",
        ),
        (
            json!({"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}),
            "spec.volumes[data]",
        ),
        (
            json!({"spec": {"volumes": [{"name": "settings", "configMap": {"name": "x"}}]}}),
            "spec.volumes[settings]",
        ),
        (
            json!({"spec": {"volumes": [{"name": "tls", "secret": null}]}}),
            "spec.volumes[tls]",
        ),
        (json!({"spec": {"volumes": null}}), "spec.volumes[accounts]"),
        (
            json!({"spec": {"containers": null}}),
            "spec.containers[node]",
        ),
        (
            node(json!([{"name": "scratch", "mountPath": "/etc/murder"}])),
            "spec.containers[node].volumeMounts[/etc/murder]",
        ),
        (
            node(json!([{"name": "scratch", "mountPath": "/etc/murder/node.yaml"}])),
            "spec.containers[node].volumeMounts[/etc/murder/node.yaml]",
        ),
        (
            node(json!([{"name": "scratch", "mountPath": "/var/lib/murder/partitions"}])),
            "spec.containers[node].volumeMounts[/var/lib/murder/partitions]",
        ),
        (
            node(json!([{"name": "scratch", "mountPath": "/etc/"}])),
            "spec.containers[node].volumeMounts[/etc/]",
        ),
        (
            node(json!([{"name": "scratch", "mountPath": "/"}])),
            "spec.containers[node].volumeMounts[/]",
        ),
    ] {
        let (found, reason) = refusal(overlay);
        assert_eq!(found, format!("spec.podOverlay.{field}"));
        assert_eq!(reason, "belongs to the operator and cannot be changed");
    }
}

#[test]
fn what_is_no_pod_template_is_refused_with_its_field() {
    for (overlay, field, reason) in [
        (
            json!({"affinity": {}}),
            "affinity",
            "a pod template has metadata and spec",
        ),
        (json!({"spec": "x"}), "spec", "is not an object"),
        (
            json!({"metadata": {"name": "x"}}),
            "metadata.name",
            "only labels and annotations of a pod template have an effect",
        ),
        (
            json!({"spec": {"containers": [{"name": "node", "$patch": "delete"}]}}),
            "spec.containers[0].$patch",
            "patch directives are not known here; null removes a field",
        ),
    ] {
        assert_eq!(
            refusal(overlay),
            (format!("spec.podOverlay.{field}"), reason.to_owned())
        );
    }
    let overlay = json!({"spec": {"priorityClassName": "mail", "tolerations": {"key": "mail"}}});
    let (field, reason) = refusal(overlay);
    assert_eq!(field, "spec.podOverlay.spec.tolerations");
    assert!(reason.starts_with("invalid type: map"), "{reason}");
}

#[test]
fn overlays_of_the_master_and_of_frontends_are_laid_too() {
    let overlay = json!({"spec": {"priorityClassName": "mail"}});
    with_murder(json!({"mupdate": {"podOverlay": overlay}}), |murder| {
        let master = murder.mupdate().unwrap();
        assert_eq!(
            master.set["spec"]["template"]["spec"]["priorityClassName"],
            "mail"
        );
        let frontend = frontend(json!({"podOverlay": overlay}));
        let frontend = murder.frontend(&frontend).unwrap();
        assert_eq!(
            frontend.set["spec"]["template"]["spec"]["priorityClassName"],
            "mail"
        );
    });
    let wrong = json!({"mupdate": {"podOverlay": {"spec": {"volumes": null}}}});
    with_murder(wrong, |murder| {
        let error = murder.mupdate().unwrap_err();
        assert_eq!(
            error.field,
            "spec.mupdate.podOverlay.spec.volumes[accounts]"
        );
    });
}
