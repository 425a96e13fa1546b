//! YAML with messages that say where: the one module that knows serde_yaml.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest file read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Problem {
    /// A problem with the value of `key`, whose line in `text` is looked up. With `section.key` it
    /// is the one in that section, as keys of two sections may have one name.
    pub fn at_key(path: &Path, text: &str, key: &str, message: String) -> Self {
        let is = |line: &str, key: &str| {
            let line = line.trim_start().trim_start_matches("- ");
            line.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        let top = |line: &str| line.starts_with(|first: char| first.is_ascii_alphanumeric());
        let mut inside = !key.contains('.');
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let mut line = None;
        for (index, text) in text.lines().enumerate() {
            if !section.is_empty() && top(text) {
                inside = is(text, section);
                // The section's own line, until the key is found in it.
                line = if inside { Some(index + 1) } else { line };
            } else if inside && is(text, name) && (!section.is_empty() || top(text)) {
                line = Some(index + 1);
                break;
            }
        }
        Self {
            path: path.to_owned(),
            line,
            message: format!("{key}: {message}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Everything that is wrong with a file, one a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// A single problem.
    pub fn one(path: &Path, line: Option<usize>, message: String) -> Self {
        Self(vec![Problem {
            path: path.to_owned(),
            line,
            message,
        }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads one document.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Problems> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("{} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        return Err(Problems::one(path, None, message));
    }
    serde_yaml::from_str(text).map_err(|error| problem(path, 0, &error))
}

/// Reads all documents of a stream, each with the line that it begins at (from 1).
pub fn documents(path: &Path, text: &str) -> Result<Vec<(usize, serde_json::Value)>, Problems> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("{} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        return Err(Problems::one(path, None, message));
    }
    let mut found = Vec::new();
    for (line, document) in split_documents(text) {
        let value: serde_json::Value =
            serde_yaml::from_str(document).map_err(|error| problem(path, line - 1, &error))?;
        if !value.is_null() {
            found.push((line, value));
        }
    }
    Ok(found)
}

/// The text of each document and the line that it begins at (from 1).
pub fn split_documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = offset + line.len();
        if line.trim_end() == "---" {
            documents.push((start_line, &text[start..offset]));
            (start, start_line) = (end, index + 2);
        }
        offset = end;
    }
    documents.push((start_line, &text[start..]));
    documents.retain(|(_, document)| !document.trim().is_empty());
    documents
}

/// Writes one document.
pub fn write<T: Serialize>(value: &T) -> String {
    serde_yaml::to_string(value).expect("our types have string keys and finite numbers")
}

fn problem(path: &Path, lines_before: usize, error: &serde_yaml::Error) -> Problems {
    let line = error
        .location()
        .map(|location| location.line() + lines_before);
    let message = error.to_string();
    let message = match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    };
    Problems::one(path, line, message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{documents, split_documents};

    #[test]
    fn documents_know_their_first_line() {
        let text = "# a\na: 1\n---\nb: 2\n---\n---\nc: 3\n";
        let starts: Vec<_> = split_documents(text)
            .into_iter()
            .map(|(line, _)| line)
            .collect();
        assert_eq!(starts, [1, 4, 7]);
        assert_eq!(documents(Path::new("x"), text).unwrap().len(), 3);
    }

    #[test]
    fn a_syntax_error_is_at_its_line_of_the_whole_file() {
        let error = documents(Path::new("x.yaml"), "a: 1\n---\nb: [1\n").unwrap_err();
        assert!(error.to_string().starts_with("x.yaml:4:"), "{error}");
    }
}
