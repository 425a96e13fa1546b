//! isync's `mbsync`, both ways.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::{PASSWORD, message};
use crate::service::Service;
use crate::{mail, program};

const DELIVERED: usize = 30;

struct Mbsync {
    program: PathBuf,
    config: PathBuf,
    maildir: PathBuf,
}

impl Mbsync {
    fn new(service: &Service) -> Self {
        let maildir = service.path().join("maildir");
        std::fs::create_dir(&maildir).unwrap();
        let config = service.path().join("mbsyncrc");
        let text = format!(
            "IMAPAccount node\nHost 127.0.0.1\nPort {}\nUser {user}\nPass {PASSWORD}\n\
             SSLType None\nAuthMechs PLAIN\n\nIMAPStore far\nAccount node\n\n\
             MaildirStore near\nPath {dir}/\nInbox {dir}/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :far:\nNear :near:\nPatterns INBOX Archive\nCreate Near\n\
             Expunge Both\nSync All\nSyncState *\n",
            service.imap,
            user = service.user,
            dir = maildir.display()
        );
        std::fs::write(&config, text).unwrap();
        Self {
            program: program::find("mbsync", "isync"),
            config,
            maildir,
        }
    }

    fn sync(&self) {
        program::succeed(&self.program, &["-c", self.config.to_str().unwrap(), "all"]);
    }

    /// The files of the messages in a folder.
    fn messages(&self, folder: &str) -> Vec<PathBuf> {
        let folder = self.maildir.join(folder);
        let mut found = mail::files(&folder.join("new"));
        found.extend(mail::files(&folder.join("cur")));
        found
    }

    /// The file of the message with this subject in the INBOX.
    fn about(&self, id: usize) -> Option<PathBuf> {
        let line = format!("Subject: about {id}\n");
        let mut messages = self.messages("INBOX").into_iter();
        messages.find(|path| {
            String::from_utf8(std::fs::read(path).unwrap())
                .unwrap()
                .contains(&line)
        })
    }
}

/// What was delivered, from a file with Unix line ends and one line of mbsync's own.
fn content(path: &Path) -> String {
    let stored = mail::to_crlf(&std::fs::read(path).unwrap());
    let text = String::from_utf8(mail::without_trace(&stored).to_vec()).unwrap();
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("X-TUID: ")).collect()
}

fn keep_a_maildir_and_the_server_alike(service: &Service) {
    let mbsync = Mbsync::new(service);
    let mails: Vec<_> = (0..DELIVERED)
        .map(|id| {
            message(
                &id.to_string(),
                &format!("body {id}\r\n\r\n{}", "x".repeat(id * 50)),
            )
        })
        .collect();
    let mut lmtp = service.lmtp();
    for mail in &mails {
        for recipient in [service.user, &format!("{}+Archive", service.user)] {
            mail::deliver(&mut lmtp, recipient, mail.as_bytes());
        }
    }
    mbsync.sync();
    let expected: BTreeSet<_> = mails.iter().cloned().collect();
    for folder in ["INBOX", "Archive"] {
        let files = mbsync.messages(folder);
        assert_eq!(files.len(), DELIVERED, "{folder}");
        let got: BTreeSet<_> = files.iter().map(|path| content(path)).collect();
        assert!(got == expected, "{folder}: {got:?}");
    }

    // Nothing is left to do.
    let mut client = service.login();
    let status = "STATUS INBOX (MESSAGES UIDNEXT HIGHESTMODSEQ)";
    let (files, before) = (mbsync.messages("INBOX"), client.command(status));
    mbsync.sync();
    assert_eq!(mbsync.messages("INBOX"), files);
    assert_eq!(client.command(status), before);

    // Flags set here are seen there.
    let path = mbsync.about(3).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let name = name.split(":2,").next().unwrap();
    let read = mbsync.maildir.join(format!("INBOX/cur/{name}:2,FS"));
    std::fs::rename(&path, read).unwrap();
    mbsync.sync();
    client.command("SELECT INBOX");
    assert_eq!(client.command("UID SEARCH SEEN FLAGGED")[0], "* SEARCH 4");

    // What is expunged there vanishes here.
    client.command("UID STORE 6 +FLAGS (\\Deleted)");
    client.command("EXPUNGE");
    mbsync.sync();
    assert_eq!(mbsync.about(5), None);
    assert_eq!(mbsync.messages("INBOX").len(), DELIVERED - 1);

    // A message put here appears there.
    let put = message("put", "from here").replace("\r\n", "\n");
    std::fs::write(mbsync.maildir.join("INBOX/cur/1.put.here:2,S"), put).unwrap();
    mbsync.sync();
    client.command("NOOP");
    let found = client.command("UID SEARCH SEEN SUBJECT \"about put\" BODY \"from here\"");
    assert_eq!(found[0], format!("* SEARCH {}", DELIVERED + 1));
}

#[test]
fn mbsync_keeps_a_maildir_and_the_node_alike() {
    keep_a_maildir_and_the_server_alike(&Service::single());
}

#[test]
fn mbsync_keeps_a_maildir_and_a_murder_alike() {
    keep_a_maildir_and_the_server_alike(&Service::murder("mbsync-a"));
}
