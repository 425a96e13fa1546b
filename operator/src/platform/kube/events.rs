//! Events about objects. Best effort: an event that cannot be written is logged and nothing waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::calls::{namespace_ends_by, short};

/// How long an equal event is not written again.
const QUIET: Duration = Duration::from_secs(600);
/// Longest time that writing one may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Events that may wait to be written.
const WAITING_MAX: usize = 256;
/// Events remembered as written.
const REMEMBERED_MAX: usize = 4096;
/// Longest note, in bytes; the API server refuses longer ones.
const NOTE_BYTES_MAX: usize = 1024;

type Key = (String, String, String);

struct Pending {
    event: Event,
    object: ObjectReference,
}

/// Writes events in the background; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    waiting: mpsc::Sender<Pending>,
    written: Arc<Mutex<HashMap<Key, Instant>>>,
}

impl Events {
    /// Begins to write events in the name of this process; needs a runtime. Ends when all clones are gone.
    pub fn new(client: Client, identity: &str) -> Self {
        let (waiting, mut receiver) = mpsc::channel::<Pending>(WAITING_MAX);
        let reporter = Reporter {
            controller: "murder-operator".to_owned(),
            instance: Some(identity.to_owned()),
        };
        tokio::spawn(async move {
            while let Some(Pending { event, object }) = receiver.recv().await {
                // A recorder that is kept would replace a new note by the one it wrote first for the reason.
                let recorder = Recorder::new(client.clone(), reporter.clone());
                match timeout(WRITE_LIMIT, recorder.publish(&event, &object)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(kube::Error::Api(status))) if namespace_ends_by(&status) => {}
                    Ok(Err(error)) => {
                        let error = short(&error);
                        tracing::warn!(error, reason = event.reason, "cannot write an event");
                    }
                    Err(_) => tracing::warn!(reason = event.reason, "an event took too long"),
                }
            }
        });
        Self {
            waiting,
            written: Arc::default(),
        }
    }

    /// Writes an event, unless an equal one (object, reason, note) was written in the last ten minutes.
    pub fn publish(&self, object: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        let note = shortened(note);
        if !self.is_new(object, reason, note) {
            return;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let pending = Pending {
            event,
            object: object.clone(),
        };
        if self.waiting.try_send(pending).is_err() {
            tracing::warn!(reason, note, "too many events wait; this one is dropped");
        }
    }

    /// An event of type Normal.
    pub fn normal(&self, object: &ObjectReference, reason: &str, note: &str) {
        self.publish(object, EventType::Normal, reason, note);
    }

    /// An event of type Warning.
    pub fn warning(&self, object: &ObjectReference, reason: &str, note: &str) {
        self.publish(object, EventType::Warning, reason, note);
    }

    fn is_new(&self, object: &ObjectReference, reason: &str, note: &str) -> bool {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let name = format!(
            "{}/{}/{}/{}",
            part(&object.kind),
            part(&object.namespace),
            part(&object.name),
            part(&object.uid)
        );
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, at| now.duration_since(*at) < QUIET);
        let key = (name, reason.to_owned(), note.to_owned());
        if written.contains_key(&key) {
            return false;
        }
        if written.len() < REMEMBERED_MAX {
            written.insert(key, now);
        }
        true
    }
}

fn shortened(note: &str) -> &str {
    &note[..note.floor_char_boundary(NOTE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ObjectReference;
    use tokio::time::{advance, sleep};

    use super::{Events, WAITING_MAX, WRITE_LIMIT, shortened};
    use crate::platform::kube::fake_api::{FakeApi, Mood};

    const CREATE: &str = "POST /apis/events.k8s.io/v1/namespaces/mail/events";

    fn object(name: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("Backend".to_owned()),
            namespace: Some("mail".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            ..ObjectReference::default()
        }
    }

    /// Virtual time passes only when all that was asked for is done.
    async fn settle() {
        sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn equal_events_are_written_once_in_ten_minutes() {
        let api = FakeApi::default();
        let events = Events::new(api.client(), "pod_1");
        for _ in 0..3 {
            events.normal(&object("be-a"), "Draining", "2 users left");
            events.normal(&object("be-a"), "Draining", "1 user left");
            events.normal(&object("be-b"), "Draining", "2 users left");
        }
        settle().await;
        assert_eq!(api.calls(), [CREATE; 3]);
        advance(Duration::from_secs(601)).await;
        events.normal(&object("be-a"), "Draining", "2 users left");
        settle().await;
        assert_eq!(api.calls(), [CREATE; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_cannot_be_written_hold_nobody_up() {
        let api = FakeApi::default();
        let events = Events::new(api.client(), "pod_1");
        api.set_mood(Mood::Silent);
        for number in 0..WAITING_MAX + 50 {
            events.warning(&object("be-a"), "Failed", &format!("try {number}"));
        }
        sleep(WRITE_LIMIT * 3 / 2).await;
        assert_eq!(api.calls(), [CREATE; 2]);
    }

    #[test]
    fn a_long_note_ends_at_a_character() {
        let long = "ä".repeat(600);
        assert_eq!(shortened(&long), "ä".repeat(512));
        assert_eq!(shortened(&long[2..]), "ä".repeat(512));
        assert_eq!(shortened("short"), "short");
    }
}
