//! How much room a volume has: the one module that asks the system for it.

use std::io;
use std::path::Path;

use murder_store::engine::Space;

/// Free and total bytes of the volume that holds `path`, as ordinary users may fill it.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}
