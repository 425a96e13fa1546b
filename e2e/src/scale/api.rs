//! A client of the API server: few connections that are kept, and watches.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long a call may take.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Rest before a watch that failed is begun anew, and before what the API server puts off is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// Events that may wait to be read.
const EVENTS_MAX: usize = 1024;

type Sender = SendRequest<Full<Bytes>>;

/// A client; cheap to clone.
#[derive(Clone)]
pub(super) struct Api(Arc<Server>);

struct Server {
    /// `host:port`.
    address: String,
    connector: TlsConnector,
    idle: Mutex<Vec<Sender>>,
}

/// What a watch tells.
pub(super) enum Event {
    /// An object is there, or changed.
    Applied(Value),
    /// An object is gone.
    Gone(Value),
}

fn field<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("the kubeconfig has no {pointer}"))
}

impl Api {
    /// A client for the first cluster and user of a kubeconfig with certificates in it.
    pub(super) fn of(kubeconfig: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(kubeconfig)
            .with_context(|| format!("read {}", kubeconfig.display()))?;
        let config: Value = serde_yaml::from_str(&text)?;
        let pem = |pointer: &str| -> Result<Vec<u8>> {
            let text = field(&config, pointer)?;
            Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
        };
        let url = field(&config, "/clusters/0/cluster/server")?;
        let address = url
            .strip_prefix("https://")
            .context("not an HTTPS server")?;
        let authority = pem("/clusters/0/cluster/certificate-authority-data")?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority)?)?;
        let certificate = pem("/users/0/user/client-certificate-data")?;
        let key = pem("/users/0/user/client-key-data")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(&certificate)?],
                PrivateKeyDer::from_pem_slice(&key)?,
            )?;
        Ok(Self(Arc::new(Server {
            address: address.to_owned(),
            connector: TlsConnector::from(Arc::new(config)),
            idle: Mutex::default(),
        })))
    }

    async fn connection(&self) -> Result<Sender> {
        let stream = TcpStream::connect(&self.0.address).await?;
        stream.set_nodelay(true)?;
        let host = self.0.address.rsplit_once(':').map_or("", |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        let tls = self.0.connector.connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        // It ends with its sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    async fn send(
        &self,
        sender: &mut Sender,
        method: &Method,
        path: &str,
        kind: &str,
        body: &Bytes,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.0.address)
            .header("accept", "application/json")
            .header("content-type", kind)
            .body(Full::new(body.clone()))?;
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        kind: &str,
        body: &Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let mut sender = match self.kept() {
            Some(sender) => sender,
            None => self.connection().await?,
        };
        let answer = self.send(&mut sender, method, path, kind, body).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(sender);
        Ok((status, body))
    }

    async fn call(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Answer> {
        let body = match body {
            Value::Null => Bytes::new(),
            body => serde_json::to_vec(body)?.into(),
        };
        let what = || format!("{method} {path}");
        let exchange = async {
            loop {
                let (status, answer) = self.exchange(&method, path, kind, &body).await?;
                if status != StatusCode::TOO_MANY_REQUESTS {
                    return Ok::<_, anyhow::Error>((status, answer));
                }
                sleep(AGAIN).await;
            }
        };
        let (status, body) = timeout(CALL_LIMIT, exchange)
            .await
            .with_context(what)?
            .with_context(what)?;
        let text = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        match status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(Answer::Otherwise),
            status if status.is_success() => Ok(Answer::Done(serde_json::from_slice(&body)?)),
            status => bail!("{}: {status}: {}", what(), text()),
        }
    }

    /// An object; none if it is not there.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>> {
        let answer = self
            .call(Method::GET, path, "application/json", &Value::Null)
            .await?;
        Ok(answer.object())
    }

    /// Makes an object, unless it is there already.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<()> {
        self.call(Method::POST, path, "application/json", object)
            .await
            .map(|_| ())
    }

    /// Changes an object by a merge patch; none if it is gone.
    pub(super) async fn patch(&self, path: &str, patch: &Value) -> Result<Option<Value>> {
        let kind = "application/merge-patch+json";
        let answer = self.call(Method::PATCH, path, kind, patch).await?;
        Ok(answer.object())
    }

    /// Deletes an object at once.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let options = serde_json::json!({"gracePeriodSeconds": 0});
        self.call(Method::DELETE, path, "application/json", &options)
            .await
            .map(|_| ())
    }

    /// Tells all objects of a list, then each change, as long as somebody reads.
    pub(super) fn follow(&self, path: &str) -> mpsc::Receiver<Event> {
        let (told, events) = mpsc::channel(EVENTS_MAX);
        let (api, path) = (self.clone(), path.to_owned());
        tokio::spawn(async move {
            while !told.is_closed() {
                // A watch that ends is begun anew, with all that is there.
                if let Err(error) = api.watch(&path, &told).await {
                    tell_error(&path, &error);
                    sleep(AGAIN).await;
                }
            }
        });
        events
    }

    async fn watch(&self, path: &str, told: &mpsc::Sender<Event>) -> Result<()> {
        let join = if path.contains('?') { '&' } else { '?' };
        let list = self.get(path).await?.context("nothing to watch")?;
        let version = list["metadata"]["resourceVersion"].as_str();
        let mut version = version.context("a list without version")?.to_owned();
        if let Value::Array(items) = &list["items"] {
            for item in items {
                told.send(Event::Applied(item.clone())).await?;
            }
        }
        loop {
            let path =
                format!("{path}{join}watch=1&allowWatchBookmarks=true&resourceVersion={version}");
            let mut sender = self.connection().await?;
            let (kind, nothing) = ("application/json", Bytes::new());
            let answer = self
                .send(&mut sender, &Method::GET, &path, kind, &nothing)
                .await?;
            ensure!(answer.status().is_success(), "watch: {}", answer.status());
            let mut body = answer.into_body();
            let mut pending = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else {
                    continue;
                };
                pending.extend_from_slice(&data);
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line = pending.split_to(end + 1);
                    let mut event: Value = serde_json::from_slice(&line)?;
                    let object = event["object"].take();
                    if let Some(seen) = object["metadata"]["resourceVersion"].as_str() {
                        seen.clone_into(&mut version);
                    }
                    match event["type"].as_str().unwrap_or_default() {
                        "ADDED" | "MODIFIED" => told.send(Event::Applied(object)).await?,
                        "DELETED" => told.send(Event::Gone(object)).await?,
                        "ERROR" => bail!("the watch ended: {object}"),
                        _ => {}
                    }
                }
            }
        }
    }
}

fn tell_error(path: &str, error: &anyhow::Error) {
    crate::console::Console::default().say(&format!("watch of {path}: {error:#}"));
}

/// What the API server answered.
enum Answer {
    Done(Value),
    /// It is not there, is there already, or is another version.
    Otherwise,
}

impl Answer {
    fn object(self) -> Option<Value> {
        match self {
            Self::Done(object) => Some(object),
            Self::Otherwise => None,
        }
    }
}
