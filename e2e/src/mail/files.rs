//! Reads messages from a Maildir, an mbox, a folder of messages or one message.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Folders inside a Maildir that are looked into, so that a loop of links ends.
const FOLDERS_MAX: usize = 10_000;

/// At most `messages_max` messages below a path, each with CRLF line ends.
pub fn read_mail(path: &Path, messages_max: usize) -> Result<Vec<Vec<u8>>> {
    let explain = || format!("cannot read mail from {}", path.display());
    let status = fs::metadata(path).with_context(explain)?;
    if status.is_file() {
        return read_file(path, messages_max).with_context(explain);
    }
    ensure!(
        status.is_dir(),
        "{} is neither a file nor a folder",
        path.display()
    );
    let paths = if path.join("cur").is_dir() || path.join("new").is_dir() {
        maildir(path).with_context(explain)?
    } else {
        messages_in(path).with_context(explain)?
    };
    ensure!(!paths.is_empty(), "no messages in {}", path.display());
    let read = |path: &PathBuf| {
        let content = fs::read(path);
        Ok(finish(content.with_context(|| {
            format!("cannot read {}", path.display())
        })?))
    };
    paths.iter().take(messages_max).map(read).collect()
}

/// An mbox, or one message.
fn read_file(path: &Path, messages_max: usize) -> Result<Vec<Vec<u8>>> {
    let mut file = BufReader::new(fs::File::open(path)?);
    if !file.fill_buf()?.starts_with(b"From ") {
        return Ok(vec![finish(fs::read(path)?)]);
    }
    let mut mbox = Mbox::new(file, |line: &[u8]| line.starts_with(b"From "));
    let mut messages = Vec::new();
    while messages.len() < messages_max
        && let Some(message) = mbox.next_message()?
    {
        messages.push(finish(message));
    }
    Ok(messages)
}

/// Files of a folder that are not hidden, by name.
pub(super) fn messages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Messages of a Maildir and of its folders (Maildir++), by name.
fn maildir(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.to_owned()];
    for entry in fs::read_dir(root)?.take(FOLDERS_MAX) {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    let mut paths = Vec::new();
    for folder in folders {
        for part in ["cur", "new"] {
            let part = folder.join(part);
            if part.is_dir() {
                paths.extend(messages_in(&part)?);
            }
        }
    }
    Ok(paths)
}

/// Reads an mbox message by message, lines as they are.
pub(super) struct Mbox<R, S> {
    input: R,
    is_separator: S,
    /// Whether the line that begins the next message was read.
    begun: bool,
}

impl<R: BufRead, S: Fn(&[u8]) -> bool> Mbox<R, S> {
    pub(super) const fn new(input: R, is_separator: S) -> Self {
        Self {
            input,
            is_separator,
            begun: false,
        }
    }

    /// The next message, without its `From ` line, quoting (`>From `, mboxrd) and the empty line
    /// after it.
    pub(super) fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        let mut after_empty = true;
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.input.read_until(b'\n', &mut line)? == 0 {
                let begun = std::mem::take(&mut self.begun);
                return Ok(begun.then(|| without_last_line_if_empty(message)));
            }
            if after_empty && (self.is_separator)(&line) {
                if std::mem::replace(&mut self.begun, true) {
                    return Ok(Some(without_last_line_if_empty(message)));
                }
                after_empty = false;
                continue;
            }
            after_empty = line.trim_ascii().is_empty();
            let quoted = line.iter().take_while(|&&byte| byte == b'>').count();
            let unquote = quoted > 0 && line[quoted..].starts_with(b"From ");
            message.extend_from_slice(&line[usize::from(unquote)..]);
        }
    }
}

/// An mbox puts an empty line after each message.
fn without_last_line_if_empty(mut message: Vec<u8>) -> Vec<u8> {
    for (end, kept) in [(&b"\r\n\r\n"[..], 2), (b"\n\n", 1)] {
        if message.ends_with(end) {
            message.truncate(message.len() - kept);
            break;
        }
    }
    message
}

/// A message as it is delivered: CRLF at the end of each line.
pub(super) fn finish(content: Vec<u8>) -> Vec<u8> {
    let mut content = to_crlf(content);
    end_with_crlf(&mut content);
    content
}

/// Gives each LF its CR; bare CRs stay.
pub fn to_crlf(content: Vec<u8>) -> Vec<u8> {
    let mut bare = 0;
    let mut before = 0;
    for &byte in &content {
        bare += usize::from(byte == b'\n' && before != b'\r');
        before = byte;
    }
    if bare == 0 {
        return content;
    }
    let mut converted = Vec::with_capacity(content.len() + bare);
    for byte in content {
        if byte == b'\n' && converted.last() != Some(&b'\r') {
            converted.push(b'\r');
        }
        converted.push(byte);
    }
    converted
}

/// LMTP's DATA can only carry content that ends so.
pub(super) fn end_with_crlf(content: &mut Vec<u8>) {
    if !content.is_empty() && !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn line_ends_become_crlf_and_nothing_else_changes() {
        assert_eq!(
            to_crlf(b"a\nb\r\nc\rd\n\n".to_vec()),
            b"a\r\nb\r\nc\rd\r\n\r\n"
        );
        assert_eq!(finish(b"a: b\n\nend".to_vec()), b"a: b\r\n\r\nend\r\n");
    }

    #[test]
    fn an_mbox_is_split_at_from_lines_that_follow_an_empty_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mbox");
        let first = "From a@b Mon Jan  6 10:00:00 2025\nSubject: one\n\nFirst.\n>From here.\n>>From there.\n";
        let second =
            "From c@d Mon Jan  6 11:00:00 2025\nSubject: two\n\nLine\nFrom the middle.\n\n";
        write(&path, &format!("{first}\n{second}"));
        assert_eq!(
            read_mail(&path, 10).unwrap(),
            [
                b"Subject: one\r\n\r\nFirst.\r\nFrom here.\r\n>From there.\r\n".to_vec(),
                b"Subject: two\r\n\r\nLine\r\nFrom the middle.\r\n".to_vec(),
            ]
        );
        assert_eq!(read_mail(&path, 1).unwrap().len(), 1);
    }

    #[test]
    fn a_maildir_gives_the_messages_of_all_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("cur/1:2,S"), "a: 1\n");
        write(&folder.path().join("new/2"), "a: 2\n");
        write(&folder.path().join("tmp/3"), "a: 3\n");
        write(&folder.path().join(".Sent/cur/4:2,"), "a: 4\n");
        write(&folder.path().join("dovecot-uidlist"), "3 V1\n");
        let mut found = read_mail(folder.path(), 10).unwrap();
        found.sort();
        assert_eq!(found, [b"a: 1\r\n", b"a: 2\r\n", b"a: 4\r\n"]);
    }

    #[test]
    fn a_folder_gives_its_files_by_name_and_a_file_itself() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("b.eml"), "b: 1\n");
        write(&folder.path().join("a.eml"), "a: 1\n");
        write(&folder.path().join(".hidden"), "h: 1\n");
        assert_eq!(
            read_mail(folder.path(), 10).unwrap(),
            [b"a: 1\r\n", b"b: 1\r\n"]
        );
        assert_eq!(
            read_mail(&folder.path().join("b.eml"), 10).unwrap(),
            [b"b: 1\r\n"]
        );
    }

    #[test]
    fn an_absent_or_empty_path_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        let told = format!("{:#}", read_mail(&absent, 1).unwrap_err());
        assert!(told.contains("absent"), "{told}");
        let told = format!("{:#}", read_mail(folder.path(), 1).unwrap_err());
        assert!(told.starts_with("no messages in "), "{told}");
    }
}
