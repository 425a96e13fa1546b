//! What was done, in order: equal on all platforms for equal histories.

use std::collections::VecDeque;

use super::plan::{Kind, Step};

/// Most steps kept; the oldest go.
const STEPS_MAX: usize = 10_000;

/// The steps taken, oldest first, each as object, action and reason.
///
/// A platform may have to take a step more than once until its effect is seen; that counts once.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    steps: VecDeque<Step>,
}

impl Trace {
    /// Notes a step that is taken; says whether it is not just taken again.
    pub fn record(&mut self, step: &Step) -> bool {
        // Repeated is what equals one of the object's last steps of the same name.
        let name = step.action.name();
        let of_object = self.steps.iter().rev();
        let mut last = of_object
            .filter(|past| past.kind == step.kind && past.object == step.object)
            .take_while(|past| past.action.name() == name && past.reason == step.reason);
        if last.any(|past| past == step) {
            return false;
        }
        if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step.clone());
        true
    }

    /// A line for each step.
    pub fn lines(&self) -> Vec<String> {
        self.steps.iter().map(Step::to_string).collect()
    }

    /// The lines of one object.
    pub fn of(&self, kind: Kind, object: &str) -> Vec<String> {
        let steps = self.steps.iter();
        steps
            .filter(|step| step.kind == kind && step.object == object)
            .map(Step::to_string)
            .collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.steps.clear();
    }
}
