//! Options that every command has, named as kubectl names its own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Stands for no limit.
pub(crate) const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How results are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For people, with more columns.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// Names of objects only.
    Name,
}

/// Which cluster, which murder, and how to answer.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Options {
    /// Namespace of the murder [default: that of the context]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG or ~/.kube/config, or the pod's own account]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Name of the MurderCluster [default: the only one in the namespace]
    #[arg(short, long, global = true, value_name = "MURDER")]
    pub(crate) cluster_name: Option<String>,
    /// How to answer
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) output: Format,
    /// Longest time for one request, e.g. 5s; 0 is no limit
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = parse_limit)]
    pub(crate) request_timeout: Duration,
}

impl Options {
    /// The options that lead another command to the same place.
    pub(crate) fn repeated(&self, namespace: &str) -> String {
        let mut text = format!(" -n {namespace}");
        if let Some(context) = &self.context {
            text.push_str(&format!(" --context {context}"));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            text.push_str(&format!(" --kubeconfig {}", kubeconfig.display()));
        }
        text
    }
}

/// Reads `90s`, `5m`, `1h`, `500ms`, or seconds; 0 is no limit.
pub(crate) fn parse_limit(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let number: u64 = number
        .parse()
        .map_err(|_| "is a number with ms, s, m or h".to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is none of ms, s, m and h")),
    };
    let limit = Duration::from_millis(number.saturating_mul(milliseconds));
    Ok(if limit.is_zero() {
        NO_LIMIT
    } else {
        limit.min(NO_LIMIT)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{NO_LIMIT, parse_limit};

    #[test]
    fn limits_are_read_as_kubectl_reads_them() {
        assert_eq!(parse_limit("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_limit("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_limit("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_limit("0"), Ok(NO_LIMIT));
        assert_eq!(
            parse_limit("soon"),
            Err("is a number with ms, s, m or h".to_owned())
        );
        assert_eq!(
            parse_limit("5d"),
            Err("\"d\" is none of ms, s, m and h".to_owned())
        );
    }
}
