//! Manifests: read, checked against the schemas of the definitions and their rules, as an API server would.

use std::collections::BTreeSet;
use std::path::Path;

use murder_api::yaml::{Problem, Problems, documents, split_documents};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::protocol::Objects;
use crate::crd::write::definitions;
use crate::crd::{
    API_VERSION, Backend, BackendDeletion, ClusterDeletion, Frontend, MurderCluster, Topology,
};
use crate::resources::settings::duration_ms;

/// Most Backends, and most pods of Frontends, on one machine.
const PODS_MAX: usize = 200;

/// The objects of some manifests.
#[derive(Debug, Default)]
pub struct Manifests {
    clusters: Vec<(Place, MurderCluster)>,
    backends: Vec<(Place, Backend)>,
    frontends: Vec<(Place, Frontend)>,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug)]
struct Place {
    path: std::path::PathBuf,
    first_line: usize,
    text: String,
}

impl Place {
    fn problem(&self, key_path: &[&str], message: &str) -> Problem {
        let key = key_path.join(".");
        let separator = if key.is_empty() { "" } else { ": " };
        Problem {
            path: self.path.clone(),
            line: Some(self.first_line + locate(&self.text, key_path)),
            message: format!("{key}{separator}{message}"),
        }
    }
}

/// The line, from 0, of the deepest key of a path that is found in block style.
fn locate(text: &str, key_path: &[&str]) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let mut from = 0;
    let mut found = None;
    for key in key_path {
        let is_key = |line: &&str| {
            let line = line.trim_start().trim_start_matches("- ");
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        };
        if let Some(at) = lines.iter().skip(from).position(is_key) {
            found = Some(from + at);
            from += at + 1;
        }
    }
    let first = || lines.iter().position(|line| is_content(line)).unwrap_or(0);
    found.unwrap_or_else(first)
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

