//! Murders end, and namespaces.

use serde_json::{Value, json};

use super::{Ending, FOUND_EMPTY, Progress, Stays, tear_down, verdict};
use crate::core::{BackendView, World};
use crate::platform::kube::stage::Stage;

const MURDER: &str = "/apis/murder.rs/v1alpha1/namespaces/mail";

fn finalizers(stage: &Stage) -> Vec<Value> {
    ["murderclusters/mc", "backends/be-a", "frontends/fe"]
        .map(|object| {
            let found = stage.api.get(&format!("{MURDER}/{object}")).unwrap();
            found["metadata"]["finalizers"].clone()
        })
        .to_vec()
}

async fn stage() -> Stage {
    let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
    let of = json!({"clusterRef": {"name": "mc"}});
    stage.murder("Backend", "be-a", of.clone());
    stage.murder("Frontend", "fe", of);
    stage
}

fn terminating() -> Value {
    let cause = json!({
        "reason": "NamespaceTerminating", "field": "metadata.namespace",
        "message": "namespace mail is being terminated",
    });
    json!({"message": "forbidden", "details": {"causes": [cause]}})
}

/// row 38
#[tokio::test(start_paused = true)]
async fn a_refusal_because_the_namespace_ends_lets_everything_go_and_makes_nothing_again() {
    let refused = [
        "POST /api/v1/namespaces/mail/secrets",
        "PATCH /api/v1/namespaces/mail/configmaps",
        "PATCH /apis/policy",
        "PATCH /apis/apps",
    ];
    for call in refused {
        let mut stage = stage().await;
        stage.api.refuse(call, 403, &terminating());
        stage.pass().await.unwrap();
        for _ in 0..3 {
            stage.pass().await.unwrap();
        }
        assert_eq!(
            finalizers(&stage),
            [json!([]), json!([]), json!([])],
            "{call}"
        );
        let before = stage.writes();
        stage.pass().await.unwrap();
        assert_eq!(stage.writes(), before, "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_refusal_is_a_problem_of_its_object_and_lets_nothing_go() {
    let mut stage = stage().await;
    let why = json!({"message": "exceeded quota"});
    stage
        .api
        .refuse("PATCH /api/v1/namespaces/mail/configmaps/fe", 403, &why);
    stage.pass().await.unwrap();
    let held = json!(["murder.rs/murder"]);
    assert_eq!(finalizers(&stage), [held.clone(), held.clone(), held]);
    let frontend = stage.api.get(&format!("{MURDER}/frontends/fe")).unwrap();
    let ready = &frontend["status"]["conditions"][0];
    let message = "apply ConfigMap/fe: 403 Forbidden: exceeded quota";
    assert_eq!(ready["message"], message);
}

/// What a closed server says that has nothing but what is given.
fn view(name: &str, says: Option<Value>) -> BackendView {
    let status = says.map(|says| {
        let mut status = json!({
            "serverId": ID, "incarnation": 1, "cordoned": true, "deactivated": true, "units": 0,
            "unitsInDoubt": 0, "unitsStaged": 0, "unitsGrace": 0, "mailboxes": 0, "messages": 0, "bytes": 0,
            "outbox": 0, "held": 0, "partitions": [],
        });
        let says = says.as_object().unwrap().clone();
        status.as_object_mut().unwrap().extend(says);
        serde_json::from_value(status).unwrap()
    });
    BackendView {
        name: name.to_owned(),
        server_id: Some(ID.parse().unwrap()),
        status,
        ..BackendView::default()
    }
}

const ID: &str = "0102030405060708090a0b0c0d0e0f10";
const SETS: &str = "/apis/apps/v1/namespaces/mail";

fn world(backends: Vec<BackendView>) -> World {
    World {
        backends,
        ..World::default()
    }
}

/// A murder that runs, and was deleted.
async fn deleted() -> Stage {
    let mut stage = stage().await;
    stage.claim("be-a-data", &json!({"murder.rs/backend": "be-a"}));
    stage.pass().await.unwrap();
    stage.change("MurderCluster", "mc", |murder| {
        murder["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    stage.change("PersistentVolumeClaim", "be-a-data", |claim| {
        claim["metadata"]["annotations"]["murder.rs/server-id"] = json!(ID);
    });
    stage.pass().await.unwrap();
    // As the API server does when what they own goes first.
    for (kind, name) in SETS_OF_MURDER {
        stage.change(kind, name, |set| {
            set["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        });
    }
    stage
}

const SETS_OF_MURDER: [(&str, &str); 3] = [
    ("Deployment", "fe"),
    ("StatefulSet", "be-a"),
    ("StatefulSet", "mc-mupdate"),
];

/// Which sets there are; those that were deleted go now.
fn sets(stage: &mut Stage) -> Vec<&'static str> {
    let mut left = Vec::new();
    for (kind, name) in SETS_OF_MURDER {
        let path = format!("{SETS}/{}s/{name}", kind.to_lowercase());
        let Some(set) = stage.api.get(&path) else {
            continue;
        };
        if set["metadata"]["deletionTimestamp"].is_null() {
            left.push(name);
        } else {
            stage.lose(kind, name);
        }
    }
    left
}

/// What a pass does once the servers have answered.
async fn go_on(stage: &mut Stage, world: &World) -> Result<Progress, Stays> {
    stage.catch_up();
    let objects = stage.objects();
    let memory = stage.context.memory(&objects.key);
    let client = memory.lock().await.client.clone().unwrap().1;
    let ending = verdict(&objects, world)?;
    let went = tear_down(&stage.context, &objects, world, &client, ending).await;
    Ok(went.unwrap())
}

fn deletion_blocked(stage: &Stage) -> String {
    let found = stage.api.get(&format!("{MURDER}/murderclusters/mc"));
    let conditions = found.unwrap()["status"]["conditions"].take();
    let mut conditions = conditions.as_array().unwrap().iter();
    let blocked = conditions.find(|c| c["type"] == "DeletionBlocked").unwrap();
    let text = |key: &str| blocked[key].as_str().unwrap().to_owned();
    format!("{} {}: {}", text("status"), text("reason"), text("message"))
}

/// row 38
#[tokio::test(start_paused = true)]
async fn a_murder_without_mail_stops_its_frontends_looks_again_and_goes() {
    let mut stage = deleted().await;
    let empty = world(vec![view("be-a", Some(json!({})))]);
    assert_eq!(go_on(&mut stage, &empty).await, Ok(Progress::GoesOn));
    assert_eq!(sets(&mut stage), ["be-a", "mc-mupdate"]);
    let noted = |stage: &Stage| {
        let murder = stage.api.get(&format!("{MURDER}/murderclusters/mc"));
        murder.unwrap()["metadata"]["annotations"][FOUND_EMPTY].clone()
    };
    assert_eq!(noted(&stage), Value::Null);
    // Without Frontends it is empty, too.
    assert_eq!(go_on(&mut stage, &empty).await, Ok(Progress::GoesOn));
    assert_eq!(noted(&stage), "uid-mc");
    assert_eq!(sets(&mut stage), ["be-a", "mc-mupdate"]);
    // Servers that were stopped do not answer, and nothing comes back.
    for expected in [vec!["mc-mupdate"], vec![], vec![]] {
        stage.pass().await.unwrap();
        assert_eq!(sets(&mut stage), expected);
        let murder = stage.api.get(&format!("{MURDER}/murderclusters/mc"));
        if murder.is_some() {
            assert_eq!(deletion_blocked(&stage), "False Stopping: everything stops");
        }
    }
    assert_eq!(stage.api.get(&format!("{MURDER}/murderclusters/mc")), None);
    let claims = "/api/v1/namespaces/mail/persistentvolumeclaims";
    let claim = |name: &str| stage.api.get(&format!("{claims}/{name}")).unwrap();
    let master = claim("mc-mupdate-data");
    assert_eq!(master["metadata"]["finalizers"], json!([]));
    assert_eq!(master["metadata"]["deletionTimestamp"], Value::Null);
    let of_backend = claim("be-a-data");
    assert_eq!(
        of_backend["metadata"]["annotations"]["murder.rs/server-id"],
        ID
    );
    assert_eq!(of_backend["metadata"]["deletionTimestamp"], Value::Null);
}

/// row 38
#[tokio::test(start_paused = true)]
async fn mail_that_came_before_the_frontends_ended_holds_the_murder_and_brings_them_back() {
    let mut stage = deleted().await;
    let empty = world(vec![view("be-a", Some(json!({})))]);
    go_on(&mut stage, &empty).await.unwrap();
    assert_eq!(sets(&mut stage), ["be-a", "mc-mupdate"]);
    let mail = world(vec![view(
        "be-a",
        Some(json!({"mailboxes": 1, "units": 1})),
    )]);
    let (reason, _) = go_on(&mut stage, &mail).await.unwrap_err();
    assert_eq!(reason, "HoldsMail");
    stage.pass().await.unwrap();
    assert_eq!(sets(&mut stage), ["fe", "be-a", "mc-mupdate"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_closed_is_not_stopped() {
    let mut stage = deleted().await;
    stage.change("Deployment", "fe", |set| {
        set["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    sets(&mut stage);
    let open = json!({"deactivated": false, "cordoned": false});
    let empty = world(vec![view("be-a", Some(open))]);
    let why = "not closed: pod be-a-0 has no address".to_owned();
    assert_eq!(
        go_on(&mut stage, &empty).await,
        Ok(Progress::Stays(("NotReached", why)))
    );
    assert_eq!(sets(&mut stage), ["be-a", "mc-mupdate"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_of_another_murder_of_the_name_says_nothing() {
    let mut stage = deleted().await;
    stage.change("MurderCluster", "mc", |murder| {
        murder["metadata"]["annotations"] = json!({FOUND_EMPTY: "another"});
    });
    stage.pass().await.unwrap();
    assert_eq!(
        deletion_blocked(&stage),
        "True NotReached: pod be-a-0 does not answer; bring it back, as its volume may hold mail, or set \
         spec.deletionPolicy: Abandon and spec.confirmation: mc"
    );
    assert_eq!(sets(&mut stage), ["fe", "be-a", "mc-mupdate"]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_names_what_is_held_and_who_is_silent() {
    let mut stage = stage().await;
    let never = BackendView {
        name: "be-c".to_owned(),
        ..BackendView::default()
    };
    let said = |says: [Option<Value>; 2], stage: &Stage| {
        let [a, b] = says;
        let world = world(vec![view("be-a", a), view("be-b", b), never.clone()]);
        verdict(&stage.objects(), &world)
    };
    let give_up = "or set spec.deletionPolicy: Abandon and spec.confirmation: mc";
    let nothing = || Some(json!({}));
    let cases = [
        ([nothing(), nothing()], Ok(Ending::SeemsEmpty)),
        (
            [nothing(), Some(json!({"mailboxes": 3, "units": 1}))],
            Err(("HoldsMail", "be-b holds 3 mailboxes; delete its users")),
        ),
        (
            [Some(json!({"unitsStaged": 1})), None],
            Err((
                "HoldsMail",
                "be-a holds 1 units that arrive, pod be-b-0 does not answer; delete its users",
            )),
        ),
        (
            [None, nothing()],
            Err((
                "NotReached",
                "pod be-a-0 does not answer; bring it back, as its volume may hold mail",
            )),
        ),
    ];
    for (says, expected) in cases {
        let expected = expected.map_err(|(reason, why)| (reason, format!("{why}, {give_up}")));
        assert_eq!(said(says, &stage), expected);
    }
    stage.change("MurderCluster", "mc", |murder| {
        murder["spec"]["deletionPolicy"] = json!("Abandon");
        murder["spec"]["confirmation"] = json!("mc");
    });
    assert_eq!(said([None, None], &stage), Ok(Ending::Decided));
}
