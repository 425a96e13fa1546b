//! What kubelets, a scheduler and a provisioner of volumes would do, without containers: claims are bound, pods get a
//! machine and an address and are ready as soon as their certificate is there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use murder_api::settings::Role;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::admin::Certificates;
use super::api::{Api, Event};
use super::nodes::Nodes;
use crate::console::Console;

/// Machines that pods are spread over.
const MACHINES: u32 = 20;
/// Objects that are worked on at a time.
const PARALLEL: usize = 16;
/// Rest before something that failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Tries of an object; what is missing then is told.
const TRIES: u32 = 240;

/// Plays for one namespace.
pub(super) struct Kubelet {
    api: Api,
    namespace: String,
    /// First two numbers of the pods' addresses.
    network: [u8; 2],
    units: usize,
    nodes: Arc<Nodes>,
    certificates: Arc<Certificates>,
    /// Addresses of the pods that run, by their uid; none while one starts.
    running: Mutex<HashMap<String, Option<IpAddr>>>,
    given: AtomicU32,
    turns: Semaphore,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

impl Kubelet {
    pub(super) fn new(
        api: Api,
        namespace: &str,
        network: [u8; 2],
        units: usize,
        nodes: Arc<Nodes>,
        certificates: Arc<Certificates>,
    ) -> Arc<Self> {
        Arc::new(Self {
            api,
            namespace: namespace.to_owned(),
            network,
            units,
            nodes,
            certificates,
            running: Mutex::default(),
            given: AtomicU32::new(0),
            turns: Semaphore::new(PARALLEL),
        })
    }

