//! What a drain would do, decided by the operator's own rules.

use std::collections::BTreeMap;

use murder_api::admin::UnitSummary;
use murder_operator::core::{DrainState, Placement, World, plan};
use serde::Serialize;

use crate::text::{self, Cell, Tone, head, table};

/// Assumed speed of one Backend's transfers together, in bytes a second, where nothing is known of it.
const ASSUMED_BYTES: u64 = 20 << 20;
/// Assumed users a second at most: each move ends with a freeze and two commits.
const ASSUMED_USERS: u64 = 5;
/// Users that fit nowhere, named at most.
const NAMED_MAX: usize = 10;

/// What a drain would do.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DrainPlan {
    pub(super) backend: String,
    /// Whether the units were read at all.
    pub(super) known: bool,
    /// Users and shared trees to move.
    pub(super) units: u64,
    pub(super) mailboxes: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) destinations: Vec<Share>,
    /// Seconds that it takes at the assumed speeds.
    pub(super) estimated_seconds: u64,
    pub(super) assumed_bytes_per_second: u64,
    pub(super) assumed_units_per_second: u64,
    /// What it waits for first.
    pub(super) waits: Vec<String>,
    /// What stands in the way and does not go by itself.
    pub(super) blockers: Vec<String>,
}

/// What one Backend would get.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Share {
    pub(super) backend: String,
    pub(super) units: u64,
    pub(super) bytes: u64,
    /// Free bytes on its roomiest partition now.
    pub(super) free_bytes: u64,
}

/// Plans the drain of a Backend in a world in which it was asked for.
pub(super) fn plan_drain(world: &World, name: &str) -> DrainPlan {
    let mut found = DrainPlan {
        backend: name.to_owned(),
        assumed_bytes_per_second: ASSUMED_BYTES,
        assumed_units_per_second: ASSUMED_USERS,
        ..DrainPlan::default()
    };
    let Some(source) = world.backends.iter().find(|backend| backend.name == name) else {
        found.blockers.push(format!("there is no Backend {name}"));
        return found;
    };
    let reports = plan(world).drains;
    if let Some(report) = reports.iter().find(|report| report.backend == name) {
        match report.state {
            DrainState::Blocked(_) => {
                let reason = report.state.reason();
                found.blockers.push(format!("{reason}: {}", report.message));
            }
            DrainState::Queued => found.waits.push("the drains of other Backends".to_owned()),
            DrainState::Planning => found.blockers.push(report.message.clone()),
            _ => {}
        }
    }
    let owned = source
        .units
        .iter()
        .flatten()
        .filter(|unit| unit.state == "Owner");
    let mut owned: Vec<&UnitSummary> = owned.collect();
    found.known = source.units.is_some();
    found.units = owned.len() as u64;
    found.mailboxes = owned.iter().map(|unit| unit.mailboxes).sum();
    found.messages = owned.iter().map(|unit| unit.messages).sum();
    found.bytes = owned.iter().map(|unit| unit.bytes).sum();
    found.estimated_seconds =
        (found.bytes / ASSUMED_BYTES).max(found.units.div_ceil(ASSUMED_USERS));
    // As the operator does it: the largest first.
    owned.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.root.cmp(&b.root)));
    distribute(world, source, &owned, &mut found);
    found
}

fn distribute(
    world: &World,
    source: &murder_operator::core::BackendView,
    owned: &[&UnitSummary],
    found: &mut DrainPlan,
) {
    let mut placement = Placement::new(world, source);
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for destination in placement.destinations() {
        let share = Share {
            backend: destination.to_owned(),
            free_bytes: free(world, destination),
            ..Share::default()
        };
        shares.insert(destination.to_owned(), share);
    }
    let mut misfits = Vec::new();
    for unit in owned {
        match placement.choose(unit, &[]) {
            None => misfits.push(format!("{} ({})", unit.root, text::bytes(unit.bytes))),
            Some(destination) => {
                let share = shares.entry(destination.to_string()).or_default();
                share.units += 1;
                share.bytes += unit.bytes;
            }
        }
    }
    found.destinations = shares.into_values().collect();
    // If no user fits or there is nobody, that was said.
    if !misfits.is_empty() && found.blockers.is_empty() {
        let count = misfits.len();
        misfits.truncate(NAMED_MAX);
        let more = if count > NAMED_MAX { ", …" } else { "" };
        let what = text::counted(count as u64, "user fits", "users fit");
        let names = misfits.join(", ");
        found
            .blockers
            .push(format!("{what} on no Backend: {names}{more}"));
    }
}

