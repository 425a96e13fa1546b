//! `kubectl murder`.

use std::time::Duration;

use murder_e2e::kube::{KubeMurder, USERS, condition};
use serde_json::Value;

use crate::load::under_load;
use crate::{kube, manifests};

const LIMIT: Duration = Duration::from_secs(120);

/// `kubectl murder …` that ends with 0, in the murder's namespace.
async fn murder_says(murder: &KubeMurder, arguments: &[&str]) -> String {
    let mut all = vec!["murder"];
    all.extend(arguments);
    all.extend(["-n", &murder.namespace]);
    murder.kube.kubectl_waiting(&all).await.unwrap()
}

/// The same, for programs.
async fn answer(murder: &KubeMurder, arguments: &[&str]) -> Value {
    let text = murder_says(murder, &[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

/// Row 57: every command does what it says, and answers people and programs.
#[tokio::test]
async fn the_plugin_looks_finds_moves_and_empties() {
    let kube = kube().await;
    let text = manifests(&["be-a", "be-b"]);
    let murder = KubeMurder::up(&kube, "e2e-plugin", &text, USERS)
        .await
        .unwrap();
    under_load(&murder, async { Ok(()) }).await;
    status_in_every_format(&murder).await;
    a_user_is_found_and_moved(&murder).await;
    a_backend_is_closed_emptied_and_opened(&murder).await;
    let verified = answer(&murder, &["verify"]).await;
    let nothing = Value::Array(Vec::new());
    assert_eq!(verified["findings"], nothing, "{verified}");
    assert_eq!(verified["unknown"], nothing, "{verified}");
    let page = murder_says(&murder, &["verify"]).await;
    assert!(page.ends_with("Everything fits.\n"), "{page}");
    murder.down().await.unwrap();
}

async fn status_in_every_format(murder: &KubeMurder) {
    let status = answer(murder, &["status"]).await;
    assert_eq!(status["name"], "mc");
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["mupdate"]["pod"], "mc-mupdate-0");
    // Users, and what they share.
    let units = USERS as u64;
    assert!(
        status["mupdate"]["units"].as_u64() >= Some(units),
        "{status}"
    );
    let backends = status["backends"].as_array().unwrap();
    let names: Vec<_> = backends.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["be-a", "be-b"]);
    let users = backends.iter().map(|one| one["users"].as_u64().unwrap());
    assert!(users.sum::<u64>() >= units, "{status}");
    assert_eq!(status["frontends"][0]["readyReplicas"], 2, "{status}");

    let yaml = murder_says(murder, &["status", "-o", "yaml"]).await;
    let yaml: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(yaml["backends"][1]["name"], "be-b");
    let text = murder_says(murder, &["status"]).await;
    let wide = murder_says(murder, &["status", "-o", "wide"]).await;
    let id = backends[0]["serverId"].as_str().unwrap();
    assert!(!text.contains(id) && wide.contains(id), "{wide}");
    let names = murder_says(murder, &["status", "-o", "name"]).await;
    let expected = "murdercluster.murder.rs/mc\nbackend.murder.rs/be-a\nbackend.murder.rs/be-b\nfrontend.murder.rs/fe\n";
    assert_eq!(names, expected);
}

async fn a_user_is_found_and_moved(murder: &KubeMurder) {
    let user = "user0001";
    let found = answer(murder, &["where", user]).await;
    let from = found["server"].as_str().unwrap();
    let to = if from == "be-a" { "be-b" } else { "be-a" };
    assert_eq!(found["master"]["server"], from, "{found}");
    let moved = answer(murder, &["move", user, to, "--wait"]).await;
    assert_eq!(moved["phase"], "Done", "{moved}");
    assert_eq!(moved["destination"], to, "{moved}");
    let found = answer(murder, &["where", user]).await;
    assert_eq!(found["server"], to, "{found}");
    let name = murder_says(murder, &["where", user, "-o", "name"]).await;
    assert_eq!(name, format!("backend.murder.rs/{to}\n"));
}

async fn a_backend_is_closed_emptied_and_opened(murder: &KubeMurder) {
    let backend = answer(murder, &["cordon", "be-b"]).await;
    assert_eq!(backend["spec"]["desiredState"], "Cordoned", "{backend}");
    let again = murder_says(murder, &["cordon", "be-b"]).await;
    assert_eq!(again, "backend.murder.rs/be-b already cordoned\n");
    let yaml = murder_says(murder, &["uncordon", "be-b", "-o", "yaml"]).await;
    let backend: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(backend["spec"]["desiredState"], "Active", "{backend}");
    let (kube, namespace) = (&murder.kube, &murder.namespace);
    kube.wait_for(namespace, "backend/be-b", "condition=Schedulable", LIMIT)
        .await
        .unwrap();

    let plan = answer(murder, &["drain", "be-b", "--dry-run=server"]).await;
    assert_eq!(plan["blockers"], Value::Array(Vec::new()), "{plan}");
    let there = plan["units"].as_u64().unwrap();
    assert_eq!(plan["destinations"][0]["backend"], "be-a", "{plan}");
    assert_eq!(plan["destinations"][0]["units"], there, "{plan}");
    let backend = murder.get("backend", "be-b").await.unwrap();
    assert_eq!(backend["spec"]["desiredState"], "Active", "{backend}");

    murder_says(murder, &["drain", "be-b", "--wait", "--timeout", "2m"]).await;
    let backend = murder.get("backend", "be-b").await.unwrap();
    assert_eq!(condition(&backend, "Drained").0, "True", "{backend}");
    let status = answer(murder, &["status"]).await;
    assert_eq!(status["backends"][1]["drain"], "Empty", "{status}");
    assert_eq!(status["backends"][1]["users"], 0, "{status}");
    murder_says(murder, &["uncordon", "be-b"]).await;
    kube.wait_for(namespace, "backend/be-b", "condition=Schedulable", LIMIT)
        .await
        .unwrap();
}

/// Somebody who may only look, the admin certificate's Secret and port-forwards aside, can ask the servers; and without
/// those two, the objects.
#[tokio::test]
async fn the_plugin_needs_few_rights() {
    let kube = kube().await;
    let text = manifests(&["be-a"]);
    let murder = KubeMurder::up(&kube, "e2e-rights", &text, 1).await.unwrap();
    let namespace = &murder.namespace;
    let account = format!("--serviceaccount={namespace}:jane");
    let create = async |arguments: &[&str]| {
        let all = [&["-n", namespace, "create"], arguments].concat();
        kube.kubectl(&all).await.unwrap()
    };
    create(&["serviceaccount", "jane"]).await;
    create(&["rolebinding", "jane-view", "--clusterrole=view", &account]).await;
    let token = create(&["token", "jane"]).await;
    let config = kube
        .kubectl(&[
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "-o",
            "json",
        ])
        .await
        .unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jane");
    std::fs::write(&file, config.to_string()).unwrap();
    let status = ["status", "--kubeconfig", file.to_str().unwrap()];
    let alerts = |status: &Value| {
        let alerts = status["alerts"].as_array().unwrap().iter();
        let names = alerts.filter_map(|alert| Some(alert["name"].as_str()?.to_owned()));
        names.collect::<Vec<_>>()
    };

    let seen = answer(&murder, &status).await;
    assert_eq!(seen["backends"][0]["name"], "be-a", "{seen}");
    assert!(
        alerts(&seen).contains(&"NodesNotAsked".to_owned()),
        "{seen}"
    );

    let (secret, forward) = (
        "--resource-name=mc-admin-tls",
        "--resource=pods/portforward",
    );
    create(&["role", "tls", "--verb=get", "--resource=secrets", secret]).await;
    create(&["role", "forward", "--verb=get,create", forward]).await;
    for role in ["tls", "forward"] {
        let role_name = format!("--role={role}");
        create(&["rolebinding", role, &role_name, &account]).await;
    }
    kube.until("jane may ask the servers", LIMIT, async || {
        let seen = answer(&murder, &status).await;
        let silent = ["NodesNotAsked", "NodeUnreachable"];
        Ok(!alerts(&seen)
            .iter()
            .any(|name| silent.contains(&name.as_str())))
    })
    .await
    .unwrap();
    let drain = ["drain", "be-a", "--kubeconfig", file.to_str().unwrap()];
    let refused = [&["murder"], &drain[..], &["-n", namespace]].concat();
    let refused = kube.kubectl_waiting(&refused).await.unwrap_err();
    assert!(format!("{refused:#}").contains("forbidden"), "{refused:#}");
    murder.down().await.unwrap();
}
