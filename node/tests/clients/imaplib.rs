//! Python's `imaplib`.

use crate::harness::{Node, PASSWORD};
use crate::program;

#[test]
fn imaplib_uses_a_mailbox_all_day() {
    let python = program::find("python3", "python3");
    let node = Node::start_new();
    let port = node.imap.to_string();
    let script = include_str!("session.py");
    program::succeed(&python, &["-c", script, &port, "alice", PASSWORD]);
}
