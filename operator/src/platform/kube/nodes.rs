//! What the nodes of a murder say.
//!
//! A pass waits for those on whose answer it decides. The others are asked aside, so that neither a thousand nodes at
//! rest nor a silent one hold up a change of another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use murder_api::admin::{NodeStatus, ServerStatus, TransferStatus, UnitSummary};
use murder_api::settings::Role;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::node_client::{NodeAddress, NodeClient};

/// Nodes asked at a time while a pass waits.
const ASKED_MAX: usize = 32;
/// Nodes asked at a time while nothing waits.
const ASKED_ASIDE_MAX: usize = 4;
/// How long what a resting node said is good enough for its status.
const REST: Duration = Duration::from_secs(30);

/// How urgently a node is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// Nothing is decided before it has answered, or has failed to.
    Now,
    /// In this pass. One that was silent when it was last asked is not waited for: what it says counts in the next pass.
    Each,
    /// From time to time, and never waited for.
    Seldom,
}

/// A pod to ask.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) pod: String,
    pub(super) address: SocketAddr,
    /// Name in its certificate.
    pub(super) tls_name: String,
    /// How urgently.
    pub(super) need: Need,
    /// Whether its units are wanted one by one.
    pub(super) units: bool,
}

/// What one node said.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) status: Option<NodeStatus>,
    pub(super) transfers: Option<Vec<TransferStatus>>,
    pub(super) units: Option<Vec<UnitSummary>>,
    pub(super) servers: Option<Vec<ServerStatus>>,
    /// Why it did not answer.
    pub(super) error: Option<String>,
}

/// An answer of a pod, and when it was asked.
type Answer = (String, Instant, SocketAddr, Report);

/// What nodes said, by pod.
#[derive(Debug)]
pub(super) struct Reports {
    heard: BTreeMap<String, (Instant, SocketAddr, Report)>,
    /// Pods that were asked before and are not any more.
    forgotten: Vec<String>,
    /// Pods whose answer is not waited for. One is asked once at a time, so there are no more answers than pods.
    asking: BTreeSet<String>,
    answers: (UnboundedSender<Answer>, UnboundedReceiver<Answer>),
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            heard: BTreeMap::new(),
            forgotten: Vec::new(),
            asking: BTreeSet::new(),
            answers: unbounded_channel(),
        }
    }
}

impl Reports {
    /// What a pod said when it was last asked.
    pub(super) fn of(&self, pod: &str) -> Option<&Report> {
        self.heard.get(pod).map(|(_, _, report)| report)
    }

    /// The status of a pod.
    pub(super) fn status(&self, pod: &str) -> Option<&NodeStatus> {
        self.of(pod)?.status.as_ref()
    }

    /// Every report, by pod.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Report)> {
        let heard = self.heard.iter();
        heard.map(|(pod, (_, _, report))| (pod.as_str(), report))
    }

    /// Pods that the last asking left out.
    pub(super) fn forgotten(&self) -> &[String] {
        &self.forgotten
    }

    /// Whether answers are to come that nobody has waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Asks the given pods, and forgets all others. Waits only for those that the pass cannot do without.
    pub(super) async fn ask(&mut self, client: &NodeClient, pods: Vec<Asked>) {
        self.meet(&pods);
        let mut now = Vec::new();
        let mut later = Vec::new();
        for asked in pods {
            match self.turn(&asked) {
                Turn::Now => now.push(asked),
                Turn::Later if self.asking.insert(asked.pod.clone()) => later.push(asked),
                Turn::Later | Turn::Rests => {}
            }
        }
        if !later.is_empty() {
            let (client, told) = (client.clone(), self.answers.0.clone());
            tokio::spawn(async move {
                let mut answers = calls(&client, later, ASKED_ASIDE_MAX);
                while let Some(answer) = answers.next().await {
                    if told.send(answer).is_err() {
                        // The murder is gone, or somebody else's.
                        return;
                    }
                }
            });
        }
        let mut answers = calls(client, now, ASKED_MAX);
        while let Some((pod, at, address, report)) = answers.next().await {
            self.take(pod, at, address, report);
        }
    }

    /// Takes up answers that nobody has waited for, and forgets what was said by pods that are not asked any more, or
    /// under an address that is not the pod's now: it was another pod's of that name.
    fn meet(&mut self, pods: &[Asked]) {
        while let Ok((pod, at, address, report)) = self.answers.1.try_recv() {
            self.asking.remove(&pod);
            self.take(pod, at, address, report);
        }
        let met: BTreeMap<&String, SocketAddr> = pods
            .iter()
            .map(|asked| (&asked.pod, asked.address))
            .collect();
        let gone = self.heard.keys().filter(|pod| !met.contains_key(pod));
        self.forgotten = gone.cloned().collect();
        self.heard
            .retain(|pod, (_, address, _)| met.get(pod) == Some(address));
    }

    /// Keeps an answer, unless a later one is known.
    fn take(&mut self, pod: String, at: Instant, address: SocketAddr, report: Report) {
        let known = self.heard.get(&pod);
        let is_old = known.is_some_and(|(known, _, _)| *known > at);
        if !is_old {
            self.heard.insert(pod, (at, address, report));
        }
    }

    fn turn(&self, asked: &Asked) -> Turn {
        let last = self.heard.get(&asked.pod);
        let last = last.filter(|(_, address, _)| *address == asked.address);
        let Some((at, _, report)) = last else {
            return Turn::Now;
        };
        let is_silent = report.status.is_none();
        match asked.need {
            Need::Now => Turn::Now,
            Need::Each if is_silent => Turn::Later,
            Need::Each => Turn::Now,
            Need::Seldom if is_silent || at.elapsed() >= REST => Turn::Later,
            Need::Seldom => Turn::Rests,
        }
    }
}

