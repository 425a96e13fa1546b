//! How unevenly backends are filled, and which moves would even them out. Nothing moves by itself: people do.
//!
//! Backends are compared by their amount for each unit of weight. The skew is the difference between the fullest and
//! the emptiest, as a share of the mean. A proposal takes the largest unit that brings the fullest and the emptiest
//! together, again and again, until the skew is half of what called for it: few moves, and none soon after.

use std::collections::{BTreeMap, BTreeSet};

use murder_api::admin::UnitSummary;

use super::observe::World;
use super::placement::{accepts, free_bytes};

/// What is evened out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Target {
    /// Bytes of mail.
    #[default]
    Bytes,
    /// Number of mailboxes.
    Mailboxes,
}

/// How backends should be evened out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RebalanceWish {
    /// Whether moves are proposed.
    pub propose: bool,
    /// Skew from which on they are.
    pub threshold_percent: u64,
    /// What is evened out.
    pub target: Target,
    /// Most moves.
    pub moves_max: usize,
}

impl Default for RebalanceWish {
    fn default() -> Self {
        Self {
            propose: false,
            threshold_percent: 20,
            target: Target::Bytes,
            moves_max: 1000,
        }
    }
}

/// A backend that takes part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Its name.
    pub name: String,
    /// Its share of the whole, relative to the others' weights; more than 0.
    pub weight: u64,
    /// Its bytes of mail.
    pub bytes: u64,
    /// Its mailboxes.
    pub mailboxes: u64,
    /// Room for units from others.
    pub free_bytes: u64,
}

/// A move that would help.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Move {
    /// Root of the unit.
    pub root: String,
    /// Who has it.
    pub from: String,
    /// Who would get it.
    pub to: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Moves that would even backends out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proposal {
    /// In this order.
    pub moves: Vec<Move>,
    /// Names the moves by their content.
    pub hash: String,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Skew after all of them.
    pub skew_percent_after: u64,
}

/// Where a murder is with being even.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RebalanceState {
    /// Nobody wants proposals.
    Disabled,
    /// Something else comes first, as told.
    Paused(String),
    /// Even enough.
    Balanced,
    /// The units of these backends must be listed first.
    UnitsNeeded(Vec<String>),
    /// Uneven, and no move would help.
    NoBenefit,
    /// Uneven, and these moves would help.
    ProposalReady(Proposal),
}

/// The skew of a murder and what would help.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rebalance {
    /// The skew; none if not all backends that take part are seen.
    pub skew_percent: Option<u64>,
    /// Where it is.
    pub state: RebalanceState,
}

impl RebalanceState {
    /// The reason in the condition Rebalanced.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Disabled => "Disabled",
            Self::Paused(_) => "Paused",
            Self::Balanced => "Balanced",
            Self::UnitsNeeded(_) => "Planning",
            Self::NoBenefit => "NoBenefit",
            Self::ProposalReady(_) => "ProposalReady",
        }
    }
}

/// The skew of a murder and what would help; `units` are those of the backends by name, as far as they were listed.
pub fn rebalance(
    world: &World,
    wish: RebalanceWish,
    units: &BTreeMap<String, Vec<UnitSummary>>,
) -> Rebalance {
    let loads = loads(world);
    let hindrance = hindrance(world);
    let skew_percent = match hindrance {
        Some(Hindrance::Unseen(_)) => None,
        Some(Hindrance::Busy(_)) | None => Some(skew_percent(&loads, wish.target)),
    };
    let state = if !wish.propose {
        RebalanceState::Disabled
    } else if let Some(Hindrance::Unseen(why) | Hindrance::Busy(why)) = hindrance {
        RebalanceState::Paused(why)
    } else {
        propose(&loads, wish, units)
    };
    Rebalance {
        skew_percent,
        state,
    }
}

enum Hindrance {
    Busy(String),
    Unseen(String),
}

/// Why nothing can be said or should be done now.
fn hindrance(world: &World) -> Option<Hindrance> {
    let staying = |name: &&super::BackendView| !name.is_leaving();
    let mut backends = world.backends.iter().filter(staying);
    if let Some(unseen) = backends.find(|backend| backend.status.is_none()) {
        let why = format!("{} does not answer", unseen.pod_name());
        return Some(Hindrance::Unseen(why));
    }
    if world.cluster.paused {
        return Some(Hindrance::Busy("the MurderCluster is paused".to_owned()));
    }
    let leaving = world.backends.iter().find(|backend| backend.is_leaving());
    let leaving = leaving?;
    let why = format!("{} is being emptied, which comes first", leaving.name);
    Some(Hindrance::Busy(why))
}

fn loads(world: &World) -> Vec<Load> {
    let backends = world.backends.iter().filter(|b| accepts(world, b));
    let mut loads: Vec<Load> = backends
        .filter_map(|backend| {
            let status = backend.status.as_ref()?;
            Some(Load {
                name: backend.name.clone(),
                weight: u64::from(backend.weight),
                bytes: status.bytes,
                mailboxes: status.mailboxes,
                free_bytes: free_bytes(world, backend),
            })
        })
        .collect();
    loads.sort_by(|a, b| a.name.cmp(&b.name));
    loads
}

/// The difference between the fullest and the emptiest, in hundredths of the mean.
pub fn skew_percent(loads: &[Load], target: Target) -> u64 {
    skew(
        &loads
            .iter()
            .map(|load| Fill::of(load, target))
            .collect::<Vec<_>>(),
    )
}

/// How full a backend is, in what is evened out.
#[derive(Clone, Copy, Debug)]
struct Fill {
    amount: u64,
    weight: u64,
    free_bytes: u64,
}

