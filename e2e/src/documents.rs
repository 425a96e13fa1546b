//! Commands in documents, as they are written.
//!
//! A block of commands is fenced as `sh`. A comment on the line before it says otherwise of it: `<!-- not run: why -->`,
//! or `<!-- refused: what is said -->` if it is to fail.

use anyhow::{Context as _, Result, ensure};

use crate::kube::repository;

/// A block of commands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    /// File and line.
    pub place: String,
    /// The commands, a line each.
    pub commands: String,
    /// What comes of it.
    pub outcome: Outcome,
}

/// What comes of a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every command ends well.
    Done,
    /// It fails and says so.
    Refused(String),
    /// It cannot be run in a test, for this reason.
    NotRun(String),
}

/// The documents in which an administrator is shown commands, in the order in which they may be read. One that begins
/// with an installation begins with nothing; others go on with what the one before them left.
pub fn documents() -> Result<[Vec<Block>; 3]> {
    Ok([
        read("README.md", Some("On Kubernetes"))?,
        read("docs/permissions.md", None)?,
        read("docs/kubernetes.md", None)?,
    ])
}

/// The blocks of a document, or of one part of it.
fn read(file: &str, part: Option<&str>) -> Result<Vec<Block>> {
    let text = std::fs::read_to_string(repository().join(file)).context(file.to_owned())?;
    blocks(file, &text, part)
}

fn blocks(file: &str, text: &str, part: Option<&str>) -> Result<Vec<Block>> {
    let mut found = Vec::new();
    let (mut outcome, mut inside) = (Outcome::Done, part.is_none());
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            inside = part.is_none_or(|part| part == heading);
        }
        let Some(language) = line.strip_prefix("```") else {
            outcome = marked(line).unwrap_or(Outcome::Done);
            continue;
        };
        let body = lines.by_ref().map(|(line, _)| line);
        let body: Vec<_> = body.take_while(|line| *line != "```").collect();
        let outcome = std::mem::replace(&mut outcome, Outcome::Done);
        if !inside {
            continue;
        }
        let place = format!("{file}:{number}");
        if language != "sh" {
            let is_command = |line: &&str| line.contains("kubectl ") || line.contains("helm ");
            let has_command = body.iter().any(is_command);
            ensure!(!has_command, "{place}: commands are to be fenced as sh");
            continue;
        }
        found.push(Block {
            place,
            commands: body.join("\n"),
            outcome,
        });
    }
    Ok(found)
}

/// What a comment says of the block after it.
fn marked(line: &str) -> Option<Outcome> {
    let comment = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    let refused = comment.strip_prefix("refused: ");
    let refused = refused.map(|said| Outcome::Refused(said.to_owned()));
    let not_run = comment.strip_prefix("not run: ");
    not_run
        .map(|why| Outcome::NotRun(why.to_owned()))
        .or(refused)
}

#[cfg(test)]
mod tests {
    use super::{Block, Outcome, blocks, documents};

    /// The first lines of what is not run, and why. Keep them few.
    const NOT_RUN: [(&str, &str); 5] = [
        (
            "kubectl apply --server-side -f crds/",
            "here the release brings them",
        ),
        (
            "kubectl -n mail scale murdercluster/mc --replicas=3",
            "the Backends of the example are written out",
        ),
        (
            "for file in tls.crt tls.key ca.crt; do",
            "no volume was restored",
        ),
        (
            "pv=$(kubectl -n mail get pvc be-b-data -o jsonpath='{.spec.volumeName}')",
            "no claim was deleted",
        ),
        (
            "kubectl delete crd murderclusters.murder.rs backends.murder.rs frontends.murder.rs",
            "others may have murders",
        ),
    ];

    #[test]
    fn few_commands_of_the_documents_are_not_run() {
        let documents = documents().unwrap();
        assert!(documents.iter().all(|blocks| !blocks.is_empty()));
        let all = documents.iter().flatten();
        let skipped = all.filter_map(|block| match &block.outcome {
            Outcome::NotRun(why) => Some((block.commands.lines().next()?, why.as_str())),
            Outcome::Done | Outcome::Refused(_) => None,
        });
        assert_eq!(skipped.collect::<Vec<_>>(), NOT_RUN);
    }

    #[test]
    fn a_comment_is_about_the_block_after_it() {
        let text = "\
## A
```sh
one
```
## B
<!-- refused: no -->
```sh
two \\
  three
```
<!-- not run: why -->
```sh
four
```
```yaml
five: 5
```
<!-- not run: about a text -->
in between
```sh
six
```
";
        let block = |line: u32, commands: &str, outcome| Block {
            place: format!("x.md:{line}"),
            commands: commands.to_owned(),
            outcome,
        };
        let expected = [
            block(7, "two \\\n  three", Outcome::Refused("no".to_owned())),
            block(12, "four", Outcome::NotRun("why".to_owned())),
            block(20, "six", Outcome::Done),
        ];
        assert_eq!(blocks("x.md", text, Some("B")).unwrap(), expected);
    }

    #[test]
    fn commands_that_are_not_marked_as_such_are_told() {
        let error = blocks("x.md", "```\nkubectl get pods\n```\n", None).unwrap_err();
        let expected = "x.md:1: commands are to be fenced as sh";
        assert_eq!(error.to_string(), expected);
    }
}
