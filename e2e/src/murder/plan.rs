//! What a murder is made of, and its files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use murder_api::settings::Role;
use murder_model::Fence;
use serde_json::Value;

use super::certificates::Authority;
use super::ports::Ports;
use super::{ADMIN, CLUSTER, Murder, PASSWORD, settings};
use crate::admin::Admin;
use crate::node::{Addresses, Node, checked_binary, merge};

/// Letters that name backends and unified nodes.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// What a murder is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    binary: PathBuf,
    mupdate: bool,
    backends: usize,
    frontends: usize,
    unified: usize,
    users: Vec<String>,
    password: String,
    everywhere: Vec<Value>,
    settings: BTreeMap<String, Vec<Value>>,
    environment: BTreeMap<String, Vec<(String, OsString)>>,
}

impl Plan {
    /// Nothing yet; `binary` is the node program.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            mupdate: false,
            backends: 0,
            frontends: 0,
            unified: 0,
            users: Vec::new(),
            password: PASSWORD.to_owned(),
            everywhere: Vec::new(),
            settings: BTreeMap::new(),
            environment: BTreeMap::new(),
        }
    }

    /// A master, backends `be-a`, `be-b`, … and frontends `fe-0`, `fe-1`, ….
    #[must_use]
    pub fn discrete(binary: impl Into<PathBuf>, backends: usize, frontends: usize) -> Self {
        Self {
            mupdate: true,
            backends,
            frontends,
            ..Self::new(binary)
        }
    }

    /// A master and unified nodes `un-a`, `un-b`, ….
    #[must_use]
    pub fn unified(binary: impl Into<PathBuf>, nodes: usize) -> Self {
        Self {
            mupdate: true,
            unified: nodes,
            ..Self::new(binary)
        }
    }

    /// One unified node, `un-a`, without a master.
    #[must_use]
    pub fn single(binary: impl Into<PathBuf>) -> Self {
        Self {
            unified: 1,
            ..Self::new(binary)
        }
    }

    /// Accounts beside the administrator's.
    #[must_use]
    pub fn users<U: Into<String>>(mut self, users: impl IntoIterator<Item = U>) -> Self {
        self.users.extend(users.into_iter().map(Into::into));
        self
    }

    /// The password of every account.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// Settings of all nodes, merged over the usual ones; `null` takes a key away.
    #[must_use]
    pub fn settings(mut self, patch: Value) -> Self {
        self.everywhere.push(patch);
        self
    }

    /// Settings of one process (`be-a-0`), merged over those of all.
    #[must_use]
    pub fn settings_of(mut self, name: &str, patch: Value) -> Self {
        self.settings
            .entry(name.to_owned())
            .or_default()
            .push(patch);
        self
    }

    /// A variable of one process (`be-a-0`).
    #[must_use]
    pub fn environment_of(
        mut self,
        name: &str,
        variable: &str,
        value: impl Into<OsString>,
    ) -> Self {
        let variables = self.environment.entry(name.to_owned()).or_default();
        variables.push((variable.to_owned(), value.into()));
        self
    }

    /// Writes all files into a new temporary folder; starts nothing.
    pub fn prepare(self) -> Result<Murder> {
        let folder = tempfile::Builder::new().prefix("murder-").tempdir()?;
        let path = folder.path().to_owned();
        self.prepare_in(&path).map(|mut murder| {
            murder.temporary = Some(folder);
            murder
        })
    }

    /// Writes all files into an existing folder; starts nothing.
    pub fn prepare_in(self, folder: &Path) -> Result<Murder> {
        let binary = checked_binary(&self.binary)?;
        let folder = folder
            .canonicalize()
            .with_context(|| format!("no folder {}", folder.display()))?;
        let authority = Authority::new(CLUSTER, &folder.join("tls"))?;
        let accounts = folder.join("accounts");
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&accounts)
            .with_context(|| format!("cannot write {}", accounts.display()))?;
        let operator = authority.issue("operator", "operator", "operator-0")?;
        let admin = Admin::new(operator.client()?);
        let mut ports = Ports::new();
        let mut nodes = Vec::new();
        let mut master: Option<(String, u16)> = None;
        for (role, server, name) in self.names() {
            let addresses = addresses(&mut ports)?;
            let files = authority.issue(settings::role_word(role), &server, &name)?;
            let mut settings = settings::usual(&settings::Facts {
                role,
                name: &name,
                server: &server,
                data: &folder.join(&name),
                accounts: &accounts,
                addresses,
                files: &files,
                master: master.as_ref().map(|(name, port)| (&**name, *port)),
                is_unified: self.unified > 0,
            });
            let patches = self.everywhere.iter();
            for patch in patches.chain(self.settings.get(&name).into_iter().flatten()) {
                merge(&mut settings, patch);
            }
            if role == Role::Mupdate {
                master = Some((name.clone(), addresses.mupdate.port()));
            }
            fs::create_dir_all(folder.join(&name))?;
            let node = Node {
                binary: binary.clone(),
                folder: folder.clone(),
                environment: self.environment.get(&name).cloned().unwrap_or_default(),
                name,
                server,
                role,
                addresses,
                settings,
                child: None,
            };
            node.write_settings()?;
            nodes.push(node);
        }
        let murder = Murder {
            nodes,
            admin,
            authority,
            password: self.password,
            fence: Fence::new(1),
            folder,
            temporary: None,
            _ports: ports,
        };
        for user in std::iter::once(ADMIN).chain(self.users.iter().map(String::as_str)) {
            murder.add_account(user, &murder.password)?;
        }
        Ok(murder)
    }

    /// Writes all files into a new temporary folder, starts all nodes and waits until all are ready.
    pub async fn start(self) -> Result<Murder> {
        let mut murder = self.prepare()?;
        murder.start_all().await?;
        Ok(murder)
    }

    fn names(&self) -> Vec<(Role, String, String)> {
        let lettered = |role, prefix: &'static str, count| {
            LETTERS.chars().take(count).map(move |letter| {
                let server = format!("{prefix}-{letter}");
                let name = format!("{server}-0");
                (role, server, name)
            })
        };
        let master = (Role::Mupdate, "mupdate".to_owned(), "mupdate-0".to_owned());
        let frontend = |number| (Role::Frontend, "fe".to_owned(), format!("fe-{number}"));
        self.mupdate
            .then_some(master)
            .into_iter()
            .chain(lettered(Role::Backend, "be", self.backends))
            .chain(lettered(Role::Unified, "un", self.unified))
            .chain((0..self.frontends).map(frontend))
            .collect()
    }
}

fn addresses(ports: &mut Ports) -> Result<Addresses> {
    Ok(Addresses {
        imap: ports.next()?,
        imaps: ports.next()?,
        lmtp: ports.next()?,
        transfer: ports.next()?,
        mupdate: ports.next()?,
        admin: ports.next()?,
        metrics: ports.next()?,
    })
}
