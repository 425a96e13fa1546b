//! How fast mailboxes may leave: each source is told its share, and told anew whenever the spec changes.

use super::act::Acting;
use super::observe;

/// Bytes each second for one of `draining` sources; 0 is no limit.
fn share(per_backend: u64, total: u64, draining: u64) -> u64 {
    let of_total = (total > 0).then(|| (total / draining.max(1)).max(1));
    match (per_backend, of_total) {
        (0, None) => 0,
        (0, Some(share)) => share,
        (own, None) => own,
        (own, Some(share)) => own.min(share),
    }
}

/// Brings the rates of all nodes to what the spec says. One that cannot be told is told in the next pass.
pub(super) async fn apply(acting: &Acting<'_>) {
    let spec = &acting.objects.cluster.spec.transfer;
    let views = &acting.world.backends;
    let leaving = views.iter().filter(|view| view.is_leaving()).count();
    let wanted = share(
        spec.bytes_per_second_per_backend.unsigned_abs(),
        spec.bytes_per_second_total.unsigned_abs(),
        leaving as u64,
    );
    for view in views {
        let Some(status) = &view.status else { continue };
        if status.transfer_bytes_per_second == wanted {
            continue;
        }
        let pod = view.pod_name();
        let found = acting.objects.pods.get(&pod);
        let Some(node) = found.and_then(|pod| observe::admin_address(pod)) else {
            continue;
        };
        if let Err(error) = acting.node_client.transfer_rate(&node, wanted).await {
            tracing::warn!(murder = %acting.objects.key, pod, %error, "transfer_rate_not_set");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    /// Row 59.
    #[test]
    fn a_source_gets_its_own_limit_or_its_share_of_all() {
        assert_eq!(share(0, 0, 3), 0);
        assert_eq!(share(500, 0, 3), 500);
        assert_eq!(share(0, 900, 3), 300);
        assert_eq!(share(500, 900, 1), 500);
        assert_eq!(share(500, 900, 3), 300);
        assert_eq!(share(0, 2, 3), 1);
        assert_eq!(share(0, 900, 0), 900);
    }
}
