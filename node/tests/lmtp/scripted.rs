//! A server of the murder whose LMTP does what a test says.

use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use murder_node::backend::Backend;
use murder_node::net::{Stream, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::murder::{Murder, Served, accept, listen, root, tls};

/// What the server does with a line.
pub(crate) enum Answer {
    /// What a healthy backend would.
    Usual,
    /// This, and a healthy backend's silence about it.
    Line(&'static str),
    /// It never says or reads anything again.
    Stop,
    /// It closes the connection.
    HangUp,
}

/// Is told each line with how many of the same verb came before, `CONNECT` for a connection.
pub(crate) type Script = fn(&str, usize) -> Answer;

pub(crate) struct Scripted {
    pub(crate) backend: Arc<Backend>,
    heard: Arc<Heard>,
    _served: Served,
}

/// All that clients sent.
struct Heard {
    script: Script,
    tls: Tls,
    lines: Mutex<Vec<String>>,
    counts: Mutex<HashMap<String, usize>>,
    changed: watch::Sender<usize>,
}

impl Scripted {
    pub(crate) async fn start(murder: &Murder, server: &str, script: Script) -> Self {
        let (listener, lmtp): (_, SocketAddr) = listen().await;
        let backend = murder.open("backend", server, lmtp, "").await;
        let heard = Arc::new(Heard {
            script,
            tls: tls(&murder.issue("backend", server)),
            lines: Mutex::default(),
            counts: Mutex::default(),
            changed: watch::channel(0).0,
        });
        let served = accept(listener, {
            let heard = Arc::clone(&heard);
            move |socket, _| {
                let heard = Arc::clone(&heard);
                async move {
                    let _end = heard.serve(socket).await;
                }
            }
        });
        Self {
            backend,
            heard,
            _served: served,
        }
    }

    /// The master says so.
    pub(crate) async fn has(&self, user: &str) {
        self.backend.create_root(&root(user)).await.unwrap();
    }

    /// Lines so far, without LHLO and STARTTLS.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.heard.lines.lock().unwrap().clone()
    }

    /// Waits until a line has come.
    pub(crate) async fn heard(&self, line: &str) {
        let mut changed = self.heard.changed.subscribe();
        while !self.lines().iter().any(|heard| heard == line) {
            changed.changed().await.unwrap();
        }
    }
}

impl Heard {
    fn ask(&self, line: &str) -> Answer {
        let verb = line.split(' ').next().unwrap().to_owned();
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(verb).or_default();
        self.lines.lock().unwrap().push(line.to_owned());
        self.changed.send_modify(|lines| *lines += 1);
        *count += 1;
        (self.script)(line, *count - 1)
    }

    async fn serve(&self, socket: TcpStream) -> std::io::Result<()> {
        match self.ask("CONNECT") {
            Answer::Usual => {}
            Answer::Line(line) => return write(&mut Stream::Plain(socket), line).await,
            Answer::Stop => return pending().await,
            Answer::HangUp => return Ok(()),
        }
        let mut stream = Stream::Plain(socket);
        write(&mut stream, "220 scripted LMTP ready").await?;
        let mut accepted = 0;
        loop {
            let line = read_line(&mut stream).await?;
            let verb = line.split(' ').next().unwrap();
            match verb {
                "LHLO" => {
                    let hello = "250-scripted\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 STARTTLS";
                    write(&mut stream, hello).await?;
                    continue;
                }
                "STARTTLS" => {
                    write(&mut stream, "220 2.0.0 start TLS now").await?;
                    let Stream::Plain(socket) = stream else {
                        panic!("TLS in TLS");
                    };
                    stream = self.tls.accept_public(socket).await?.0;
                    continue;
                }
                _ => {}
            }
            let answer = self.ask(&line);
            if verb == "BDAT" && !matches!(answer, Answer::Stop) {
                let size = line.split(' ').nth(1).unwrap().parse().unwrap();
                stream.read_exact(&mut vec![0; size]).await?;
            }
            match answer {
                Answer::Line(line) => write(&mut stream, line).await?,
                Answer::Stop => return pending().await,
                Answer::HangUp => return Ok(()),
                Answer::Usual => match verb {
                    "RCPT" => {
                        accepted += 1;
                        write(&mut stream, "250 2.1.5 recipient ok").await?;
                    }
                    "BDAT" if line.ends_with(" LAST") => {
                        for _ in 0..std::mem::take(&mut accepted) {
                            write(&mut stream, "250 2.1.5 delivered").await?;
                        }
                    }
                    _ => write(&mut stream, "250 2.0.0 ok").await?,
                },
            }
        }
    }
}

async fn write(stream: &mut Stream, line: &str) -> std::io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

async fn read_line(stream: &mut Stream) -> std::io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8(line).unwrap())
}
