//! Secrets of a murder, and those of others that have their names.

use serde_json::{Value, json};

use crate::platform::kube::stage::Stage;

const SECRETS: &str = "/api/v1/namespaces/mail/secrets";
const MURDER: &str = "/apis/murder.rs/v1alpha1/namespaces/mail";

async fn stage() -> Stage {
    let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
    let of = json!({"clusterRef": {"name": "mc"}});
    stage.murder("Backend", "be-a", of.clone());
    stage.murder("Frontend", "fe", of);
    stage
}

/// A Secret as somebody else made it.
fn foreign(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": "mail", "uid": format!("uid-{name}")},
        "data": {"tls.crt": "cHVibGlj", "tls.key": "a2V5"},
    })
}

fn put_foreign(stage: &Stage, name: &str) -> Value {
    let path = format!("{SECRETS}/{name}");
    stage.api.put(&path, foreign(name));
    stage.api.get(&path).unwrap()
}

/// The condition Ready of an object, if it has one.
fn ready(stage: &Stage, object: &str) -> String {
    let found = stage.api.get(&format!("{MURDER}/{object}")).unwrap();
    let conditions = found["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
    let text = |key: &str| ready[key].as_str().unwrap().to_owned();
    format!("{}: {}", text("reason"), text("message"))
}

fn has(stage: &Stage, secrets: &[&str]) -> Vec<bool> {
    let has = |name: &&str| stage.api.get(&format!("{SECRETS}/{name}")).is_some();
    secrets.iter().map(has).collect()
}

const ALL: [&str; 6] = [
    "mc-ca",
    "mc-operator-tls",
    "mc-admin-tls",
    "mc-mupdate-tls",
    "be-a-tls",
    "fe-tls",
];

fn taken(name: &str) -> String {
    format!(
        "NameTaken: Secret {name} belongs to somebody else; rename it or the object that needs the name"
    )
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_somebody_else_is_its_owners_problem_alone_and_is_left_alone() {
    for (name, owner) in [("fe-tls", "frontends/fe"), ("be-a-tls", "backends/be-a")] {
        let mut stage = stage().await;
        let before = put_foreign(&stage, name);
        for _ in 0..2 {
            stage.pass().await.unwrap();
        }
        let path = format!("{SECRETS}/{name}");
        assert_eq!(stage.api.get(&path).unwrap(), before);
        assert_eq!(has(&stage, &ALL), [true; 6]);
        let (reason, message) = (taken(name), ready(&stage, owner));
        assert!(message.starts_with(&reason), "{message}");
        for other in ["frontends/fe", "backends/be-a", "murderclusters/mc"] {
            let message = ready(&stage, other);
            let named = other == owner || !message.starts_with("NameTaken");
            assert!(named, "{other}: {message}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_another_murder_is_not_ours() {
    let mut stage = stage().await;
    let mut other = foreign("fe-tls");
    let labels = json!({
        "app.kubernetes.io/managed-by": "murder-operator", "murder.rs/cluster": "other",
    });
    other["metadata"]["labels"] = labels;
    stage.api.put(&format!("{SECRETS}/fe-tls"), other);
    let before = stage.api.get(&format!("{SECRETS}/fe-tls"));
    stage.pass().await.unwrap();
    assert_eq!(stage.api.get(&format!("{SECRETS}/fe-tls")), before);
    assert_eq!(ready(&stage, "frontends/fe"), taken("fe-tls"));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_in_a_secret_of_ours_is_put_right() {
    let mut stage = stage().await;
    stage.pass().await.unwrap();
    let path = format!("{SECRETS}/fe-tls");
    let mut secret = stage.api.get(&path).unwrap();
    secret["data"]["tls.crt"] = json!("cHVibGlj");
    stage.api.put(&path, secret);
    stage
        .context
        .memory(&stage.objects().key)
        .lock()
        .await
        .secrets = Default::default();
    stage.pass().await.unwrap();
    let secret = stage.api.get(&path).unwrap();
    assert_ne!(secret["data"]["tls.crt"], "cHVibGlj");
}

/// As long as it is taken to be absent, another may have made it.
#[tokio::test(start_paused = true)]
async fn a_secret_that_somebody_makes_just_before_us_is_not_overwritten() {
    let mut stage = stage().await;
    stage.change("MurderCluster", "mc", |murder| {
        murder["spec"]["paused"] = json!(true);
    });
    stage.pass().await.unwrap();
    assert_eq!(has(&stage, &ALL), [false; 6]);
    stage.change("MurderCluster", "mc", |murder| {
        murder["spec"]["paused"] = json!(false);
    });
    let before = put_foreign(&stage, "fe-tls");
    for _ in 0..2 {
        stage.pass().await.unwrap();
    }
    assert_eq!(stage.api.get(&format!("{SECRETS}/fe-tls")).unwrap(), before);
    assert_eq!(ready(&stage, "frontends/fe"), taken("fe-tls"));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_cannot_be_written_holds_up_no_other() {
    let mut stage = stage().await;
    stage.pass().await.unwrap();
    stage.api.remove(&format!("{SECRETS}/mc-admin-tls"));
    let mut secret = stage.api.get(&format!("{SECRETS}/be-a-tls")).unwrap();
    secret["data"]["tls.crt"] = json!("cHVibGlj");
    stage.api.put(&format!("{SECRETS}/be-a-tls"), secret);
    stage
        .context
        .memory(&stage.objects().key)
        .lock()
        .await
        .secrets = Default::default();
    let why = json!({"reason": "Invalid", "message": "field is immutable"});
    let call = format!("PATCH {SECRETS}/be-a-tls");
    stage.api.refuse(&call, 422, &why);
    stage.pass().await.unwrap();
    assert_eq!(has(&stage, &ALL), [true; 6]);
    let expected = "Problem: apply Secret/be-a-tls: 422 Invalid: field is immutable";
    assert_eq!(ready(&stage, "backends/be-a"), expected);
}

#[tokio::test(start_paused = true)]
async fn without_our_own_certificate_or_an_authority_nothing_is_done_and_it_is_said() {
    for name in ["mc-operator-tls", "mc-ca"] {
        let mut stage = stage().await;
        let before = put_foreign(&stage, name);
        if name == "mc-ca" {
            let path = format!("{SECRETS}/{name}");
            let mut secret = stage.api.get(&path).unwrap();
            secret["data"] = json!({"password": "c2VjcmV0"});
            stage.api.put(&path, secret);
        }
        let before = match name {
            "mc-ca" => stage.api.get(&format!("{SECRETS}/{name}")).unwrap(),
            _ => before,
        };
        stage.pass().await.unwrap();
        assert_eq!(stage.api.get(&format!("{SECRETS}/{name}")).unwrap(), before);
        assert_eq!(ready(&stage, "murderclusters/mc"), taken(name));
        let writes = stage.writes();
        let workloads = writes.iter().filter(|call| call.contains("/apis/apps/"));
        assert_eq!(workloads.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_of_somebody_else_are_used_only_if_they_are_accounts() {
    let mut stage = stage().await;
    let before = put_foreign(&stage, "mc-accounts");
    stage.pass().await.unwrap();
    assert_eq!(
        stage.api.get(&format!("{SECRETS}/mc-accounts")).unwrap(),
        before
    );
    assert_eq!(
        ready(&stage, "murderclusters/mc"),
        "SecretInvalid: Secret mc-accounts has no key `accounts`"
    );
    assert_eq!(has(&stage, &["mc-admin-password"]), [false]);
}
