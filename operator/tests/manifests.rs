//! Manifests: the examples are good, and what is wrong is named with file, line, key and choice.
#![cfg(feature = "kube")]
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::Path;

use murder_operator::platform::local::manifest::Manifests;

fn refusal(text: &str) -> String {
    let mut manifests = Manifests::default();
    manifests.add(Path::new("x.yaml"), text);
    manifests.objects().unwrap_err().to_string()
}

const CLUSTER: &str =
    "apiVersion: murder.rs/v1alpha1\nkind: MurderCluster\nmetadata:\n  name: mc\n";

#[test]
fn the_examples_are_good() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let counts = [
        ("murder.yaml", 3, 1),
        ("single/single.yaml", 1, 0),
        ("unified/unified.yaml", 2, 0),
    ];
    for (file, backends, frontends) in counts {
        let mut manifests = Manifests::default();
        manifests.read(&examples.join(file));
        let objects = manifests.objects().unwrap();
        assert_eq!(
            (objects.backends.len(), objects.frontends.len()),
            (backends, frontends),
            "{file}"
        );
    }
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_known_ones() {
    let error = refusal(&format!(
        "{CLUSTER}spec:\n  update:\n    strategi: Rolling\n"
    ));
    let expected =
        "x.yaml:7: spec.update.strategi: unknown key; allowed: approvedRevision, strategy";
    assert_eq!(error, expected);
}

#[test]
fn a_wrong_choice_is_told_with_the_choices() {
    let error = refusal(&format!(
        "# a murder\n---\n{CLUSTER}spec:\n  topology: Flat\n"
    ));
    assert_eq!(
        error,
        "x.yaml:8: spec.topology: must be one of: Discrete, Unified"
    );
}

#[test]
fn bounds_and_formats_are_told() {
    let spec = "spec:\n  mupdate:\n    replicas: 2\n  transfer:\n    freezeTimeout: soon\n";
    let error = refusal(&format!("{CLUSTER}{spec}"));
    let expected = "x.yaml:7: spec.mupdate.replicas: must be at most 1\n\
        x.yaml:9: spec.transfer.freezeTimeout: must be a duration such as 500ms, 1s, 10m, 24h or 7d";
    assert_eq!(error, expected);
}

#[test]
fn no_master_is_for_a_single_unified_server_only() {
    let error = refusal(&format!("{CLUSTER}spec:\n  mupdate:\n    replicas: 0\n"));
    let expected = "x.yaml:7: spec.mupdate.replicas: mupdate.replicas 0 is for topology Unified with exactly one Backend";
    assert_eq!(error, expected);
}

#[test]
fn a_backend_of_another_murder_is_refused() {
    let backend = "---\napiVersion: murder.rs/v1alpha1\nkind: Backend\nmetadata:\n  name: be-a\nspec:\n  clusterRef:\n    name: other\n";
    let error = refusal(&format!("{CLUSTER}spec: {{}}\n{backend}"));
    let expected =
        "x.yaml:13: spec.clusterRef.name: `other` is not the MurderCluster of these files";
    assert_eq!(error, expected);
}

#[test]
fn a_missing_key_and_an_unknown_kind_are_told() {
    let backend =
        "apiVersion: murder.rs/v1alpha1\nkind: Backend\nmetadata:\n  name: be-a\nspec: {}\n";
    assert_eq!(refusal(backend), "x.yaml:5: spec: `clusterRef` is missing");
    let pod = "apiVersion: v1\nkind: Pod\n";
    assert_eq!(
        refusal(pod),
        "x.yaml:2: kind: `Pod` is not known; allowed: MurderCluster, Backend, Frontend"
    );
}