fn free(world: &World, name: &str) -> u64 {
    let backend = world.backends.iter().find(|backend| backend.name == name);
    let status = backend.and_then(|backend| backend.status.as_ref());
    let partitions = status.iter().flat_map(|status| &status.partitions);
    partitions
        .map(|partition| partition.free_bytes)
        .max()
        .unwrap_or(0)
}

/// The plan for people.
pub(super) fn text(plan: &DrainPlan, wide: bool, colour: bool) -> String {
    let DrainPlan { backend, .. } = plan;
    let mut text = if plan.known {
        format!(
            "{backend} would give away {}, {}, {}\n",
            text::counted(plan.units, "user", "users"),
            text::counted(plan.mailboxes, "mailbox", "mailboxes"),
            text::bytes(plan.bytes),
        )
    } else {
        format!("what {backend} holds could not be read\n")
    };
    if plan.known && !plan.destinations.is_empty() {
        let mut names = head(&["TO", "USERS", "BYTES"]);
        if wide {
            names.extend(head(&["FREE NOW"]));
        }
        let mut rows = vec![names];
        for share in &plan.destinations {
            let mut row: Vec<Cell> = vec![
                share.backend.clone().into(),
                share.units.to_string().into(),
                text::bytes(share.bytes).into(),
            ];
            if wide {
                row.push(text::bytes(share.free_bytes).into());
            }
            rows.push(row);
        }
        text.push_str(&format!("\n{}", table(&rows, colour)));
    }
    if plan.units > 0 {
        text.push_str(&format!(
            "\nabout {}, if {}/s and {} users/s are reached\n",
            text::seconds(plan.estimated_seconds.max(1)),
            text::bytes(plan.assumed_bytes_per_second),
            plan.assumed_units_per_second,
        ));
    }
    for wait in &plan.waits {
        let word = Tone::Warning.paint("waits for", colour);
        text.push_str(&format!("{word} {wait}\n"));
    }
    for blocker in &plan.blockers {
        let word = Tone::Bad.paint("blocked:", colour);
        text.push_str(&format!("{word} {blocker}\n"));
    }
    if plan.blockers.is_empty() {
        text.push_str("nothing is in the way; nothing was changed\n");
    } else {
        text.push_str("nothing was changed\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{plan_drain, text};
    use crate::drain::world::of_drain;
    use crate::fixture;
    use crate::murder::Murder;
    use crate::nodes::Answers;

    fn planned(murder: &Murder, answers: &Answers, wide: bool) -> String {
        text(
            &plan_drain(&of_drain(murder, answers, "be-b"), "be-b"),
            wide,
            false,
        )
    }

    #[test]
    fn a_plan_names_destinations_by_the_operators_rules() {
        let expected = "\
be-b would give away 3 users, 12 mailboxes, 1.0 GiB

TO     USERS   BYTES     FREE NOW
be-a   0       0 B       512 MiB
be-c   3       1.0 GiB   9.9 GiB

about 51 s, if 20.0 MiB/s and 5 users/s are reached
nothing is in the way; nothing was changed
";
        assert_eq!(
            planned(&fixture::murder(), &fixture::answers(), true),
            expected
        );
    }

    #[test]
    fn too_little_room_is_told_with_numbers_before_anything_moves() {
        let mut answers = fixture::answers();
        answers.insert(
            "be-c-0".to_owned(),
            fixture::backend_node("be-c", 1, 9 << 30),
        );
        let expected = "\
be-b would give away 3 users, 12 mailboxes, 1.0 GiB

TO     USERS   BYTES
be-a   0       0 B
be-c   0       0 B

about 51 s, if 20.0 MiB/s and 5 users/s are reached
blocked: InsufficientCapacity: needs 1073741824 bytes, the others have 0 after headroom
nothing was changed
";
        assert_eq!(planned(&fixture::murder(), &answers, false), expected);
    }

    #[test]
    fn the_last_backend_has_nowhere_to_give_its_users() {
        let mut murder = fixture::murder();
        murder
            .backends
            .retain(|backend| backend.metadata.name.as_deref() == Some("be-b"));
        let expected = "\
be-b would give away 3 users, 12 mailboxes, 1.0 GiB

about 51 s, if 20.0 MiB/s and 5 users/s are reached
blocked: NoDestination: 0 other backends are ready to take its users, 1 must be; add a Backend
nothing was changed
";
        assert_eq!(planned(&murder, &fixture::answers(), false), expected);
    }

    #[test]
    fn what_does_not_answer_is_not_taken_for_empty() {
        let mut answers = fixture::answers();
        answers.remove("be-b-0");
        let expected = "\
what be-b holds could not be read
blocked: SourceDown: be-b-0 does not answer
nothing was changed
";
        assert_eq!(planned(&fixture::murder(), &answers, false), expected);
    }
}
