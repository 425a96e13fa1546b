//! What one look at a Backend says to somebody who waits for it to be empty.

use kube::ResourceExt as _;
use murder_operator::crd::{Backend, DesiredState};

use crate::murder::condition;
use crate::status::is_blocked;

/// What a look says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Proven empty.
    Empty,
    /// Something is in the way: the reason and what it is.
    Blocked(String, String),
    /// Somebody told it to be something else.
    TakenBack,
    /// It is another object of the same name.
    Replaced,
    /// The operator has not seen our wish.
    Unseen,
    /// On its way: the reason and, perhaps, more.
    OnItsWay(String, String),
}

/// Judges a look. `generation` is that of the wish.
pub(super) fn verdict(backend: &Backend, uid: &str, generation: i64) -> Verdict {
    if backend.uid().is_some_and(|found| found != uid) {
        return Verdict::Replaced;
    }
    let is_going = backend.metadata.deletion_timestamp.is_some();
    if backend.spec.desired_state != DesiredState::Drained && !is_going {
        return Verdict::TakenBack;
    }
    let status = backend.status.as_ref();
    let seen = status
        .and_then(|status| status.observed_generation)
        .unwrap_or(0);
    let drained = condition(
        status.and_then(|status| status.conditions.as_ref()),
        "Drained",
    );
    let Some(drained) = drained.filter(|_| seen >= generation) else {
        return Verdict::Unseen;
    };
    let (reason, message) = (drained.reason.clone(), drained.message.clone());
    if drained.status == "True" {
        Verdict::Empty
    } else if is_blocked(&reason) {
        Verdict::Blocked(reason, message)
    } else {
        Verdict::OnItsWay(reason, message)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use murder_operator::crd::Backend;
    use serde_json::json;

    use super::{Verdict, verdict};

    /// A Backend with a wish, the generation that the operator saw, and what it says of the drain.
    pub(crate) fn backend(wish: &str, seen: i64, status: &str, reason: &str) -> Backend {
        let backend = json!({
            "apiVersion": "murder.rs/v1alpha1",
            "kind": "Backend",
            "metadata": {"name": "be-b", "uid": "u1", "generation": 3},
            "spec": {"clusterRef": {"name": "mc"}, "desiredState": wish},
            "status": {
                "observedGeneration": seen,
                "conditions": [{
                    "type": "Drained", "status": status, "reason": reason, "message": "why",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"
                }]
            }
        });
        serde_json::from_value(backend).unwrap()
    }

    #[test]
    fn what_is_true_of_an_older_wish_does_not_count() {
        let empty = backend("Drained", 2, "True", "Empty");
        assert_eq!(verdict(&empty, "u1", 3), Verdict::Unseen);
        let empty = backend("Drained", 3, "True", "Empty");
        assert_eq!(verdict(&empty, "u1", 3), Verdict::Empty);
    }

    #[test]
    fn reasons_tell_blocked_from_under_way() {
        let (reason, why) = ("NoDestination".to_owned(), "why".to_owned());
        let blocked = backend("Drained", 3, "False", "NoDestination");
        assert_eq!(verdict(&blocked, "u1", 3), Verdict::Blocked(reason, why));
        let (reason, why) = ("Transferring".to_owned(), "why".to_owned());
        let moving = backend("Drained", 3, "False", "Transferring");
        assert_eq!(verdict(&moving, "u1", 3), Verdict::OnItsWay(reason, why));
    }

    #[test]
    fn a_change_of_mind_and_another_object_end_the_waiting() {
        let active = backend("Active", 4, "False", "NotRequested");
        assert_eq!(verdict(&active, "u1", 3), Verdict::TakenBack);
        let other = backend("Drained", 3, "True", "Empty");
        assert_eq!(verdict(&other, "u0", 3), Verdict::Replaced);
    }
}