impl Manifests {
    /// Reads a file; everything wrong in it is kept for [`Manifests::objects`].
    pub fn read(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let found = Problems::one(path, None, format!("cannot be read: {error}"));
                return self.problems.extend(found.0);
            }
        };
        self.add(path, &text);
    }

    /// Takes the documents of a text.
    pub fn add(&mut self, path: &Path, text: &str) {
        let values = match documents(path, text) {
            Ok(values) => values,
            Err(problems) => return self.problems.extend(problems.0),
        };
        let texts = split_documents(text);
        for (first_line, value) in values {
            let text = texts.iter().find(|(line, _)| *line == first_line);
            let text = text.map_or_else(String::new, |(_, text)| (*text).to_owned());
            self.take(
                Place {
                    path: path.to_owned(),
                    first_line,
                    text,
                },
                value,
            );
        }
    }

    fn take(&mut self, place: Place, mut value: Value) {
        let kind = value["kind"].as_str().unwrap_or_default().to_owned();
        let known = definitions()
            .into_iter()
            .find(|(_, d)| d.spec.names.kind == kind);
        let Some((_, definition)) = known else {
            let message =
                format!("`{kind}` is not known; allowed: MurderCluster, Backend, Frontend");
            return self.problems.push(place.problem(&["kind"], &message));
        };
        if value["apiVersion"] != API_VERSION {
            let message = format!("must be {API_VERSION}");
            return self.problems.push(place.problem(&["apiVersion"], &message));
        }
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        if !is_label(name) {
            let message =
                "must be lower-case letters, digits and `-`, at most 40, begin with a letter";
            return self
                .problems
                .push(place.problem(&["metadata", "name"], message));
        }
        let schema = definition.spec.versions[0].schema.as_ref();
        let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema).unwrap_or_default();
        let before = self.problems.len();
        let spec = value.get("spec").cloned().unwrap_or(Value::Null);
        check(
            &place,
            &schema["properties"]["spec"],
            &spec,
            &mut vec!["spec"],
            &mut self.problems,
        );
        if self.problems.len() > before {
            return;
        }
        if let Some(object) = value.as_object_mut() {
            object.remove("status");
        }
        match kind.as_str() {
            "MurderCluster" => accept(&mut self.clusters, &mut self.problems, place, value),
            "Backend" => accept(&mut self.backends, &mut self.problems, place, value),
            _ => accept(&mut self.frontends, &mut self.problems, place, value),
        }
    }

    /// The objects, if nothing is wrong with any.
    pub fn objects(mut self) -> Result<Objects, Problems> {
        self.check_rules();
        if self.clusters.len() != 1 && self.problems.is_empty() {
            let message = format!(
                "{} MurderClusters in all files; exactly one is needed",
                self.clusters.len()
            );
            self.problems.push(Problem {
                path: "manifests".into(),
                line: None,
                message,
            });
        }
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        let (_, cluster) = self.clusters.remove(0);
        Ok(Objects {
            cluster,
            backends: self
                .backends
                .into_iter()
                .map(|(_, backend)| backend)
                .collect(),
            frontends: self
                .frontends
                .into_iter()
                .map(|(_, frontend)| frontend)
                .collect(),
            users: None,
            insecure_loopback: None,
            endpoints: None,
        })
    }

    /// The rules that the definitions state in CEL, and what one machine adds.
    fn check_rules(&mut self) {
        let mut wrong = Vec::new();
        for (place, cluster) in &self.clusters {
            let spec = &cluster.spec;
            let mut add = |key: &[&str], message: &str| wrong.push(place.problem(key, message));
            let single = spec.mupdate.replicas == 0;
            if single && (spec.topology != Topology::Unified || self.backends.len() != 1) {
                add(
                    &["spec", "mupdate", "replicas"],
                    "mupdate.replicas 0 is for topology Unified with exactly one Backend",
                );
            }
            let confirmed = cluster.metadata.name.as_ref() == Some(&spec.confirmation);
            if spec.deletion_policy == ClusterDeletion::Abandon && !confirmed {
                add(
                    &["spec", "deletionPolicy"],
                    "deletionPolicy Abandon needs confirmation: the name of this MurderCluster",
                );
            }
            if spec.tls.secret_ref.is_some() && spec.tls.issuer_ref.is_some() {
                add(&["spec", "tls"], "tls has secretRef or issuerRef, not both");
            }
            if spec.backends.as_ref().is_some_and(|pool| pool.replicas > 0) {
                add(
                    &["spec", "backends"],
                    "a pool needs Kubernetes; write each Backend out",
                );
            }
        }
        let names: BTreeSet<&str> = self
            .clusters
            .iter()
            .filter_map(|(_, c)| c.metadata.name.as_deref())
            .collect();
        let mut seen = BTreeSet::new();
        let mut common = |place: &Place, name: Option<&String>, cluster: &str| {
            if !names.contains(cluster) {
                let message = format!("`{cluster}` is not the MurderCluster of these files");
                wrong.push(place.problem(&["spec", "clusterRef", "name"], &message));
            }
            if !seen.insert(name.cloned()) {
                wrong.push(place.problem(&["metadata", "name"], "is used twice"));
            }
        };
        let mut pods = 0;
        for (place, backend) in &self.backends {
            common(
                place,
                backend.metadata.name.as_ref(),
                &backend.spec.cluster_ref.name,
            );
            pods += 1;
        }
        for (place, frontend) in &self.frontends {
            common(
                place,
                frontend.metadata.name.as_ref(),
                &frontend.spec.cluster_ref.name,
            );
            pods += frontend.spec.replicas.unsigned_abs() as usize;
        }
        for (place, backend) in &self.backends {
            wrong.extend(backend_rules(place, backend));
        }
        if pods > PODS_MAX {
            let message = format!("{pods} pods in all; at most {PODS_MAX} on one machine");
            wrong.push(Problem {
                path: "manifests".into(),
                line: None,
                message,
            });
        }
        self.problems.extend(wrong);
    }
}

