//! What a seed makes of the world: how many nodes, and how much fails.

use murder_model::ServerId;

use crate::message::Millis;
use crate::random::Random;

/// Sizes and rates of one run; rates are per thousand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) backends: usize,
    pub(crate) frontends: usize,
    pub(crate) clients: usize,
    pub(crate) loss: u64,
    pub(crate) doubling: u64,
    pub(crate) slow: u64,
    /// Mean time between two disturbances.
    pub(crate) disturbance: Millis,
    /// Shares of disturbances.
    pub(crate) crashes: u64,
    pub(crate) moves: u64,
    /// How long things fail.
    pub(crate) chaos: Millis,
    /// The master may lose its volume.
    pub(crate) masters_lost: bool,
    /// Volumes may be set back to copies; not where the master, who would notice, loses its own.
    pub(crate) restores: bool,
    /// Rows of a step of a move.
    pub(crate) step_rows: usize,
    /// A freeze that takes longer is given up.
    pub(crate) freeze: Millis,
    /// Identities of the backends.
    pub(crate) servers: Vec<ServerId>,
}

/// Everything must be at rest this long after the last failure.
pub(crate) const HEALING: Millis = 60_000;

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut plan = Self::draw_rates(random);
        match random.below(10) {
            0..4 => plan.masters_lost = true,
            4..7 => plan.restores = true,
            _ => {}
        }
        plan
    }

    fn draw_rates(random: &mut Random) -> Self {
        Self {
            backends: random.between(2, 3) as usize,
            frontends: random.between(1, 2) as usize,
            clients: random.between(3, 5) as usize,
            loss: [0, 5, 20, 60][random.index(4)],
            doubling: [0, 20, 100][random.index(3)],
            slow: [0, 10, 50, 150][random.index(4)],
            disturbance: random.between(100, 700),
            crashes: [0, 200, 400, 600][random.index(4)],
            moves: [200, 400, 800][random.index(3)],
            chaos: random.between(4000, 9000),
            masters_lost: false,
            restores: false,
            step_rows: [1, 3, 20][random.index(3)],
            freeze: [25, 80, 500][random.index(3)],
            servers: Vec::new(),
        }
    }
}

/// Marks of removals are kept at least this long.
pub(crate) const MARKS_KEPT: Millis = 2500;
/// A moved unit's copy is kept this long.
pub(crate) const GRACE: Millis = 400;