/// When a pod is asked.
#[derive(Debug, Eq, PartialEq)]
enum Turn {
    Now,
    Later,
    Rests,
}

fn calls(
    client: &NodeClient,
    pods: Vec<Asked>,
    at_a_time: usize,
) -> impl futures::Stream<Item = Answer> + Unpin {
    let client = client.clone();
    let calls = pods.into_iter().map(move |asked| {
        let client = client.clone();
        async move {
            let at = Instant::now();
            let report = ask_one(&client, &asked).await;
            (asked.pod, at, asked.address, report)
        }
    });
    Box::pin(futures::stream::iter(calls).buffer_unordered(at_a_time))
}

async fn ask_one(client: &NodeClient, asked: &Asked) -> Report {
    let address = NodeAddress {
        address: asked.address,
        tls_name: asked.tls_name.clone(),
    };
    let mut report = Report::default();
    let status = match client.status(&address).await {
        Ok(status) => status,
        Err(error) => {
            report.error = Some(error.to_string());
            return report;
        }
    };
    if status.role.holds_mailboxes() {
        report.transfers = client.transfers(&address).await.ok();
        if asked.units {
            report.units = client.units(&address).await.ok();
        }
    }
    if status.role == Role::Mupdate {
        report.servers = client.servers(&address).await.ok();
    }
    report.status = Some(status);
    report
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use super::{Asked, Need, REST, Report, Reports, Turn};

    fn asked(need: Need) -> Asked {
        Asked {
            pod: "be-a-0".to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 8443)),
            tls_name: "be-a-0".to_owned(),
            need,
            units: false,
        }
    }

    /// Reports with what the pod said so long ago.
    fn heard(ago: Duration, report: Report) -> Reports {
        let mut reports = Reports::default();
        let Asked { pod, address, .. } = asked(Need::Now);
        let at = Instant::now().checked_sub(ago).unwrap();
        reports.take(pod, at, address, report);
        reports
    }

    fn answered() -> Report {
        let status = serde_json::json!({
            "name": "be-a-0", "server": "be-a", "role": "backend", "version": "1", "ready": true, "fence": 0,
            "term": 0, "sessions": 0,
        });
        Report {
            status: Some(serde_json::from_value(status).unwrap()),
            ..Report::default()
        }
    }

    #[test]
    fn a_pass_waits_for_whom_it_needs_but_not_again_for_a_silent_node() {
        let silent = || Report::default();
        let (short, long) = (Duration::from_secs(1), REST);
        let cases = [
            (Need::Now, short, answered(), Turn::Now),
            (Need::Now, short, silent(), Turn::Now),
            (Need::Each, short, answered(), Turn::Now),
            (Need::Each, short, silent(), Turn::Later),
            (Need::Seldom, short, answered(), Turn::Rests),
            (Need::Seldom, long, answered(), Turn::Later),
            (Need::Seldom, short, silent(), Turn::Later),
        ];
        for (need, ago, report, expected) in cases {
            let reports = heard(ago, report);
            assert_eq!(reports.turn(&asked(need)), expected, "{need:?} {ago:?}");
        }
    }

    #[test]
    fn a_pod_that_is_new_or_has_another_address_is_asked_at_once() {
        assert_eq!(Reports::default().turn(&asked(Need::Seldom)), Turn::Now);
        let reports = heard(Duration::ZERO, answered());
        let mut moved = asked(Need::Seldom);
        moved.address = SocketAddr::from(([127, 0, 0, 2], 8443));
        assert_eq!(reports.turn(&moved), Turn::Now);
    }

    #[test]
    fn a_pod_with_another_address_is_heard_anew() {
        let mut reports = heard(Duration::from_secs(1), answered());
        let Asked { pod, address, .. } = asked(Need::Now);
        let mut moved = asked(Need::Now);
        moved.address = SocketAddr::from(([127, 0, 0, 2], 8443));
        // An answer from the old address that comes late, and after the new one was asked.
        let late = (pod.clone(), Instant::now(), address, answered());
        reports.answers.0.send(late).unwrap();
        reports.meet(&[moved.clone()]);
        assert!(reports.of(&pod).is_none());
        assert!(reports.forgotten().is_empty());
        reports.take(pod.clone(), Instant::now(), moved.address, answered());
        reports.meet(&[moved.clone()]);
        assert!(reports.status(&pod).is_some());
        assert_eq!(reports.turn(&moved), Turn::Now);
    }

    #[test]
    fn an_answer_that_was_asked_for_earlier_replaces_no_later_one() {
        let mut reports = heard(Duration::from_secs(1), answered());
        let Asked { pod, address, .. } = asked(Need::Now);
        let earlier = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        reports.take(pod.clone(), earlier, address, Report::default());
        assert!(reports.status(&pod).is_some());
        reports.take(pod.clone(), Instant::now(), address, Report::default());
        assert!(reports.status(&pod).is_none());
    }
}