fn backend_rules(place: &Place, backend: &Backend) -> Vec<Problem> {
    let spec = &backend.spec;
    let mut wrong = Vec::new();
    if spec.deletion_policy == BackendDeletion::Abandon && spec.confirmation.is_empty() {
        wrong.push(place.problem(
            &["spec", "deletionPolicy"],
            "deletionPolicy Abandon needs confirmation: the serverID whose mail may be lost",
        ));
    }
    let destinations = spec.destinations.as_ref();
    if destinations.is_some_and(|d| !d.allow.is_empty() && !d.deny.is_empty()) {
        let message = "destinations has allow or deny, not both";
        wrong.push(place.problem(&["spec", "destinations"], message));
    }
    if spec
        .partitions
        .iter()
        .any(|name| murder_model::PartitionName::parse(name).is_err())
    {
        let message = "each must be lower-case letters, digits and `-`";
        wrong.push(place.problem(&["spec", "partitions"], message));
    }
    wrong
}

fn accept<T: DeserializeOwned>(
    objects: &mut Vec<(Place, T)>,
    problems: &mut Vec<Problem>,
    place: Place,
    value: Value,
) {
    match serde_json::from_value(value) {
        Ok(object) => objects.push((place, object)),
        Err(error) => problems.push(place.problem(&[], &error.to_string())),
    }
}

fn is_label(name: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(ok)
}

/// Checks a value against a structural schema: unknown keys, types, choices and bounds.
fn check<'a>(
    place: &Place,
    schema: &'a Value,
    value: &'a Value,
    key_path: &mut Vec<&'a str>,
    problems: &mut Vec<Problem>,
) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    if let Some(message) = mismatch(schema, value) {
        return problems.push(place.problem(key_path, &message));
    }
    if let Some(items) = value.as_array() {
        for item in items {
            check(place, &schema["items"], item, key_path, problems);
        }
    }
    let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        if let Some(key) = required.as_str().filter(|key| !fields.contains_key(*key)) {
            problems.push(place.problem(key_path, &format!("`{key}` is missing")));
        }
    }
    for (key, value) in fields {
        key_path.push(key);
        match properties.get(key) {
            Some(schema) => check(place, schema, value, key_path, problems),
            None => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let message = format!("unknown key; allowed: {}", known.join(", "));
                problems.push(place.problem(key_path, &message));
            }
        }
        key_path.pop();
    }
}

fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    let wanted = schema["type"].as_str().unwrap_or_default();
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => true,
    };
    if !fits {
        return Some(format!("must be of type {wanted}"));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        return Some(format!("must be one of: {}", choices.join(", ")));
    }
    if let Some(number) = value.as_f64() {
        let low = schema["minimum"].as_f64().filter(|low| number < *low);
        let high = schema["maximum"].as_f64().filter(|high| number > *high);
        return low
            .map(|low| format!("must be at least {low}"))
            .or_else(|| high.map(|high| format!("must be at most {high}")));
    }
    let length = value
        .as_str()
        .map(str::len)
        .or_else(|| value.as_array().map(Vec::len))?;
    let bound = |key: &str, array_key: &str| {
        let key = if value.is_array() { array_key } else { key };
        schema[key].as_u64().map(|bound| bound as usize)
    };
    if let Some(least) = bound("minLength", "minItems").filter(|least| length < *least) {
        return Some(format!("must have a length of at least {least}"));
    }
    if let Some(most) = bound("maxLength", "maxItems").filter(|most| length > *most) {
        return Some(format!("must have a length of at most {most}"));
    }
    let (text, pattern) = (value.as_str()?, schema["pattern"].as_str()?);
    // Two patterns occur in the definitions.
    if pattern.contains("Ki") {
        let message = "must be a quantity such as 10Gi";
        return (!is_quantity(text)).then(|| message.to_owned());
    }
    let message = "must be a duration such as 500ms, 1s, 10m, 24h or 7d";
    duration_ms(text).is_none().then(|| message.to_owned())
}

fn is_quantity(text: &str) -> bool {
    const UNITS: [&str; 12] = [
        "Ki", "Mi", "Gi", "Ti", "Pi", "k", "M", "G", "T", "P", "", "E",
    ];
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    UNITS.contains(&unit)
        && unit != "E"
        && digits.parse::<f64>().is_ok()
        && !digits.starts_with(['-', '+', '.'])
}
