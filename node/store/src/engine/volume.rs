//! The reserve: new data is refused while the volume could still take deletes and checkpoints.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, Space};
use crate::rows::StoreError;

/// The volume that a partition lies on.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) reserve_percent: u8,
    pub(crate) reserve_bytes: u64,
}

impl Volume {
    /// What the volume says of itself; `None` if nobody can tell.
    pub(crate) fn space(&self) -> Result<Option<Space>, StoreError> {
        self.disk
            .space(&self.directory)
            .map_err(|source| StoreError::Io {
                what: format!("ask for the space of {}", self.directory.display()),
                source,
            })
    }

    /// Bytes that new data may take.
    pub(crate) fn available(&self) -> Result<u64, StoreError> {
        let space = self.space()?;
        Ok(space.map_or(u64::MAX, |space| {
            let share = space.total / 100 * u64::from(self.reserve_percent);
            space.free.saturating_sub(share.max(self.reserve_bytes))
        }))
    }
}
