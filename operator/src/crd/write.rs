//! The definitions as YAML files.

use std::path::Path;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::core::CustomResourceExt as _;

use super::{Backend, Frontend, MurderCluster};

const HEADER: &str =
    "# Written by `murder-operator crds`. Apply with `kubectl apply --server-side`.\n";

/// The three definitions with their file names, in order of name.
pub fn definitions() -> Vec<(String, CustomResourceDefinition)> {
    [Backend::crd(), Frontend::crd(), MurderCluster::crd()]
        .into_iter()
        .map(|mut definition| {
            definition
                .metadata
                .annotations
                .get_or_insert_default()
                .insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
            for version in &mut definition.spec.versions {
                let schema = version.schema.as_mut();
                if let Some(schema) = schema.and_then(|s| s.open_api_v3_schema.as_mut()) {
                    refuse_null(schema);
                }
            }
            (
                format!("murder.rs_{}.yaml", definition.spec.names.plural),
                definition,
            )
        })
        .collect()
}

/// A field that may be absent need not be null as well.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for field in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        refuse_null(field);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        refuse_null(items);
    }
}

/// File names and texts of the three definitions.
pub fn rendered() -> anyhow::Result<Vec<(String, String)>> {
    definitions()
        .into_iter()
        .map(|(name, definition)| {
            let text =
                serde_yaml::to_string(&definition).context("definition cannot be written")?;
            Ok((name, format!("{HEADER}{text}")))
        })
        .collect()
}

/// Writes the definitions into a folder.
pub fn write_definitions(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, text) in rendered()? {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::rendered;

    #[test]
    fn definitions_on_disk_equal_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        for (name, text) in rendered().unwrap() {
            let found = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
            assert!(
                found == text,
                "{name} is stale: run `murder-operator crds --out crds`"
            );
        }
    }

    #[test]
    fn every_field_is_documented() {
        fn walk(path: &str, value: &serde_json::Value) {
            let Some(properties) = value.get("properties").and_then(|p| p.as_object()) else {
                return value
                    .get("items")
                    .into_iter()
                    .for_each(|items| walk(path, items));
            };
            for (key, schema) in properties {
                let path = format!("{path}.{key}");
                assert!(
                    schema.get("description").is_some(),
                    "{path} has no description"
                );
                walk(&path, schema);
            }
        }
        for (name, definition) in super::definitions() {
            let schema = definition.spec.versions[0].schema.as_ref().unwrap();
            let schema = serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap();
            for part in ["spec", "status"] {
                walk(&format!("{name} {part}"), &schema["properties"][part]);
            }
        }
    }

    /// Row 09.
    #[test]
    fn every_rule_has_a_manifest_that_breaks_it() {
        fn messages(schema: &serde_json::Value, found: &mut Vec<String>) {
            match schema {
                serde_json::Value::Object(fields) => {
                    for rule in fields
                        .get("x-kubernetes-validations")
                        .and_then(serde_json::Value::as_array)
                        .into_iter()
                        .flatten()
                    {
                        found.push(rule["message"].as_str().unwrap().to_owned());
                    }
                    fields.values().for_each(|field| messages(field, found));
                }
                serde_json::Value::Array(items) => {
                    items.iter().for_each(|item| messages(item, found));
                }
                _ => {}
            }
        }
        let mut rules = Vec::new();
        for (_, definition) in super::definitions() {
            messages(&serde_json::to_value(definition).unwrap(), &mut rules);
        }
        assert!(rules.len() > 20, "{rules:?}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
        let expected: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
                let line = text.lines().next()?;
                Some(line.strip_prefix("# expect: ")?.to_owned())
            })
            .collect();
        let untested: Vec<&String> = rules
            .iter()
            .filter(|rule| !expected.contains(rule))
            .collect();
        assert_eq!(untested, Vec::<&String>::new());
    }

    /// YAML reads `Off` and its like as booleans, and API servers do.
    #[test]
    fn no_choice_reads_as_a_boolean() {
        for (name, text) in rendered().unwrap() {
            for word in ["Off", "On", "Yes", "No", "Y", "N"] {
                assert!(
                    !text
                        .lines()
                        .any(|line| line.trim_start_matches(['-', ' ']) == word),
                    "{name}: {word}"
                );
            }
        }
    }
}
