//! A wire that can be cut: at once, for one direction, or after so many TLS records.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Pass,
    /// Nothing passes, and nothing is lost.
    Hold,
    /// Nobody gets through, and who was through is cut off.
    Refuse,
    /// What clients say is swallowed.
    LoseRequests,
    /// What the server says is swallowed.
    LoseReplies,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum From {
    Client,
    Server,
}

/// Cut the connection once so many records have passed in this direction, once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) from: From,
    pub(crate) records: u64,
}

struct State {
    target: u16,
    cut: Option<Cut>,
    /// Records that have passed since the last arming, by direction.
    passed: [u64; 2],
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Forwards to a port; `records`: what passes are TLS records, which are counted.
    pub(crate) async fn start(target: u16, records: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, modes) = watch::channel(Mode::Pass);
        let state = Arc::new(Mutex::new(State {
            target,
            cut: None,
            passed: [0; 2],
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let modes = modes.clone();
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    if *modes.borrow() == Mode::Refuse {
                        return;
                    }
                    let target = state.lock().unwrap().target;
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
                        return;
                    };
                    client.set_nodelay(true).unwrap();
                    server.set_nodelay(true).unwrap();
                    let (client_read, client_write) = client.into_split();
                    let (server_read, server_write) = server.into_split();
                    let pump = |from, read, write| Pump {
                        from,
                        read,
                        write,
                        records,
                        modes: modes.clone(),
                        state: Arc::clone(&state),
                    };
                    // Whoever ends ends both.
                    tokio::select! {
                        () = pump(From::Client, client_read, server_write).run() => {}
                        () = pump(From::Server, server_read, client_write).run() => {}
                    }
                });
            }
        });
        Self { port, mode, state }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn set_target(&self, target: u16) {
        self.state.lock().unwrap().target = target;
    }

    pub(crate) fn arm(&self, cut: Cut) {
        let mut state = self.state.lock().unwrap();
        state.passed = [0; 2];
        state.cut = Some(cut);
    }

    /// Whether the armed cut has not come yet.
    pub(crate) fn is_armed(&self) -> bool {
        self.state.lock().unwrap().cut.is_some()
    }
}

struct Pump {
    from: From,
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    records: bool,
    modes: watch::Receiver<Mode>,
    state: Arc<Mutex<State>>,
}

impl Pump {
    async fn run(mut self) {
        let mut refused = self.modes.clone();
        tokio::select! {
            () = self.forward() => {}
            _ = refused.wait_for(|mode| *mode == Mode::Refuse) => {}
        }
    }

    async fn forward(&mut self) {
        loop {
            let Some(bytes) = self.next().await else {
                return;
            };
            let mut modes = self.modes.clone();
            if modes.wait_for(|mode| *mode != Mode::Hold).await.is_err() {
                return;
            }
            let lost = match self.from {
                From::Client => Mode::LoseRequests,
                From::Server => Mode::LoseReplies,
            };
            if *self.modes.borrow() == lost {
                continue;
            }
            if self.write.write_all(&bytes).await.is_err() {
                return;
            }
            if self.records && self.is_cut() {
                return;
            }
        }
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        if !self.records {
            let mut bytes = vec![0; 65_536];
            let length = self
                .read
                .read(&mut bytes)
                .await
                .ok()
                .filter(|read| *read > 0)?;
            bytes.truncate(length);
            return Some(bytes);
        }
        let mut head = [0; 5];
        self.read.read_exact(&mut head).await.ok()?;
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let mut record = vec![0; 5 + length];
        record[..5].copy_from_slice(&head);
        self.read.read_exact(&mut record[5..]).await.ok()?;
        Some(record)
    }

    fn is_cut(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.passed[self.from as usize] += 1;
        let cut = state
            .cut
            .filter(|cut| cut.from == self.from && state.passed[self.from as usize] >= cut.records);
        if cut.is_some() {
            state.cut = None;
        }
        cut.is_some()
    }
}
