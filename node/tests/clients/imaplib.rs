//! Python's `imaplib`.

use crate::harness::PASSWORD;
use crate::program;
use crate::service::Service;

fn a_day(service: &Service) {
    let python = program::find("python3", "python3");
    let port = service.imap.to_string();
    let script = include_str!("session.py");
    program::succeed(&python, &["-c", script, &port, service.user, PASSWORD]);
}

#[test]
fn imaplib_uses_a_mailbox_all_day() {
    a_day(&Service::single());
}

#[test]
fn imaplib_uses_mailboxes_of_both_backends_all_day() {
    for user in ["imaplib-a", "imaplib-b"] {
        a_day(&Service::murder(user));
    }
}
