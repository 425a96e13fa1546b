//! The demonstration: mail is delivered and read while a backend is drained and another one is
//! killed (or, with a single node, while that one is killed), and then every message is accounted for.

mod deliver;
mod drained;
mod experience;
mod ledger;
mod local;
mod mailbox;
mod read;
mod report;
mod seen;
mod single;
mod trial;
mod verify;

use std::path::PathBuf;

use crate::mail::Sources;

pub use drained::run as run_murder;
pub use experience::{Experience, Phase};
pub use ledger::{Copied, Delivery, Ledger, State};
pub use local::{Backend, Local, Options as LocalOptions, Status};
pub use mailbox::Mailbox;
pub use report::{Moved, Report};
pub use seen::{Found, Seen, View};
pub use single::{NODE, password_file, run as run_single};
pub use trial::{Door, Party, TlsDoor, Trial};
pub use verify::{Copies, Findings};

use trial::World;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mail.
    pub sources: Sources,
    /// Users.
    pub users: usize,
    /// The node program.
    pub node: PathBuf,
    /// The operator's program.
    pub operator: PathBuf,
    /// The murder.
    pub manifest: PathBuf,
    /// An existing folder that everything is kept in.
    pub state: PathBuf,
}