impl Fill {
    fn of(load: &Load, target: Target) -> Self {
        let amount = match target {
            Target::Bytes => load.bytes,
            Target::Mailboxes => load.mailboxes,
        };
        Self {
            amount,
            weight: load.weight.max(1),
            free_bytes: load.free_bytes,
        }
    }

    /// The amount for each unit of weight, in 2^-32.
    fn level(&self) -> u128 {
        (u128::from(self.amount) << 32) / u128::from(self.weight)
    }
}

fn skew(fills: &[Fill]) -> u64 {
    let levels = || fills.iter().map(Fill::level);
    let (Some(max), Some(min)) = (levels().max(), levels().min()) else {
        return 0;
    };
    let amount: u128 = fills.iter().map(|fill| u128::from(fill.amount)).sum();
    let weight: u128 = fills.iter().map(|fill| u128::from(fill.weight)).sum();
    let mean = (amount << 32) / weight.max(1);
    let percent = ((max - min) * 100).checked_div(mean).unwrap_or(0);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

fn amount_of(unit: &UnitSummary, target: Target) -> u64 {
    match target {
        Target::Bytes => unit.bytes,
        Target::Mailboxes => unit.mailboxes,
    }
}

fn propose(
    loads: &[Load],
    wish: RebalanceWish,
    units: &BTreeMap<String, Vec<UnitSummary>>,
) -> RebalanceState {
    let mut fills: Vec<Fill> = loads
        .iter()
        .map(|load| Fill::of(load, wish.target))
        .collect();
    if skew(&fills) < wish.threshold_percent.max(1) {
        return RebalanceState::Balanced;
    }
    // Only what lies above the mean gives.
    let amount: u128 = fills.iter().map(|fill| u128::from(fill.amount)).sum();
    let weight: u128 = fills.iter().map(|fill| u128::from(fill.weight)).sum();
    let gives = |fill: &Fill| u128::from(fill.amount) * weight > amount * u128::from(fill.weight);
    let givers: Vec<usize> = (0..fills.len()).filter(|&at| gives(&fills[at])).collect();
    let unlisted = givers.iter().map(|&at| &loads[at].name);
    let unlisted: Vec<String> = unlisted
        .filter(|name| !units.contains_key(*name))
        .cloned()
        .collect();
    if !unlisted.is_empty() {
        return RebalanceState::UnitsNeeded(unlisted);
    }
    let mut open: BTreeMap<usize, BTreeSet<Candidate<'_>>> = givers
        .into_iter()
        .map(|at| (at, candidates(&units[&loads[at].name], wish.target)))
        .collect();
    let mut moves = Vec::new();
    while moves.len() < wish.moves_max && skew(&fills) * 2 > wish.threshold_percent {
        let fullest = open
            .keys()
            .copied()
            .max_by_key(|&at| (fills[at].level(), at));
        let Some(from) = fullest else { break };
        let Some((to, unit)) = best(&fills, from, &open[&from]) else {
            open.remove(&from);
            continue;
        };
        if let Some(rest) = open.get_mut(&from) {
            rest.remove(&unit);
        }
        fills[from].amount -= unit.amount.min(fills[from].amount);
        fills[to].amount += unit.amount;
        fills[to].free_bytes -= unit.bytes;
        moves.push(Move {
            root: unit.root.to_owned(),
            from: loads[from].name.clone(),
            to: loads[to].name.clone(),
            bytes: unit.bytes,
        });
    }
    if moves.is_empty() {
        return RebalanceState::NoBenefit;
    }
    RebalanceState::ProposalReady(Proposal {
        hash: hash(&moves),
        bytes: moves.iter().map(|step| step.bytes).sum(),
        skew_percent_after: skew(&fills),
        moves,
    })
}

/// A unit that could be moved, in order of its amount.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Candidate<'a> {
    amount: u64,
    root: &'a str,
    bytes: u64,
}

fn candidates(units: &[UnitSummary], target: Target) -> BTreeSet<Candidate<'_>> {
    let owned = units.iter().filter(|unit| unit.state == "Owner");
    let all = owned.map(|unit| Candidate {
        amount: amount_of(unit, target),
        root: unit.root.as_str(),
        bytes: unit.bytes,
    });
    all.filter(|unit| unit.amount > 0).collect()
}

/// The emptiest that has room for a unit of `from`, and the largest such unit that does not make it fuller than
/// `from` will be.
fn best<'a>(
    fills: &[Fill],
    from: usize,
    units: &BTreeSet<Candidate<'a>>,
) -> Option<(usize, Candidate<'a>)> {
    let mut others: Vec<usize> = (0..fills.len()).filter(|&at| at != from).collect();
    others.sort_by_key(|&at| (fills[at].level(), at));
    let source = &fills[from];
    others.into_iter().find_map(|to| {
        let sink = &fills[to];
        let (s, d) = (u128::from(source.amount), u128::from(sink.amount));
        let (ws, wd) = (u128::from(source.weight), u128::from(sink.weight));
        let most = (s * wd).saturating_sub(d * ws) / (ws + wd);
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let end = Candidate {
            amount: most.saturating_add(1),
            root: "",
            bytes: 0,
        };
        let mut fitting = units.range(..end).rev();
        let unit = fitting.find(|unit| unit.bytes <= sink.free_bytes)?;
        Some((to, *unit))
    })
}

/// FNV-1a with 64 bits: no secret, only distinctness.
fn hash(moves: &[Move]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for step in moves {
        for part in [&step.root, &step.from, &step.to] {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
