//! `docs/settings.md` says of each setting what its documentation in the code says.

#![expect(clippy::unwrap_used, reason = "writing to a string does not fail")]

use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "# Settings of a node

One YAML file a node. Unknown keys are refused with their line. Relative paths are taken from the file's directory.
";

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        text.push_str(&first.to_uppercase());
        text.push_str(rest);
    }
    text
}

/// One chapter for each structure, one row for each field.
fn chapters(source: &str, page: &mut String) {
    let mut documented = Vec::new();
    let mut inside = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[cfg(test)]") {
            break;
        }
        if let Some(text) = line.strip_prefix("/// ") {
            documented.push(text);
            continue;
        }
        let text = documented.join(" ");
        if let Some(name) = line.strip_prefix("pub struct ") {
            let name = name.trim_end_matches(" {");
            let name = if name == "Settings" { "The file" } else { name };
            write!(
                page,
                "\n## {name}\n\n{text}\n\n| key | meaning |\n|---|---|\n"
            )
            .unwrap();
            inside = true;
        } else if let (true, Some((name, _))) = (
            inside,
            line.strip_prefix("pub ")
                .and_then(|line| line.split_once(':')),
        ) {
            writeln!(page, "| `{}` | {text} |", camel(name)).unwrap();
        } else if line == "}" {
            inside = false;
        }
        if !line.starts_with("#[") {
            documented.clear();
        }
    }
}

#[test]
fn the_page_of_settings_is_what_the_code_says() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut page = HEAD.to_owned();
    for file in ["src/settings.rs", "src/settings/sections.rs"] {
        chapters(
            &std::fs::read_to_string(crate_folder.join(file)).unwrap(),
            &mut page,
        );
    }
    let path = crate_folder.join("../../docs/settings.md");
    if std::env::var_os("MURDER_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page,
        "docs/settings.md is not what the code says; MURDER_WRITE_DOCS=1 cargo test -p murder-api writes it anew"
    );
}
