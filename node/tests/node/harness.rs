//! Starts a node in a directory of its own and speaks to it line by line.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The password of every account.
pub(crate) const PASSWORD: &str = "secret";
/// No answer of a healthy node takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node and its files.
pub(crate) struct Node {
    directory: tempfile::TempDir,
    child: Option<Child>,
    environment: Vec<(String, OsString)>,
    /// Bytes of a volume of its own for its data, which goes when it ends.
    volume: Option<usize>,
    pub(crate) imap: u16,
    pub(crate) lmtp: u16,
    metrics: u16,
}

/// Runs `murder-node` with these arguments and input.
pub(crate) fn murder_node(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_murder-node"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn is_ready(metrics: u16) -> bool {
    health(metrics, "readyz").starts_with("HTTP/1.1 200")
}

/// What the port of metrics answers; empty if it does not.
fn health(metrics: u16, path: &str) -> String {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", metrics)) else {
        return String::new();
    };
    let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    match socket.write_all(request.as_bytes()) {
        Ok(()) if socket.read_to_string(&mut answer).is_ok() => answer,
        _ => String::new(),
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Node {
    /// A node with the accounts alice, bob and admin (an administrator), with these lines added to
    /// its settings.
    pub(crate) fn start_with(extra: &str) -> Self {
        // Somebody may take a port between its choice here and the node's start.
        let start = || {
            let mut node = Self::create(extra);
            node.try_start().then_some(node)
        };
        (0..5).find_map(|_| start()).expect("the node starts")
    }

    /// The same, on a volume of so many bytes that nobody else sees.
    pub(crate) fn start_on_volume(bytes: usize, extra: &str) -> Self {
        let start = || {
            let mut node = Self::create(extra);
            node.volume = Some(bytes);
            node.try_start().then_some(node)
        };
        (0..5).find_map(|_| start()).expect("the node starts")
    }

    fn create(extra: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (imap, lmtp, metrics) = (free_port(), free_port(), free_port());
        let settings = format!(
            "role: unified\ncluster: test\nname: one-0\nserver: one\ndataDir: data\n\
             listeners:\n  imap: 127.0.0.1:{imap}\n  lmtp: 127.0.0.1:{lmtp}\n  \
             metrics: 127.0.0.1:{metrics}\naccounts: accounts\nadmins: [admin]\n\
             insecureLoopback: true\nlogging: {{format: text, level: warn}}\n{extra}"
        );
        std::fs::write(directory.path().join("node.yaml"), settings).unwrap();
        let environment = Vec::new();
        let node = Self {
            directory,
            child: None,
            environment,
            volume: None,
            imap,
            lmtp,
            metrics,
        };
        for user in ["alice", "bob", "admin"] {
            let config = node.config();
            let output = murder_node(&["passwd", "-c", config.to_str().unwrap(), user], PASSWORD);
            assert!(output.status.success(), "{output:?}");
        }
        node
    }

    pub(crate) fn start_new() -> Self {
        Self::start_with("")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("node.yaml")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn partition(&self) -> PathBuf {
        self.directory.path().join("data/partitions/default")
    }

    /// Variables for the next starts.
    pub(crate) fn set_environment(&mut self, environment: Vec<(String, OsString)>) {
        self.environment = environment;
    }

    /// Starts the process and waits until it serves.
    pub(crate) fn start(&mut self) {
        assert!(self.try_start(), "the node ended");
    }

    /// The program, where it sees its volume.
    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_murder-node");
        let Some(bytes) = self.volume else {
            return Command::new(program);
        };
        let script = "set -e; mkdir -p \"$1\"; mount -t tmpfs -o size=\"$2\" tmpfs \"$1\"; \
                      shift 2; exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(self.path().join("data"))
            .args([&bytes.to_string(), program]);
        command
    }

    /// False: the process ended before it served.
    fn try_start(&mut self) -> bool {
        let child = self
            .command()
            .args(["run", "-c"])
            .arg(self.config())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if is_ready(self.metrics) {
                return true;
            }
            assert!(Instant::now() < deadline, "the node is not ready");
            std::thread::yield_now();
        }
        self.child = None;
        false
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells the process something, e.g. `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it says that it is not ready, though it answers.
    pub(crate) fn until_not_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !health(self.metrics, "readyz").starts_with("HTTP/1.1 503") {
            assert!(Instant::now() < deadline, "the node stays ready");
            std::thread::yield_now();
        }
        assert!(health(self.metrics, "healthz").starts_with("HTTP/1.1 200"));
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not end");
            std::thread::yield_now();
        }
    }

    pub(crate) fn imap(&self) -> Client {
        let mut client = Client::connect(self.imap);
        assert!(client.line().starts_with("* OK [CAPABILITY IMAP4rev1 "));
        client
    }

    /// A session that has logged in.
    pub(crate) fn login(&self, user: &str) -> Client {
        let mut client = self.imap();
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

    /// Delivers one message and returns the replies after the final dot.
    pub(crate) fn deliver(&self, recipients: &[&str], message: &str) -> Vec<String> {
        self.lmtp().deliver(recipients, message)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// One connection.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            reader: BufReader::new(socket),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// One line without its end; empty at the end of the connection.
    pub(crate) fn line(&mut self) -> String {
        self.next_line().unwrap_or_default()
    }

    fn next_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line).unwrap() == 0 {
            return None;
        }
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
        Some(String::from_utf8_lossy(line).into_owned())
    }

    /// Exactly so many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// A reply of LMTP, its lines joined.
    pub(crate) fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                return lines.join("\n");
            }
        }
    }

    /// Sends `t COMMAND` and returns all lines up to and with the tagged one.
    pub(crate) fn command(&mut self, command: &str) -> Vec<String> {
        self.send(format!("t {command}\r\n").as_bytes());
        self.until_tag()
    }

    pub(crate) fn until_tag(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.next_line() {
            let ended = line.starts_with("t ");
            lines.push(line);
            if ended {
                return lines;
            }
        }
        panic!("the connection ended: {lines:?}");
    }

    pub(crate) fn deliver(&mut self, recipients: &[&str], message: &str) -> Vec<String> {
        self.send(b"MAIL FROM:<sender@example.org>\r\n");
        assert!(self.reply().starts_with("250 "));
        let mut accepted = 0;
        for recipient in recipients {
            self.send(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
            let reply = self.reply();
            assert!(reply.starts_with("250 "), "{recipient}: {reply}");
            accepted += 1;
        }
        self.send(b"DATA\r\n");
        assert!(self.reply().starts_with("354 "));
        self.send(message.as_bytes());
        self.send(b".\r\n");
        (0..accepted).map(|_| self.reply()).collect()
    }
}

pub(crate) fn message(id: &str, body: &str) -> String {
    format!(
        "From: Sender <sender@example.org>\r\nTo: alice@example.org\r\nSubject: about {id}\r\n\
         Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <{id}@example.org>\r\n\r\n{body}\r\n"
    )
}

/// Delivers until the node is gone; returns what it acknowledged.
pub(crate) fn deliver_until(
    port: u16,
    round: usize,
    writer: usize,
    stop: &AtomicBool,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(socket) = TcpStream::connect(("127.0.0.1", port)) else {
        return acknowledged;
    };
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{round}-{writer}-{number}");
        let text = format!(
            "{}MAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n",
            if number == 0 { "LHLO x\r\n" } else { "" }
        );
        if reader.get_mut().write_all(text.as_bytes()).is_err() {
            break;
        }
        if !read_until(&mut reader, &mut line, "354 ") {
            break;
        }
        let body = format!("{}.\r\n", message(&id, &"x".repeat(number % 2000)));
        if reader.get_mut().write_all(body.as_bytes()).is_err() {
            break;
        }
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || !line.starts_with("250 ") {
            break;
        }
        acknowledged.push(id);
    }
    acknowledged
}

fn read_until(reader: &mut BufReader<TcpStream>, line: &mut String, wanted: &str) -> bool {
    loop {
        line.clear();
        if reader.read_line(line).unwrap_or(0) == 0 {
            return false;
        }
        if line.starts_with(wanted) {
            return true;
        }
    }
}
