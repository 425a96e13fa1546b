//! The ordered steps (object, step, reason) of one history, which all platforms must take.
//!
//! A murder of be-a, be-b and two frontends is created, scaled to a third backend and one frontend; be-a, with two
//! users, is drained and taken back; be-b, with a user whose transfer does not end, is drained and taken back; be-c,
//! with a user, is deleted.

pub(crate) const CREATE: &[&str] = &[
    "MurderCluster/mc CreateVolume Create",
    "MurderCluster/mc StartPod Create",
    "Backend/be-a AddFinalizer Create",
    "Backend/be-a CreateVolume Create",
    "Backend/be-a StartPod Create",
    "Backend/be-b AddFinalizer Create",
    "Backend/be-b CreateVolume Create",
    "Backend/be-b StartPod Create",
    "Frontend/fe StartPod Create",
    "Frontend/fe StartPod Create",
];

pub(crate) const SCALE: &[&str] = &[
    "Backend/be-c AddFinalizer Create",
    "Backend/be-c CreateVolume Create",
    "Backend/be-c StartPod Create",
    "Frontend/fe StopPod ScaleIn",
];

pub(crate) const DRAIN: &[&str] = &[
    "Backend/be-a CordonServer Spec",
    "Backend/be-a CordonNode Spec",
    "Backend/be-a StartTransfer Spec",
    "Backend/be-a StartTransfer Spec",
    "Backend/be-a RecordProof Spec",
    "Backend/be-a Deactivate Spec",
];

pub(crate) const TAKE_BACK_EMPTY: &[&str] = &[
    "Backend/be-a DropProof TakenBack",
    "Backend/be-a Reactivate TakenBack",
    "Backend/be-a UncordonServer TakenBack",
];

pub(crate) const DRAIN_WITHOUT_END: &[&str] = &[
    "Backend/be-b CordonServer Spec",
    "Backend/be-b CordonNode Spec",
    "Backend/be-b StartTransfer Spec",
];

pub(crate) const TAKE_BACK_MOVING: &[&str] = &[
    "Backend/be-b CancelTransfer TakenBack",
    "Backend/be-b UncordonNode TakenBack",
    "Backend/be-b UncordonServer TakenBack",
];

pub(crate) const DELETE: &[&str] = &[
    "Backend/be-c CordonServer Delete",
    "Backend/be-c CordonNode Delete",
    "Backend/be-c StartTransfer Delete",
    "Backend/be-c RecordProof Delete",
    "Backend/be-c Deactivate Delete",
    "Backend/be-c Retire Delete",
    "Backend/be-c RetireVolume Delete",
    "Backend/be-c StopPod Delete",
    "Backend/be-c ReleaseVolume Delete",
    "Backend/be-c RemoveFinalizer Delete",
];
