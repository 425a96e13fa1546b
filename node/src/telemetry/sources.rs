//! Where the metrics come from that are looked up when they are asked for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::timeout;

use crate::admin::survey::Surveys;
use crate::backend::Backend;
use crate::directory::Directory;
use crate::directory::replica::ReplicaHandle;
use crate::net::Tls;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{CertificateLabel, PartitionLabel, RoomLabel, StateLabel};

/// How long one who asks for metrics waits for the master.
const MASTER_PATIENCE: Duration = Duration::from_secs(1);

/// What a node has, as far as it has started.
#[derive(Debug, Default)]
pub struct Sources {
    /// For certificates.
    pub tls: OnceLock<Tls>,
    /// For units and partitions.
    pub backend: OnceLock<Arc<Backend>>,
    /// For the connection to the master.
    pub directory: OnceLock<Directory>,
    /// For how far it is.
    pub replica: OnceLock<ReplicaHandle>,
    surveys: Surveys,
}

impl Sources {
    /// Brings up to date what is looked up; what cannot be told now stays as it was.
    pub async fn refresh(&self, metrics: &Metrics) {
        self.certificates(metrics);
        if let Some(backend) = self.backend.get() {
            partitions(backend, metrics);
            self.units(backend, metrics).await;
        }
        if let Some(directory) = self.directory.get() {
            self.master(directory, metrics).await;
        }
    }

    fn certificates(&self, metrics: &Metrics) {
        let Some(expiry) = self.tls.get().map(Tls::expiry) else {
            return;
        };
        let told = [("node", Some(expiry.node)), ("public", expiry.public)];
        for (certificate, expiry) in told {
            if let Some(expiry) = expiry {
                let label = CertificateLabel { certificate };
                let family = &metrics.node.certificate_expiry;
                family.get_or_create_owned(&label).set(expiry);
            }
        }
    }

    async fn units(&self, backend: &Backend, metrics: &Metrics) {
        // Counting looks at every unit: not for each who asks.
        let survey = match self.surveys.listing(backend).await {
            Ok(survey) => survey,
            Err(error) => {
                tracing::warn!(event = "units_not_counted", %error);
                return;
            }
        };
        let counts = survey.counts;
        for (state, count) in [
            ("owner", counts.owned),
            ("inDoubt", counts.in_doubt),
            ("staged", counts.staged),
            ("grace", counts.grace),
        ] {
            let gauge = metrics
                .node
                .units
                .get_or_create_owned(&StateLabel { state });
            gauge.set(signed(count));
        }
        metrics.node.mailboxes.set(signed(counts.mailboxes));
        metrics.node.messages_bytes.set(signed(counts.bytes));
    }

    async fn master(&self, directory: &Directory, metrics: &Metrics) {
        let connected = directory.is_connected();
        metrics.node.master_connected.set(i64::from(connected));
        let Some(replica) = self.replica.get().filter(|_| connected) else {
            return;
        };
        let Ok(Ok(now)) = timeout(MASTER_PATIENCE, directory.barrier()).await else {
            return;
        };
        let here = *replica.positions().borrow();
        let seen = if here.term == now.term { here.seq } else { 0 };
        let lag = now.seq.saturating_sub(seen);
        metrics.node.replica_lag_changes.set(signed(lag));
    }
}

fn partitions(backend: &Backend, metrics: &Metrics) {
    for handle in backend.partitions() {
        let partition = handle.name().to_string();
        let failed = i64::from(handle.failed().is_some());
        for (state, bytes) in [
            ("free", handle.free_bytes()),
            ("total", handle.total_bytes()),
        ] {
            let partition = partition.clone();
            let label = RoomLabel { partition, state };
            let family = &metrics.node.partition_bytes;
            family.get_or_create_owned(&label).set(signed(bytes));
        }
        let family = &metrics.node.partition_failed;
        let label = PartitionLabel { partition };
        family.get_or_create_owned(&label).set(failed);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
