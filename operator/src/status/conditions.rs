//! Conditions of an object.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// It does not hold.
    False,
    /// It holds.
    True,
    /// It cannot be told now.
    Unknown,
}

impl Truth {
    /// The word in a condition.
    pub fn word(self) -> &'static str {
        match self {
            Self::False => "False",
            Self::True => "True",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a condition is to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    pub(super) truth: Truth,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

pub(super) fn holds(reason: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        truth: Truth::True,
        reason,
        message: message.into(),
    }
}

pub(super) fn fails(reason: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        truth: Truth::False,
        reason,
        message: message.into(),
    }
}

pub(super) fn unknown(reason: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        truth: Truth::Unknown,
        reason,
        message: message.into(),
    }
}

/// Longest message that an API server takes is 32768; people read less.
const MESSAGE_MAX: usize = 1024;

/// The conditions to write, in the order of `found`: with the time of `before` where the status is the same.
pub(super) fn conditions(
    before: Option<&Vec<Condition>>,
    generation: Option<i64>,
    now: Timestamp,
    found: Vec<(&'static str, Finding)>,
) -> Vec<Condition> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = |(kind, finding): (&str, Finding)| {
        let status = finding.truth.word();
        let before = before.and_then(|before| find(before, kind));
        let since = before.filter(|before| before.status == status);
        let since = since.map_or(Time(now), |before| before.last_transition_time.clone());
        let mut message = finding.message;
        if message.len() > MESSAGE_MAX {
            let end = (0..=MESSAGE_MAX)
                .rev()
                .find(|&at| message.is_char_boundary(at));
            message.truncate(end.unwrap_or(0));
            message.push('…');
        }
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: finding.reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: since,
        }
    };
    found.into_iter().map(condition).collect()
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}
