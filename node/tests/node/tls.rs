//! TLS: implicit and by STARTTLS, with real certificates and a real client.

use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

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
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
        .arg(node.path().join("ca.pem"))
        .args(["--user", &format!("alice:{PASSWORD}")])
        .args(arguments)
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
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
