//! Ports that stay a murder's own while its nodes die and start again.
//!
//! They lie below the range from which the kernel gives ports to connecting sockets, so no client
//! can sit on a dead node's port. A block of them belongs to whoever listens on its first port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::random::Random;

/// Ports in a block, with the first, which is its guard.
const BLOCK_PORTS: u16 = 32;

/// The lowest block.
const LOW: u16 = 10_240;

/// The end of the blocks; the local platform takes ports from there on.
const HIGH: u16 = 24_576;

/// Blocks that are tried.
const TRIES_MAX: usize = 10_000;

/// Gives ports; those that it gave are kept from other murders while it lives.
#[derive(Debug)]
pub(super) struct Ports {
    guards: Vec<TcpListener>,
    free: Vec<u16>,
    random: Random,
}

impl Ports {
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.map_or(0, |now| now.as_nanos() as u64) ^ u64::from(std::process::id());
        Self {
            guards: Vec::new(),
            free: Vec::new(),
            random: Random::new(seed),
        }
    }

    /// A loopback address that nobody listens on.
    pub(super) fn next(&mut self) -> Result<SocketAddr> {
        for _ in 0..TRIES_MAX {
            while let Some(port) = self.free.pop() {
                if listen(port).is_some() {
                    return Ok((Ipv4Addr::LOCALHOST, port).into());
                }
            }
            self.take_block();
        }
        Err(anyhow::anyhow!("all ports are taken")).context("no free ports on loopback")
    }

    fn take_block(&mut self) {
        let blocks = (HIGH - LOW) / BLOCK_PORTS;
        let first = LOW + self.random.below(usize::from(blocks)) as u16 * BLOCK_PORTS;
        if let Some(guard) = listen(first) {
            self.guards.push(guard);
            self.free.extend((first + 1..first + BLOCK_PORTS).rev());
        }
    }
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Ports;

    #[test]
    fn no_two_murders_get_the_same_port() {
        let mut murders = [Ports::new(), Ports::new(), Ports::new()];
        let mut given = HashSet::new();
        for _ in 0..40 {
            for ports in &mut murders {
                assert!(given.insert(ports.next().unwrap()));
            }
        }
    }
}