    /// Numbers after those of the addresses that an earlier run gave.
    async fn resume(&self) -> Result<()> {
        let pods = self.api.get(&self.path("pods")).await?;
        let pods = pods.as_ref().and_then(|list| list["items"].as_array());
        let addresses = pods.into_iter().flatten();
        let addresses = addresses.filter_map(|pod| text(pod, "/status/podIP").parse().ok());
        let numbers = addresses.map(|address: Ipv4Addr| {
            let [_, _, c, d] = address.octets();
            u32::from(u16::from_be_bytes([c, d]))
        });
        let next = numbers.max().unwrap_or(0) + 1;
        self.given.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the machines, then works in the background until the program ends.
    pub(super) async fn start(self: Arc<Self>) -> Result<()> {
        self.resume().await?;
        for index in 0..MACHINES {
            let name = format!("machine{index}");
            let machine = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            });
            self.api.create("/api/v1/nodes", &machine).await?;
            let ready =
                json!({"type": "Ready", "status": "True", "reason": "Played", "message": ""});
            let status = json!({"status": {"conditions": [ready]}});
            let path = format!("/api/v1/nodes/{name}/status");
            self.api.patch(&path, &status).await?;
        }
        for kind in ["persistentvolumeclaims", "pods"] {
            let mut events = self.api.follow(&self.path(kind));
            let kubelet = Arc::clone(&self);
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    let kubelet = Arc::clone(&kubelet);
                    tokio::spawn(async move { kubelet.event(kind, event).await });
                }
            });
        }
        Ok(())
    }

    fn path(&self, kind: &str) -> String {
        format!("/api/v1/namespaces/{}/{kind}", self.namespace)
    }

    async fn event(&self, kind: &str, event: Event) {
        let object = match event {
            Event::Applied(object) => object,
            Event::Gone(object) => {
                self.forget(&object);
                return;
            }
        };
        for _ in 0..TRIES {
            let Ok(turn) = self.turns.acquire().await else {
                return;
            };
            let outcome = match kind {
                "pods" => self.pod(&object).await,
                _ => self.claim(&object).await.map(|()| true),
            };
            drop(turn);
            match outcome {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    let name = text(&object, "/metadata/name");
                    Console::default().say(&format!("{kind} {name}: {error:#}"));
                }
            }
            sleep(AGAIN).await;
        }
    }

    async fn claim(&self, claim: &Value) -> Result<()> {
        if text(claim, "/status/phase") == "Bound" {
            return Ok(());
        }
        let (name, uid) = (text(claim, "/metadata/name"), text(claim, "/metadata/uid"));
        let (capacity, modes) = (
            &claim["spec"]["resources"]["requests"],
            &claim["spec"]["accessModes"],
        );
        let volume = format!("pv-{}-{name}", self.namespace);
        let object = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": capacity,
                "accessModes": modes,
                "storageClassName": claim["spec"]["storageClassName"],
                "persistentVolumeReclaimPolicy": "Delete",
                "csi": {"driver": "played.murder.rs", "volumeHandle": volume},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": self.namespace, "name": name, "uid": uid},
            },
        });
        self.api
            .create("/api/v1/persistentvolumes", &object)
            .await?;
        let path = format!("{}/{name}", self.path("persistentvolumeclaims"));
        let bound = json!({"spec": {"volumeName": volume}});
        self.api.patch(&path, &bound).await?;
        let status =
            json!({"status": {"phase": "Bound", "accessModes": modes, "capacity": capacity}});
        self.api.patch(&format!("{path}/status"), &status).await?;
        Ok(())
    }

    /// Brings a pod on; false if something that it needs is not there yet.
    async fn pod(&self, pod: &Value) -> Result<bool> {
        let (name, uid) = (text(pod, "/metadata/name"), text(pod, "/metadata/uid"));
        let path = format!("{}/{name}", self.path("pods"));
        if pod["metadata"]["deletionTimestamp"].is_string() {
            self.api.delete(&path).await?;
            return Ok(true);
        }
        if !self.begin(uid) {
            return Ok(true);
        }
        let started = self.start_pod(pod, &path).await;
        if !matches!(started, Ok(true)) {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.remove(uid);
        }
        started
    }

    /// Whether a pod is new.
    fn begin(&self, uid: &str) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !running.contains_key(uid);
        if new {
            running.insert(uid.to_owned(), None);
        }
        new
    }

    async fn start_pod(&self, pod: &Value, path: &str) -> Result<bool> {
        let name = text(pod, "/metadata/name");
        let labels = &pod["metadata"]["labels"];
        let label = |key: &str| labels[key].as_str().unwrap_or_default().to_owned();
        let (role, server) = match &label("app.kubernetes.io/component")[..] {
            "backend" => (Role::Backend, label("murder.rs/backend")),
            "frontend" => (Role::Frontend, label("murder.rs/frontend")),
            _ => (
                Role::Mupdate,
                format!("{}-mupdate", label("murder.rs/cluster")),
            ),
        };
        let called = match role {
            Role::Frontend => server.as_str(),
            Role::Backend | Role::Mupdate | Role::Unified => name,
        };
        if !self.certificate(&server, called).await? {
            return Ok(false);
        }
        // One that an earlier run has started keeps its address.
        let address = match text(pod, "/status/podIP").parse() {
            Ok(address) => {
                self.nodes.start(address, name, &server, role, self.units)?;
                address
            }
            Err(_) => {
                let address = self.place(pod, path).await?;
                self.nodes.start(address, name, &server, role, self.units)?;
                let status = json!({"status": running_status(pod, address)});
                self.api.patch(&format!("{path}/status"), &status).await?;
                address
            }
        };
        let uid = text(pod, "/metadata/uid").to_owned();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(uid, Some(address));
        Ok(true)
    }

    /// Gives a pod a machine and an address.
    async fn place(&self, pod: &Value, path: &str) -> Result<IpAddr> {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        if text(pod, "/spec/nodeName").is_empty() {
            let machine = format!("machine{}", number % MACHINES);
            let target = json!({"apiVersion": "v1", "kind": "Node", "name": machine});
            let name = text(pod, "/metadata/name");
            let binding = json!({"apiVersion": "v1", "kind": "Binding",
                "metadata": {"name": name}, "target": target});
            let path = format!("{path}/binding");
            self.api.create(&path, &binding).await?;
        }
        let [a, b] = self.network;
        let [_, _, c, d] = number.to_be_bytes();
        Ok(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    }

    /// Takes the certificate of a server out of its Secret, which a kubelet would mount; false if there is none yet.
    async fn certificate(&self, server: &str, called: &str) -> Result<bool> {
        let path = format!("{}/{server}-tls", self.path("secrets"));
        let Some(secret) = self.api.get(&path).await? else {
            return Ok(false);
        };
        let part = |key: &str| {
            let text = secret["data"][key].as_str();
            let text = text.with_context(|| format!("Secret {server}-tls has no {key}"))?;
            Ok::<_, anyhow::Error>(base64::engine::general_purpose::STANDARD.decode(text)?)
        };
        self.certificates
            .put(called, &part("tls.crt")?, &part("tls.key")?)?;
        Ok(true)
    }

    fn forget(&self, object: &Value) {
        let uid = text(object, "/metadata/uid");
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(address)) = running.remove(uid) {
            self.nodes.stop(address);
        }
    }
}

/// The status of a pod whose one container serves.
fn running_status(pod: &Value, address: IpAddr) -> Value {
    let at = &pod["metadata"]["creationTimestamp"];
    let condition =
        |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": at});
    let image = &pod["spec"]["containers"][0]["image"];
    json!({
        "phase": "Running",
        "hostIP": address,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": at,
        "conditions": [
            condition("PodScheduled"), condition("Initialized"),
            condition("ContainersReady"), condition("Ready"),
        ],
        "containerStatuses": [{
            "name": pod["spec"]["containers"][0]["name"],
            "image": image,
            "imageID": image,
            "ready": true,
            "started": true,
            "restartCount": 0,
            "state": {"running": {"startedAt": at}},
        }],
    })
}
