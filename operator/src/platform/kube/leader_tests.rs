//! All times are virtual.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep, timeout};

use super::{Election, Ending, LeaseSettings};
use crate::platform::kube::fake_api::{FakeApi, Mood};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/mail/leases/murder-operator";
const DURATION: Duration = Duration::from_secs(15);

fn candidate(api: &FakeApi, identity: &str) -> Election {
    let settings = LeaseSettings {
        namespace: "mail".to_owned(),
        name: "murder-operator".to_owned(),
        identity: identity.to_owned(),
        duration: DURATION,
    };
    Election::new(api.client(), settings)
}

fn spec(api: &FakeApi) -> Value {
    let mut spec = api.get(PATH).unwrap()["spec"].take();
    let times = spec.as_object_mut().unwrap();
    assert!(times.remove("acquireTime").is_some());
    assert!(times.remove("renewTime").is_some());
    spec
}

fn held_by(holder: &str, transitions: u64) -> Value {
    json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": transitions})
}

#[tokio::test(start_paused = true)]
async fn a_free_lease_is_taken_at_once() {
    let api = FakeApi::default();
    let mut a = candidate(&api, "a");
    let leadership = a.leadership();
    assert!(!leadership.is_held());
    let start = Instant::now();
    a.acquire().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(spec(&api), held_by("a", 0));
    assert_eq!(leadership.transitions(), Some(0));
    assert!(*leadership.watch().borrow());
    let calls = [
        format!("GET {PATH}"),
        format!("POST {}", PATH.trim_end_matches("/murder-operator")),
    ];
    assert_eq!(api.calls(), calls);
}

/// row 23
#[tokio::test(start_paused = true)]
async fn of_two_candidates_one_acts_and_the_other_waits_for_the_expiry() {
    let api = FakeApi::default();
    let (mut a, mut b) = (candidate(&api, "a"), candidate(&api, "b"));
    a.acquire().await;
    let (first, second) = (a.leadership(), b.leadership());
    let holding = tokio::spawn(async move { a.run(sleep(Duration::from_secs(100))).await });
    let early = timeout(Duration::from_secs(90), b.acquire()).await;
    assert!(early.is_err(), "the holder renews");
    assert!(first.is_held() && !second.is_held());
    // The process of the holder is killed: nothing is given back.
    holding.abort();
    let start = Instant::now();
    b.acquire().await;
    let waited = start.elapsed().as_secs_f64();
    assert!((10.0..=17.0).contains(&waited), "{waited}");
    assert_eq!(spec(&api), held_by("b", 1));
    assert!(!first.is_held() && second.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_judged_by_what_was_seen_not_by_its_clock() {
    let api = FakeApi::default();
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "murder-operator", "namespace": "mail"},
        "spec": held_by("gone", 6),
    });
    // By the holder's clock the Lease expired years ago.
    lease["spec"]["renewTime"] = json!("2001-01-01T00:00:00.000000Z");
    lease["spec"]["leaseDurationSeconds"] = json!(20);
    api.put(PATH, lease);
    let mut a = candidate(&api, "a");
    let start = Instant::now();
    a.acquire().await;
    let waited = start.elapsed().as_secs_f64();
    assert!((20.0..=22.0).contains(&waited), "{waited}");
    assert_eq!(spec(&api), held_by("a", 7));
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_gives_the_lease_to_the_next_at_once() {
    let api = FakeApi::default();
    let (mut a, mut b) = (candidate(&api, "a"), candidate(&api, "b"));
    a.acquire().await;
    let leadership = a.leadership();
    let ending = a.run(sleep(Duration::from_secs(60))).await;
    assert_eq!(ending, Ending::Released);
    assert!(!leadership.is_held() && !*leadership.watch().borrow());
    assert_eq!(spec(&api), held_by("", 0));
    let start = Instant::now();
    b.acquire().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(spec(&api), held_by("b", 1));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_meets_another_in_the_lease_stops_and_leaves_it() {
    let api = FakeApi::default();
    let mut a = candidate(&api, "a");
    a.acquire().await;
    let leadership = a.leadership();
    let mut lease = api.get(PATH).unwrap();
    lease["spec"]["holderIdentity"] = json!("b");
    lease["spec"]["leaseTransitions"] = json!(1);
    api.put(PATH, lease);
    let start = Instant::now();
    let ending = a.run(std::future::pending()).await;
    assert_eq!(ending, Ending::Lost);
    assert_eq!(start.elapsed(), DURATION / 3);
    assert!(!leadership.is_held());
    a.resign().await.unwrap();
    assert_eq!(spec(&api), held_by("b", 1));
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_lease_was_deleted_stops() {
    let api = FakeApi::default();
    let mut a = candidate(&api, "a");
    a.acquire().await;
    api.remove(PATH);
    assert_eq!(a.run(std::future::pending()).await, Ending::Lost);
    assert_eq!(api.get(PATH), None);
}

#[tokio::test(start_paused = true)]
async fn another_version_of_our_own_lease_is_renewed() {
    let api = FakeApi::default();
    let mut a = candidate(&api, "a");
    a.acquire().await;
    let mut lease = api.get(PATH).unwrap();
    lease["metadata"]["labels"] = json!({"somebody": "else"});
    api.put(PATH, lease);
    let ending = a.run(sleep(Duration::from_secs(60))).await;
    assert_eq!(ending, Ending::Released);
    let labels = &api.get(PATH).unwrap()["metadata"]["labels"];
    assert_eq!(*labels, json!({"somebody": "else"}));
}

#[tokio::test(start_paused = true)]
async fn renewals_whose_answers_are_lost_end_the_reign_in_time_or_go_on() {
    let api = FakeApi::default();
    let mut a = candidate(&api, "a");
    a.acquire().await;
    api.set_mood(Mood::LosesAnswers);
    let healing = api.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(8)).await;
        healing.set_mood(Mood::Answers);
    });
    let ending = a.run(sleep(Duration::from_secs(60))).await;
    assert_eq!(ending, Ending::Released);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_another_may_take_over() {
    for mood in [Mood::Silent, Mood::Fails] {
        let (api, other) = (FakeApi::default(), FakeApi::default());
        let mut a = candidate(&api, "a");
        let leadership = a.leadership();
        a.acquire().await;
        // The other candidate sees the Lease at the very moment of its last renewal.
        other.put(PATH, api.get(PATH).unwrap());
        let mut b = candidate(&other, "b");
        api.set_mood(mood);
        let start = Instant::now();
        let (stopped, taken) = tokio::join!(
            async {
                assert_eq!(a.run(std::future::pending()).await, Ending::Lost);
                start.elapsed()
            },
            async {
                b.acquire().await;
                start.elapsed()
            },
        );
        assert!(stopped < DURATION, "{mood:?} {stopped:?}");
        assert!(taken >= DURATION, "{mood:?} {taken:?}");
        assert!(!leadership.is_held());
    }
}

