//! A backend that serves other backends all they may ask for.

use std::sync::Arc;

use murder_model::{EmailId, Guid, InternalDate, MailboxName, RootName};
use murder_node::backend::{Backend, forward};
use murder_node::net::listener;
use murder_node::peer::{self, Service, append};
use murder_store::mail::{intents, mailbox_by_name, messages, structure};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::harness::{Node, load_tls};
use crate::murder::Murder;

pub(crate) struct Server {
    pub(crate) node: Node,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    resumes: bool,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) email_id: EmailId,
    pub(crate) guid: Guid,
    pub(crate) date: InternalDate,
    pub(crate) content: Vec<u8>,
}

impl Server {
    pub(crate) async fn start(murder: &Murder, name: &str) -> Self {
        let node = murder.backend(name, "admins: [admin]\n").await;
        let mut server = Self {
            node,
            stop: watch::channel(false).0,
            tasks: JoinSet::new(),
            resumes: false,
        };
        server.attach().await;
        server
    }

    async fn attach(&mut self) {
        let backend = Arc::clone(self.node.backend());
        let transfers = Arc::clone(self.node.transfers());
        let settings = Arc::clone(&backend.settings);
        let tls = load_tls(&settings);
        backend.forwarding.set_tls(tls.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        self.node.to_peers.set_target(port);
        let stopping = self.stop.subscribe();
        self.tasks.spawn(listener::serve(
            listener,
            64,
            b"",
            stopping,
            move |socket, _| {
                let (backend, transfers) = (Arc::clone(&backend), Arc::clone(&transfers));
                let (settings, tls) = (Arc::clone(&settings), tls.clone());
                async move {
                    match peer::accept(&settings, &tls, socket).await {
                        Ok(Some((link, peer, Service::Transfer))) => {
                            transfers.serve(link, peer).await;
                        }
                        Ok(Some((link, peer, Service::Append))) => {
                            append::serve(backend, link, peer).await;
                        }
                        _ => {}
                    }
                }
            },
        ));
    }

    /// Settles what was left, from now on and after each start.
    pub(crate) fn resume(&mut self) {
        self.resumes = true;
        let backend = Arc::clone(self.backend());
        let stopping = self.stop.subscribe();
        self.tasks.spawn(forward::resume(backend, stopping));
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.node.stop().await;
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.stop = watch::channel(false).0;
        self.node.run().await;
        self.node.reported().await;
        self.attach().await;
        if self.resumes {
            self.resume();
        }
    }

    pub(crate) async fn stop_and_check(&mut self) {
        self.stop().await;
        self.node.stop_and_check().await;
    }

    pub(crate) fn backend(&self) -> &Arc<Backend> {
        self.node.backend()
    }

    pub(crate) fn client(&self, user: &str) -> Client {
        Client::open(self.backend(), user)
    }

    /// Makes a root, and gives rights on its top.
    pub(crate) async fn create(&self, root: &str, rights: &[(&str, &str)]) {
        let root = RootName::parse(root).unwrap();
        self.node.create(&root).await;
        let mut admin = self.client("admin");
        let shown = match root.as_str().strip_prefix("user.") {
            Some(user) => format!("Other Users/{user}"),
            None => format!("Shared Folders/{root}"),
        };
        for (user, rights) in rights {
            admin
                .ok(&format!("SETACL \"{shown}\" {user} {rights}"))
                .await;
        }
    }

    pub(crate) async fn stored(&self, mailbox: &str) -> Vec<Stored> {
        stored(self.backend(), mailbox).await
    }

    pub(crate) async fn uid_validity(&self, mailbox: &str) -> String {
        self.node.row(mailbox).await.uid_validity.to_string()
    }

    /// Intents of a root's unit.
    pub(crate) async fn intents(&self, root: &str) -> usize {
        let place = self.backend().unit(&RootName::parse(root).unwrap());
        let place = place.unwrap();
        let read = place.partition.read(move |rows| intents(rows, &place.unit));
        read.await.unwrap().len()
    }
}

/// The messages of a mailbox that is here, served or not.
pub(crate) async fn stored(backend: &Arc<Backend>, mailbox: &str) -> Vec<Stored> {
    let name = MailboxName::parse_internal(mailbox).unwrap();
    let place = backend.unit(&name.root()).unwrap();
    let snapshots = place.partition.snapshots().clone();
    let read = place.partition.read(move |rows| {
        let row = mailbox_by_name(rows, &place.unit, &name)?.unwrap();
        let mut found = Vec::new();
        for (_, message) in messages(rows, &row.id, 1, u32::MAX)? {
            let (place, _) = structure(rows, &message)?.unwrap();
            found.push(Stored {
                email_id: message.email_id,
                guid: message.guid,
                date: message.internal_date,
                content: snapshots
                    .blob(place)
                    .unwrap()
                    .read(0..u64::MAX)
                    .unwrap()
                    .to_vec(),
            });
        }
        Ok(found)
    });
    read.await.unwrap()
}
