//! TLS: implicit and by STARTTLS, with real certificates and a real client.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

use murder_node::net::tls::{Tls, TlsError, TlsFiles};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Node, PASSWORD, message};

/// An authority and a certificate for `localhost`, as PEM files in `directory`.
fn write_certificates(directory: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(DnType::CommonName, "test authority");
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut node = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    node.distinguished_name.push(DnType::CommonName, "one-0");
    let uri = "murder://test/unified/one/one-0".try_into().unwrap();
    node.subject_alt_names.push(SanType::URI(uri));
    let certificate = node.signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("ca.pem"), ca_certificate.pem()).unwrap();
    std::fs::write(directory.join("node.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("node.key"), key.serialize_pem()).unwrap();
}

/// A node that takes passwords under TLS only.
fn start() -> (Node, u16) {
    let mut node = Node::start_new();
    node.kill();
    write_certificates(node.path());
    let imaps = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let settings = std::fs::read_to_string(node.config()).unwrap();
    let settings = settings
        .replace(
            "listeners:\n",
            &format!("listeners:\n  imaps: 127.0.0.1:{imaps}\n"),
        )
        .replace(
            "insecureLoopback: true",
            "lmtp: {trustedNetworks: [127.0.0.0/8]}",
        );
    let tls = "tls: {certificate: node.pem, key: node.key, ca: ca.pem}\n";
    std::fs::write(node.config(), settings + tls).unwrap();
    node.start();
    (node, imaps)
}

fn curl(node: &Node, arguments: &[&str]) -> String {
    let output = try_curl(node, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn try_curl(node: &Node, arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
        .arg(node.path().join("ca.pem"))
        .args(["--user", &format!("alice:{PASSWORD}")])
        .args(arguments)
        .output()
        .expect("curl is installed")
}

#[test]
fn mail_is_read_over_implicit_tls_and_over_starttls() {
    let (node, imaps) = start();
    node.deliver(&["alice"], &message("1", "under wraps"));
    let whole = curl(&node, &[&format!("imaps://localhost:{imaps}/INBOX;UID=1")]);
    assert!(whole.ends_with("\r\n\r\nunder wraps\r\n"), "{whole}");
    let plain = format!("imap://localhost:{}/INBOX;UID=1", node.imap);
    let whole = curl(&node, &["--ssl-reqd", &plain]);
    assert!(whole.ends_with("\r\n\r\nunder wraps\r\n"), "{whole}");
}

#[test]
fn a_password_in_the_clear_is_refused() {
    let (node, _) = start();
    let mut client = node.imap();
    let capability = client.command("CAPABILITY");
    assert_eq!(
        capability[0],
        "* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID LOGINDISABLED STARTTLS"
    );
    let answer = client.command("LOGIN alice secret");
    assert_eq!(answer, ["t NO [PRIVACYREQUIRED] start TLS first"]);
}

/// Row 52: new certificates of a new authority, and nobody who is connected notices.
#[test]
fn row_52_new_certificates_are_shown_to_new_connections_without_a_restart() {
    let (node, imaps) = start();
    let url = format!("imaps://localhost:{imaps}/");
    curl(&node, &[&url]);
    let mut open = node.imap();
    write_certificates(node.path());
    let deadline = Instant::now() + Duration::from_secs(60);
    // curl trusts the new authority alone.
    while !try_curl(&node, &[&url]).status.success() {
        assert!(
            Instant::now() < deadline,
            "the old certificate is still shown"
        );
    }
    assert_eq!(open.command("NOOP"), ["t OK done"]);
}

fn load(directory: &Path) -> Tls {
    let (certificate, key, ca) = (
        directory.join("node.pem"),
        directory.join("node.key"),
        directory.join("ca.pem"),
    );
    let files = TlsFiles {
        certificate: &certificate,
        key: &key,
        ca: &ca,
    };
    Tls::load(files, None).unwrap()
}

/// Whether two nodes can connect, each of which must know the other's authority.
async fn shake_hands(server: &Tls, client: &Tls) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = async {
        let (socket, _) = listener.accept().await.unwrap();
        server.accept_mutual(socket).await
    };
    let connected = async {
        let socket = TcpStream::connect(address).await.unwrap();
        client.connect("localhost", socket).await
    };
    let (accepted, connected) = tokio::join!(accepted, connected);
    let identities = accepted.ok().zip(connected.ok());
    identities.is_some_and(|((_, client), (_, server))| {
        let pod = |peer: Option<murder_node::net::PeerIdentity>| peer.map(|peer| peer.pod);
        (pod(client), pod(server)) == (Some("one-0".to_owned()), Some("one-0".to_owned()))
    })
}

/// Row 52: both directions follow the files, each node by itself.
#[tokio::test]
async fn row_52_nodes_that_have_read_the_new_authority_trust_each_other() {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let (old, renewed) = (load(directory.path()), load(directory.path()));
    assert!(shake_hands(&old, &renewed).await);
    assert!(!renewed.reload().unwrap());
    write_certificates(directory.path());
    assert!(renewed.clone().reload().unwrap());
    assert!(!shake_hands(&old, &renewed).await);
    assert!(!shake_hands(&renewed, &old).await);
    assert!(old.reload().unwrap());
    assert!(shake_hands(&old, &renewed).await);
}

/// Row 52: half-written files are told of once, and what was in use stays in use.
#[tokio::test]
async fn row_52_bad_new_files_leave_the_old_ones_in_use() {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let tls = load(directory.path());
    let key = std::fs::read(directory.path().join("node.key")).unwrap();
    let before = tls.expiry();
    let other = KeyPair::generate().unwrap().serialize_pem();
    for bad in ["", "no key", other.as_str()] {
        std::fs::write(directory.path().join("node.key"), bad).unwrap();
        assert!(tls.reload().is_err(), "{bad}");
        assert!(!tls.reload().unwrap(), "told of twice");
        assert!(shake_hands(&tls, &tls).await);
    }
    std::fs::remove_file(directory.path().join("node.key")).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pem { .. })));
    assert!(shake_hands(&tls, &tls).await);
    std::fs::write(directory.path().join("node.key"), key).unwrap();
    assert!(!tls.reload().unwrap());
    assert_eq!(tls.expiry(), before);
}
