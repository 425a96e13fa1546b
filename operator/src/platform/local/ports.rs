//! Free ports on loopback.
//!
//! They come from below the range from which the kernel gives ports to outgoing connections: one of those may take a
//! port between the look for a free one and the node's listening on it, and at every later start.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;

use super::state::Ports;

/// Lowest port that is chosen; those below are left to tests that start nodes themselves.
const LOWEST: u16 = 24_576;
/// Fewest ports among which to choose; with fewer, the kernel chooses.
const CHOICE_MIN: u16 = 1000;
/// Ports tried for each one that is needed.
const TRIES_MAX: usize = 200;

impl Ports {
    /// Seven that are free and not among `taken`.
    pub(super) fn choose(taken: &BTreeSet<u16>) -> anyhow::Result<Self> {
        // All are held open together, so that they differ.
        let listeners = (0..7)
            .map(|_| free(taken))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut ports = listeners
            .iter()
            .map(|listener| listener.local_addr().map(|address| address.port()));
        let mut next = || ports.next().expect("seven were bound");
        Ok(Self {
            imap: next()?,
            imaps: next()?,
            lmtp: next()?,
            transfer: next()?,
            mupdate: next()?,
            admin: next()?,
            metrics: next()?,
            proven: false,
        })
    }

    /// All of them.
    pub(super) fn all(&self) -> [u16; 7] {
        let Self {
            imap,
            imaps,
            lmtp,
            transfer,
            mupdate,
            admin,
            metrics,
            proven: _,
        } = *self;
        [imap, imaps, lmtp, transfer, mupdate, admin, metrics]
    }
}

fn free(taken: &BTreeSet<u16>) -> anyhow::Result<TcpListener> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(choice) = outgoing_from().checked_sub(LOWEST)
        && choice >= CHOICE_MIN
    {
        for _ in 0..TRIES_MAX {
            let mut bytes = [0; 2];
            getrandom::fill(&mut bytes)
                .map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
            let port = LOWEST + u16::from_ne_bytes(bytes) % choice;
            if !taken.contains(&port)
                && let Ok(listener) = bind(port)
            {
                return Ok(listener);
            }
        }
    }
    bind(0).context("find a free port")
}

/// Lowest port of outgoing connections.
fn outgoing_from() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let lowest = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok());
    lowest.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{LOWEST, Ports, outgoing_from};

    #[test]
    fn ports_differ_and_are_not_those_of_outgoing_connections() {
        let mut taken = BTreeSet::new();
        for _ in 0..20 {
            let ports = Ports::choose(&taken).unwrap().all();
            for port in ports {
                assert!(taken.insert(port), "{port} twice");
                assert!((LOWEST..outgoing_from()).contains(&port), "{port}");
            }
        }
    }
}
