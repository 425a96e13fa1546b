//! The comparison itself: no reading, no waiting.
//!
//! A row is the master's word that a server owns a unit. What a server does not list although it answered is not
//! there; of a server that did not answer nothing is concluded.

use std::collections::BTreeMap;

use murder_api::admin::{UnitOfRecord, UnitSummary};
use murder_model::{ServerId, UnitId};
use serde::Serialize;

use crate::text;

/// What one server said, or why it did not.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) server: String,
    pub(super) server_id: Option<ServerId>,
    pub(super) units: Result<Vec<UnitSummary>, String>,
}

/// What is wrong with a unit.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) enum Kind {
    /// Two serve it.
    Double,
    /// The master's row has no unit behind it.
    Ghost,
    /// Served, and the master says otherwise.
    Stray,
    /// The row and the unit are of different epochs or roots.
    Mismatch,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) root: String,
    pub(super) unit: UnitId,
    pub(super) message: String,
}

impl Finding {
    /// In one word, for lists.
    pub(super) fn name(&self) -> String {
        format!("{:?}/{}", self.kind, self.root).to_lowercase()
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Comparison {
    /// Rows of the master, without those of Cyrus servers.
    pub(super) rows: u64,
    /// Units that servers say they serve.
    pub(super) served: u64,
    /// Units whose owner is about to change or to be made.
    pub(super) moving: u64,
    pub(super) findings: Vec<Finding>,
    /// What could not be judged, and why.
    pub(super) unknown: Vec<String>,
}

impl Comparison {
    /// Whether everything was seen and fits.
    pub(super) fn is_fine(&self) -> bool {
        self.findings.is_empty() && self.unknown.is_empty()
    }

    fn find(&mut self, kind: Kind, root: &str, unit: UnitId, message: String) {
        self.findings.push(Finding {
            kind,
            root: root.to_owned(),
            unit,
            message,
        });
    }
}

/// A unit that is served, and by whom.
type Served<'a> = (&'a str, &'a UnitSummary);

/// Compares; `rows` is none if there is no master.
pub(super) fn compare(
    rows: Option<Result<Vec<UnitOfRecord>, String>>,
    truths: &[Truth],
) -> Comparison {
    let mut found = Comparison::default();
    let mut served: Vec<Served<'_>> = Vec::new();
    for truth in truths {
        let units = truth.units.iter().flatten();
        let owned = units.filter(|unit| unit.state == "Owner");
        served.extend(owned.map(|unit| (truth.server.as_str(), unit)));
    }
    found.served = served.len() as u64;
    doubles(&served, &mut found);
    let mut unjudged: BTreeMap<&str, u64> = BTreeMap::new();
    match rows {
        None => {}
        Some(Err(error)) => found.unknown.push(format!("the master's rows: {error}")),
        Some(Ok(rows)) => {
            let rows: Vec<UnitOfRecord> = rows
                .into_iter()
                .filter(|row| row.state != "Cyrus")
                .collect();
            found.rows = rows.len() as u64;
            for row in &rows {
                if let Some(silent) = ghost(row, truths, &mut found) {
                    *unjudged.entry(silent).or_default() += 1;
                }
            }
            strays(&rows, &served, &mut found);
        }
    }
    for truth in truths {
        if let Err(error) = &truth.units {
            let rows = unjudged.get(truth.server.as_str()).copied().unwrap_or(0);
            let rows = text::counted(rows, "row", "rows");
            found.unknown.push(format!("{error} ({rows})"));
        }
    }
    found
        .findings
        .sort_by(|a, b| (&a.root, a.kind).cmp(&(&b.root, b.kind)));
    found
}

/// Units and roots that more than one server serves.
fn doubles(served: &[Served<'_>], found: &mut Comparison) {
    let mut of_root: BTreeMap<&str, Vec<Served<'_>>> = BTreeMap::new();
    let mut of_unit: BTreeMap<UnitId, Vec<Served<'_>>> = BTreeMap::new();
    for one in served {
        of_root.entry(one.1.root.as_str()).or_default().push(*one);
        of_unit.entry(one.1.unit).or_default().push(*one);
    }
    let several = |owners: &Vec<Served<'_>>| owners.len() > 1;
    for (root, owners) in of_root.iter().filter(|(_, owners)| several(owners)) {
        let message = format!("served by {} at once", listed(owners));
        found.find(Kind::Double, root, owners[0].1.unit, message);
    }
    // One unit under two roots.
    for (unit, owners) in of_unit.iter().filter(|(_, owners)| several(owners)) {
        let root = owners[0].1.root.as_str();
        if owners.iter().any(|(_, other)| other.root.as_str() != root) {
            let message = format!(
                "one unit is served by {} under several names",
                listed(owners)
            );
            found.find(Kind::Double, root, *unit, message);
        }
    }
}

fn listed(owners: &[Served<'_>]) -> String {
    let owners = owners.iter().map(|(server, unit)| at(server, unit.epoch));
    owners.collect::<Vec<_>>().join(" and ")
}

fn at(server: &str, epoch: murder_model::Epoch) -> String {
    format!("{server} (epoch {epoch})")
}

/// Whether there is a unit behind a row; gives the server that must be asked but did not answer.
fn ghost<'a>(row: &UnitOfRecord, truths: &'a [Truth], found: &mut Comparison) -> Option<&'a str> {
    let server = row.server.as_str();
    let says = format!("the master says {}", at(server, row.epoch));
    let Some(truth) = truths.iter().find(|truth| truth.server == server) else {
        let message = format!("{says}, which is no Backend of this murder");
        found.find(Kind::Ghost, &row.root, row.unit, message);
        return None;
    };
    if let Some(id) = truth.server_id.filter(|id| *id != row.server_id) {
        let message = format!("{says} with the identity {}; it has {id}", row.server_id);
        found.find(Kind::Ghost, &row.root, row.unit, message);
        return None;
    }
    let Ok(units) = &truth.units else {
        return Some(&truth.server);
    };
    let unit = units.iter().find(|unit| unit.unit == row.unit);
    match unit.map(|unit| (unit, unit.state.as_str())) {
        Some((unit, "Owner")) => {
            let same = unit.epoch == row.epoch && unit.root.as_str() == row.root;
            if !same {
                let (epoch, root) = (unit.epoch, &unit.root);
                let message = format!("{says}, which serves {root} of epoch {epoch}");
                found.find(Kind::Mismatch, &row.root, row.unit, message);
            }
        }
        Some((_, "Creating" | "Released")) => found.moving += 1,
        Some((_, "Moved" | "Gone")) => {
            let message = format!("{says}, which has it no more");
            found.find(Kind::Ghost, &row.root, row.unit, message);
        }
        Some((_, state)) => {
            let message = format!("{says}, where it is {state}");
            found.find(Kind::Ghost, &row.root, row.unit, message);
        }
        None => {
            let message = format!("{says}, which has no such unit");
            found.find(Kind::Ghost, &row.root, row.unit, message);
        }
    }
    None
}

/// Units that are served and that the master has elsewhere or not at all.
fn strays(rows: &[UnitOfRecord], served: &[Served<'_>], found: &mut Comparison) {
    let rows: BTreeMap<UnitId, &UnitOfRecord> = rows.iter().map(|row| (row.unit, row)).collect();
    for (server, unit) in served {
        let serves = format!("{server} serves it (epoch {})", unit.epoch);
        let message = match rows.get(&unit.unit) {
            Some(row) if row.server.as_str() == *server => continue,
            Some(row) => {
                let says = at(row.server.as_str(), row.epoch);
                format!("{serves}, the master says {says}")
            }
            None => format!("{serves}, the master knows nothing of it"),
        };
        found.find(Kind::Stray, unit.root.as_str(), unit.unit, message);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use murder_api::admin::{UnitOfRecord, UnitSummary};

    use super::{Comparison, Truth, compare};
    use crate::fixture::{row, server_id, unit};

    fn truth(server: &str, units: Vec<UnitSummary>) -> Truth {
        Truth {
            server: server.to_owned(),
            server_id: Some(server_id(server)),
            units: Ok(units),
        }
    }

    /// Three users on two Backends; copies that are kept for a while do not count.
    pub(crate) fn all_is_well() -> (Vec<UnitOfRecord>, Vec<Truth>) {
        let rows = vec![
            row(1, "user.alice", "be-a", 1),
            row(2, "user.bob", "be-b", 2),
            row(3, "user.carol", "be-b", 1),
        ];
        let a = vec![
            unit(1, "user.alice", "Owner", 1, 0),
            unit(2, "user.bob", "Moved", 2, 0),
        ];
        let b = vec![
            unit(2, "user.bob", "Owner", 2, 0),
            unit(3, "user.carol", "Owner", 1, 0),
        ];
        (rows, vec![truth("be-a", a), truth("be-b", b)])
    }

    /// alice is served twice, bob nowhere, the master does not know carol, dave is leaving, and be-c is silent.
    pub(crate) fn truths_with_faults() -> (Vec<UnitOfRecord>, Vec<Truth>) {
        let rows = vec![
            row(1, "user.alice", "be-a", 1),
            row(2, "user.bob", "be-a", 1),
            row(4, "user.dave", "be-b", 1),
            row(5, "user.erin", "be-b", 1),
            row(6, "user.frank", "be-c", 1),
        ];
        let a = vec![
            unit(1, "user.alice", "Owner", 1, 0),
            unit(2, "user.bob", "Gone", 1, 0),
        ];
        let b = vec![
            unit(1, "user.alice", "Owner", 2, 0),
            unit(3, "user.carol", "Owner", 4, 0),
            unit(4, "user.dave", "Released", 1, 0),
            unit(5, "user.erin", "Owner", 1, 0),
        ];
        let c = Truth {
            units: Err("be-c-0 did not answer in 5s".to_owned()),
            ..truth("be-c", Vec::new())
        };
        (rows, vec![truth("be-a", a), truth("be-b", b), c])
    }

    fn messages(found: &Comparison) -> Vec<String> {
        let findings = found.findings.iter();
        findings
            .map(|finding| format!("{:?}: {}", finding.kind, finding.message))
            .collect()
    }

    #[test]
    fn a_row_of_another_identity_or_of_no_backend_is_a_ghost() {
        let mut other = row(1, "user.alice", "be-a", 1);
        other.server_id = server_id("be-x");
        let rows = vec![other, row(2, "user.bob", "be-z", 1)];
        let found = compare(Some(Ok(rows)), &[truth("be-a", Vec::new())]);
        assert_eq!(
            messages(&found),
            [
                "Ghost: the master says be-a (epoch 1) with the identity \
                 78787878-7878-7878-7878-787878787878; it has 61616161-6161-6161-6161-616161616161",
                "Ghost: the master says be-z (epoch 1), which is no Backend of this murder",
            ]
        );
    }

    #[test]
    fn another_epoch_is_told() {
        let served = vec![unit(1, "user.alice", "Owner", 3, 0)];
        let rows = vec![row(1, "user.alice", "be-a", 4)];
        let found = compare(Some(Ok(rows)), &[truth("be-a", served)]);
        assert_eq!(
            messages(&found),
            ["Mismatch: the master says be-a (epoch 4), which serves user.alice of epoch 3"]
        );
    }

    #[test]
    fn rows_that_could_not_be_read_make_nothing_a_stray_and_nothing_fine() {
        let (_, truths) = all_is_well();
        let found = compare(Some(Err("no answer".to_owned())), &truths);
        assert_eq!(messages(&found), Vec::<String>::new());
        assert_eq!(found.unknown, ["the master's rows: no answer"]);
        assert!(!found.is_fine());
    }

    #[test]
    fn units_of_cyrus_are_not_ours_to_judge() {
        let mut cyrus = row(1, "user.alice", "cyrus.example.org", 0);
        cyrus.state = "Cyrus".to_owned();
        let found = compare(Some(Ok(vec![cyrus])), &[truth("be-a", Vec::new())]);
        assert!(found.is_fine());
        assert_eq!(found.rows, 0);
    }

    #[test]
    fn without_a_master_only_doubles_are_looked_for() {
        let found = compare(
            None,
            &[truth("one", vec![unit(1, "user.alice", "Owner", 1, 0)])],
        );
        assert!(found.is_fine());
        assert_eq!(found.served, 1);
    }
}
