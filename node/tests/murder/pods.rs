//! Nodes as they run in pods: frontends that are told apart by nothing, and names instead of addresses.

use std::time::{Duration, Instant};

use murder_e2e::murder::Plan;
use serde_json::json;

use crate::NODE;
use crate::client::{Client, message};

/// All pods of a frontend have one name; what each changes the others hear of.
#[tokio::test(flavor = "multi_thread")]
async fn frontends_of_one_name_follow_the_master_each_for_itself() {
    let by_name = json!({"advertise": "localhost"});
    let murder = Plan::discrete(NODE, 2, 2)
        .users(["alice"])
        .settings_of("be-a-0", by_name.clone())
        .settings_of("be-b-0", by_name)
        .settings_of("fe-0", json!({"name": "fe"}))
        .settings_of("fe-1", json!({"name": "fe"}))
        .start()
        .await
        .unwrap();
    let mut pods = ["fe-0", "fe-1"].map(|pod| Client::login(&murder, pod, "alice"));
    for (number, own) in [(0, 0), (1, 1), (2, 0)] {
        let name = format!("From{number}");
        pods[own].ok(&format!("CREATE {name}"));
        let appended = pods[own].append(&name, "", &message(&name));
        assert!(appended.starts_with("t OK "), "{appended}");
        let other = &mut pods[1 - own];
        let deadline = Instant::now() + Duration::from_secs(30);
        while other.ok(&format!("LIST \"\" {name}")).len() < 2 {
            assert!(
                Instant::now() < deadline,
                "the other pod does not hear of {name}"
            );
        }
        let status = other.ok(&format!("STATUS {name} (MESSAGES)"));
        assert_eq!(status[0], format!("* STATUS \"{name}\" (MESSAGES 1)"));
    }
}
