//! Certificates, a node's admin interface on loopback, and requests byte for byte.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use murder_api::Settings;
use murder_node::admin::{self, BackendPart, Context, Limits};
use murder_node::mupdate::master::MasterHandle;
use murder_node::net::tls::{Tls, TlsFiles};
use murder_node::server_state::ServerState;
use murder_node::telemetry::{Health, Metrics};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An authority, and a folder for all files of a test.
pub(crate) struct Authority {
    pub(crate) folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = "test authority";
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { folder, issuer }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// TLS with a certificate for `uri`, or with one that names no node.
    pub(crate) fn tls(&self, uri: Option<&str>) -> Tls {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a node");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if let Some(uri) = uri {
            let uri = uri.try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = tempfile::tempdir_in(self.path()).unwrap();
        let (pem, key_pem) = (files.path().join("pem"), files.path().join("key"));
        std::fs::write(&pem, certificate.pem()).unwrap();
        std::fs::write(&key_pem, key.serialize_pem()).unwrap();
        let files = TlsFiles {
            certificate: &pem,
            key: &key_pem,
            ca: &self.path().join("ca.pem"),
        };
        Tls::load(files, None).unwrap()
    }

    pub(crate) fn operator(&self) -> Tls {
        self.tls(Some("murder://test/operator/operator/operator-0"))
    }
}

/// Settings of a node with a role.
pub(crate) fn settings(folder: &Path, role: &str, server: &str) -> Settings {
    let mut text = format!(
        "role: {role}\ncluster: test\nname: {server}-0\nserver: {server}\ndataDir: data-{server}\n\
         accounts: accounts\nlisteners:\n  admin: 127.0.0.1:0\n  imaps: 127.0.0.1:0\n  lmtp: 127.0.0.1:0\n  \
         transfer: 127.0.0.1:0\n  mupdate: 127.0.0.1:0\n\
         tls: {{certificate: pem, key: key, ca: ca.pem}}\n"
    );
    if matches!(role, "backend" | "frontend") {
        text.push_str("mupdate: {host: 127.0.0.1}\n");
    }
    Settings::parse(&folder.join("settings.yaml"), &text).unwrap()
}

/// What a node's admin interface is made of.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) state: Option<Arc<ServerState>>,
    pub(crate) backend: Option<BackendPart>,
    pub(crate) master: Option<MasterHandle>,
    pub(crate) limits: Limits,
}

impl Parts {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: None,
            backend: None,
            master: None,
            limits: Limits::default(),
        }
    }
}

/// A node's admin interface.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(authority: &Authority, parts: Parts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = authority.tls(Some("murder://test/backend/be-a/be-a-0"));
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::default()));
        let context = Context {
            settings: Arc::new(parts.settings),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            state: parts.state,
            backend: parts.backend,
            master: parts.master,
            limits: parts.limits,
        };
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(admin::serve(listener, tls, context, stopping));
        Self {
            address,
            metrics,
            health,
            stop,
            task,
        }
    }

    /// Tells it to stop, and returns once it has.
    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }

    pub(crate) async fn connect(&self, tls: &Tls) -> murder_node::net::Stream {
        let socket = TcpStream::connect(self.address).await.unwrap();
        tls.connect("localhost", socket).await.unwrap().0
    }

    /// The whole answer to a request, without its date.
    pub(crate) async fn raw(&self, tls: &Tls, request: &[u8]) -> String {
        let mut stream = self.connect(tls).await;
        stream.write_all(request).await.unwrap();
        read_answer(&mut stream).await
    }

    pub(crate) async fn get(&self, tls: &Tls, path: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        self.raw(tls, request.as_bytes()).await
    }

    pub(crate) async fn post(&self, tls: &Tls, path: &str, body: &str) -> String {
        let request = request(path, body);
        self.raw(tls, request.as_bytes()).await
    }
}

/// A request that changes something, as the operator sends it.
pub(crate) fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads to the end of the connection.
pub(crate) async fn read_answer(stream: &mut murder_node::net::Stream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    normal(&String::from_utf8(answer).unwrap())
}

/// The status line, the header without its date in one order, and the body.
fn normal(answer: &str) -> String {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return answer.to_owned();
    };
    let mut lines: Vec<_> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    lines.retain(|line| !line.starts_with("date: "));
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// An answer with a JSON body.
pub(crate) fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: application/json\r\n\r\n{body}",
        body.len()
    )
}

/// A refusal.
pub(crate) fn refused(status: &str, reason: &str, message: &str) -> String {
    let body = format!(r#"{{"reason":"{reason}","message":"{message}"}}"#);
    json(status, &body)
}
