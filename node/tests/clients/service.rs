//! What the programs talk to: one unified node, or the frontend of a murder. Both have one face.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use murder_e2e::murder::{Murder, Plan};
use tempfile::TempDir;

use crate::harness::{Client, Node, PASSWORD};

/// Users of the murder: each check has one of its own, and neighbours live on different backends.
const USERS: [&str; 8] = [
    "imaplib-a",
    "imaplib-b",
    "curl-a",
    "curl-b",
    "mbsync-a",
    "lmtptest-b",
    "awkward-a",
    "corpus-b",
];

/// The murder that all checks which run at the same time use.
static SHARED: Mutex<Weak<Murder>> = Mutex::new(Weak::new());

#[expect(dead_code, reason = "held so that the processes live")]
enum Held {
    Node(Box<Node>),
    Murder(Arc<Murder>),
}

/// A place where one user's mail is delivered and read.
pub(crate) struct Service {
    pub(crate) imap: u16,
    pub(crate) lmtp: u16,
    pub(crate) user: &'static str,
    folder: TempDir,
    _held: Held,
}

impl Service {
    /// A unified node of its own, and the user alice.
    pub(crate) fn single() -> Self {
        let node = Node::start_new();
        Self {
            imap: node.imap,
            lmtp: node.lmtp,
            user: "alice",
            folder: tempfile::tempdir().unwrap(),
            _held: Held::Node(Box::new(node)),
        }
    }

    /// The frontend of a murder with two backends; the user's last letter is that of the backend.
    pub(crate) fn murder(user: &'static str) -> Self {
        assert!(USERS.contains(&user), "{user} has no account");
        let murder = shared();
        let addresses = murder.addresses("fe-0").unwrap();
        let service = Self {
            imap: addresses.imap.port(),
            lmtp: addresses.lmtp.port(),
            user,
            folder: tempfile::tempdir().unwrap(),
            _held: Held::Murder(murder),
        };
        service.login();
        let backend = format!("be-{}", user.rsplit_once('-').unwrap().1);
        let mut admin = service.login_as("admin");
        let answer = admin.command(&format!("XFER \"Other Users/{user}\" {backend}"));
        let answer = answer.last().unwrap();
        let here = answer == "t OK moved" || answer.ends_with(" destination is this server");
        assert!(here, "{answer}");
        service
    }

    /// For what a check writes.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A session of the user.
    pub(crate) fn login(&self) -> Client {
        self.login_as(self.user)
    }

    fn login_as(&self, user: &str) -> Client {
        let mut client = Client::connect(self.imap);
        let greeting = client.line();
        assert!(
            greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "),
            "{greeting}"
        );
        let answer = client.command(&format!("LOGIN {user} {PASSWORD}"));
        assert!(answer.last().unwrap().starts_with("t OK "), "{answer:?}");
        client
    }

    pub(crate) fn lmtp(&self) -> Client {
        let mut client = Client::connect(self.lmtp);
        assert!(client.line().starts_with("220 "));
        client.send(b"LHLO test\r\n");
        assert!(client.reply().starts_with("250"));
        client
    }
}

fn shared() -> Arc<Murder> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(murder) = shared.upgrade() {
        return murder;
    }
    let plan = Plan::discrete(env!("CARGO_BIN_EXE_murder-node"), 2, 1)
        .users(USERS)
        .password(PASSWORD);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let murder = Arc::new(runtime.block_on(plan.start()).unwrap());
    *shared = Arc::downgrade(&murder);
    murder
}