/// row 24
#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_does_not_act_on_its_old_lease() {
    let api = FakeApi::default();
    let mut a = candidate(&api, "a");
    a.acquire().await;
    let leadership = a.leadership();
    let holding = tokio::spawn(async move { a.run(std::future::pending()).await });
    tokio::task::yield_now().await;
    assert!(leadership.is_held());
    let before = api.calls().len();
    advance(Duration::from_secs(60)).await;
    // Before anything of the election ran again.
    assert_eq!(leadership.transitions(), None);
    assert_eq!(holding.await.unwrap(), Ending::Lost);
    assert_eq!(api.calls().len(), before, "an expired Lease is not renewed");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_can_be_acquired_again_in_a_new_reign() {
    let api = FakeApi::default();
    let mut a = candidate(&api, "a");
    a.acquire().await;
    api.set_mood(Mood::Silent);
    assert_eq!(a.run(std::future::pending()).await, Ending::Lost);
    api.set_mood(Mood::Answers);
    a.acquire().await;
    assert_eq!(a.leadership().transitions(), Some(1));
    assert_eq!(spec(&api), held_by("a", 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_loses_the_race_for_a_free_lease_goes_on_waiting() {
    let api = FakeApi::default();
    let mut candidates: Vec<_> = ["a", "b", "c"].map(|name| candidate(&api, name)).into();
    let [a, b, c] = candidates.as_mut_slice() else {
        unreachable!("three");
    };
    let (one, two, three) = tokio::join!(a.try_acquire(), b.try_acquire(), c.try_acquire());
    let won = [one.unwrap(), two.unwrap(), three.unwrap()];
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
}

#[test]
fn two_processes_of_one_pod_have_different_names() {
    let (one, two) = (
        super::identity("pod-0").unwrap(),
        super::identity("pod-0").unwrap(),
    );
    assert!(one.starts_with("pod-0_") && one.len() == "pod-0_".len() + 12);
    assert_ne!(one, two);
}
