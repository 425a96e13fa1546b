//! An API server in memory for tests: objects by path, versions, conflicts, finalizers, outages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{self, SendResponse};

/// How calls are answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mood {
    #[default]
    Answers,
    /// Never.
    Silent,
    /// With 500, after nothing was done.
    Fails,
    /// Reads are answered, writes are done and their answer is lost.
    LosesAnswers,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    version: u64,
    mood: Mood,
    calls: Vec<String>,
    /// Answers to calls that begin so, whatever the mood.
    refused: Vec<(String, u16, Value)>,
    /// Calls that never get an answer; a dropped one would be an error at once.
    hanging: Vec<SendResponse<Response<Body>>>,
}

/// Shared by all the clients it gives.
#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<Inner>>);

impl FakeApi {
    /// A client of its own; needs a runtime.
    pub(super) fn client(&self) -> Client {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let api = self.clone();
        tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let content = parts.headers.get(http::header::CONTENT_TYPE);
                // Server-side apply makes what is missing, other patches do not.
                let applies = content.is_some_and(|c| c.to_str().unwrap().contains("apply"));
                api.call(&parts.method, applies, parts.uri.path(), &body, send);
            }
        });
        Client::new(service, "mail")
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// Calls so far, such as `PUT /apis/…`.
    pub(super) fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }

    /// Where there are objects.
    pub(super) fn paths(&self) -> Vec<String> {
        self.0.lock().unwrap().objects.keys().cloned().collect()
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Stores an object as somebody else would: it gets a new version.
    pub(super) fn put(&self, path: &str, mut object: Value) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        object["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        inner.objects.insert(path.to_owned(), object);
    }

    pub(super) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// Refuses calls that begin with `call`, such as `PATCH /api/…`, from now on.
    pub(super) fn refuse(&self, call: &str, code: u16, status: &Value) {
        let mut whole = failure(code, "Forbidden").1;
        merge(&mut whole, status);
        let mut inner = self.0.lock().unwrap();
        inner.refused.push((call.to_owned(), code, whole));
    }

    fn call(
        &self,
        method: &Method,
        applies: bool,
        path: &str,
        body: &[u8],
        send: SendResponse<Response<Body>>,
    ) {
        let (mood, refusal) = {
            let mut inner = self.0.lock().unwrap();
            let call = format!("{method} {path}");
            let mut refused = inner.refused.iter();
            let refusal = refused.find(|(begin, ..)| call.starts_with(begin));
            let refusal = refusal.map(|(_, code, status)| (*code, status.clone()));
            inner.calls.push(call);
            (inner.mood, refusal)
        };
        let answer = match mood {
            _ if refusal.is_some() => refusal,
            Mood::Silent => None,
            Mood::Fails => Some(failure(500, "InternalError")),
            Mood::Answers => Some(self.answer(method, applies, path, body)),
            Mood::LosesAnswers => {
                let answer = self.answer(method, applies, path, body);
                (method == Method::GET).then_some(answer)
            }
        };
        match answer {
            None => self.0.lock().unwrap().hanging.push(send),
            Some((code, value)) => {
                let body = Body::from(serde_json::to_vec(&value).unwrap());
                let response = Response::builder().status(code).body(body).unwrap();
                send.send_response(response);
            }
        }
    }

    fn answer(&self, method: &Method, applies: bool, path: &str, body: &[u8]) -> (u16, Value) {
        let mut sent = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
        let applies = applies && !path.ends_with("/status");
        let path = path.strip_suffix("/status").map_or(path, |object| {
            let status = sent["status"].take();
            sent = json!({"status": status});
            object
        });
        let path = match (method, sent["metadata"]["name"].as_str()) {
            (&Method::POST, Some(name)) => format!("{path}/{name}"),
            _ => path.to_owned(),
        };
        let found = self.get(&path);
        let wanted = &sent["metadata"]["resourceVersion"];
        let uid = &sent["metadata"]["uid"];
        let object = match (method.as_str(), found) {
            ("GET", Some(found)) => return (200, found),
            ("GET" | "PUT" | "DELETE", None) => return failure(404, "NotFound"),
            ("PATCH", None) if !applies => return failure(404, "NotFound"),
            ("POST", Some(_)) => return failure(409, "AlreadyExists"),
            ("PATCH", Some(found)) if !uid.is_null() && *uid != found["metadata"]["uid"] => {
                return failure(409, "Conflict");
            }
            ("PUT" | "PATCH", Some(found))
                if !wanted.is_null() && *wanted != found["metadata"]["resourceVersion"] =>
            {
                return failure(409, "Conflict");
            }
            ("PATCH", Some(mut found)) => {
                merge(&mut found, &sent);
                found
            }
            ("DELETE", Some(mut found)) => {
                let expected = &sent["preconditions"];
                let differs =
                    |key: &str| !expected[key].is_null() && expected[key] != found["metadata"][key];
                if differs("uid") || differs("resourceVersion") {
                    return failure(409, "Conflict");
                }
                found["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                found
            }
            _ => sent,
        };
        let metadata = &object["metadata"];
        let is_held = metadata["finalizers"]
            .as_array()
            .is_some_and(|held| !held.is_empty());
        if !metadata["deletionTimestamp"].is_null() && !is_held {
            self.remove(&path);
            return (200, object);
        }
        self.put(&path, object);
        (200, self.get(&path).unwrap())
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "reason": reason, "message": reason, "code": code,
    });
    (code, status)
}
