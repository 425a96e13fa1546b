//! What the operator asked of the API server, by the audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Who the operator is to the API server, by its certificate.
const USER: &str = "murder-operator";

/// The audit log from some point on.
pub(super) struct Audit {
    path: PathBuf,
    from: u64,
}

/// Requests by what they did.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Requests {
    /// Verb, resource and subresource, with their number.
    pub(super) others: BTreeMap<String, u64>,
    /// Renewals of the Lease.
    pub(super) leases: u64,
    /// Watches that ended and are begun anew.
    pub(super) watches: u64,
}

impl Requests {
    fn add(&mut self, line: &Value) {
        let part = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        if part("/user/username") != USER || part("/stage") != "ResponseComplete" {
            return;
        }
        let (verb, resource) = (part("/verb"), part("/objectRef/resource"));
        match (verb, resource, part("/objectRef/subresource")) {
            ("watch", _, _) => self.watches += 1,
            (_, "leases", _) => self.leases += 1,
            (_, _, "") => *self.others.entry(format!("{verb} {resource}")).or_default() += 1,
            (_, _, sub) => {
                let name = format!("{verb} {resource}/{sub}");
                *self.others.entry(name).or_default() += 1;
            }
        }
    }

    /// All but leases and watches.
    pub(super) fn count(&self) -> u64 {
        self.others.values().sum()
    }
}

impl Audit {
    /// What is written from now on.
    pub(super) fn from_now(path: &Path) -> Result<Self> {
        let log =
            std::fs::metadata(path).with_context(|| format!("the audit log {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            from: log.len(),
        })
    }

    /// What was asked since.
    pub(super) fn requests(&self) -> Result<Requests> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut requests = Requests::default();
        for line in BufReader::new(file).lines() {
            // The last line may be half written.
            if let Ok(line) = serde_json::from_str(&line?) {
                requests.add(&line);
            }
        }
        Ok(requests)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::Audit;

    fn line(user: &str, verb: &str, resource: &str, sub: &str, stage: &str) -> String {
        let reference = serde_json::json!({"resource": resource, "subresource": sub});
        let line = serde_json::json!({
            "user": {"username": user}, "verb": verb, "stage": stage, "objectRef": reference,
        });
        format!("{line}\n")
    }

    #[test]
    fn only_requests_of_the_operator_count_and_leases_and_watches_are_told_apart() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let (operator, done) = ("murder-operator", "ResponseComplete");
        let old = line(operator, "get", "secrets", "", done);
        log.write_all(old.as_bytes()).unwrap();
        let audit = Audit::from_now(log.path()).unwrap();
        for line in [
            line(operator, "patch", "backends", "status", done),
            line(operator, "patch", "backends", "status", done),
            line(operator, "get", "secrets", "", done),
            line(operator, "get", "secrets", "", "RequestReceived"),
            line(operator, "update", "leases", "", done),
            line(operator, "watch", "pods", "", done),
            line("admin", "get", "pods", "", done),
            r#"{"user": {"usern"#.to_owned(),
        ] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let requests = audit.requests().unwrap();
        let others = [("get secrets", 1), ("patch backends/status", 2)];
        let others = others.map(|(what, count)| (what.to_owned(), count));
        assert_eq!(requests.others, others.into_iter().collect());
        assert_eq!(
            (requests.count(), requests.leases, requests.watches),
            (3, 1, 1)
        );
    }
}
