//! Mail that is delivered and read while something happens, and all accounted for.

use murder_e2e::console::Console;
use murder_e2e::demo::{Phase, Trial};
use murder_e2e::kube::KubeMurder;
use murder_e2e::mail::Sources;

/// Messages of a scenario.
const MESSAGES: usize = 300;
/// Percent delivered before the action, and at most until its end.
const PERCENT_BEFORE: usize = 30;
const PERCENT_DURING: usize = 80;

/// Does something under load; then every message that was acknowledged is there exactly once, unchanged.
pub(crate) async fn under_load(
    murder: &KubeMurder,
    action: impl Future<Output = anyhow::Result<()>>,
) {
    let sources = Sources {
        mail: None,
        messages: MESSAGES,
        seed: 7,
    };
    let party = murder.party().await.unwrap();
    let mut trial = Trial::prepare(party, &sources, Console::default())
        .await
        .unwrap();
    let before = trial.ledger().messages.len() * PERCENT_BEFORE / 100;
    trial.ledger().release(before);
    trial.start();
    let ledger = trial.ledger();
    ledger.reached(ledger.deliveries_of(before)).await;
    trial.learn().await.unwrap();
    trial.enter(Phase::Draining);
    let done = trial.meanwhile(PERCENT_DURING, action).await;
    if let Err(error) = done {
        let seen = murder.kube.describe(&murder.namespace).await;
        unreachable!("{error:#}\n{seen}");
    }
    let report = trial.finish(None).await.unwrap();
    assert!(report.is_good(), "{report}");
}
