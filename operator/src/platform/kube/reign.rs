//! The client by which we command nodes: under the fence of our leadership, and with our certificate.

use anyhow::Context as _;
use kube::Api;
use murder_model::Fence;

use super::context::Context;
use super::memory::Memory;
use super::objects::Objects;
use super::{CALL_LIMIT, fence, identity};
use crate::node_client::NodeClient;

/// The client for the nodes, under the fence of our leadership, which is written down before the first command.
pub(super) async fn node_client(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
    credentials: &identity::Credentials,
) -> anyhow::Result<NodeClient> {
    let fence = match memory.fence {
        Some(fence) => fence,
        None => {
            let highest = highest_fence(memory);
            let fence = claim_fence(context, objects, highest).await?;
            memory.fence = Some(fence);
            fence
        }
    };
    client_of(memory, credentials, fence)
}

fn client_of(
    memory: &mut Memory,
    credentials: &identity::Credentials,
    fence: Fence,
) -> anyhow::Result<NodeClient> {
    let mark = credentials.mark(fence);
    if let Some((known, client)) = &memory.client
        && *known == mark
    {
        return Ok(client.clone());
    }
    let client = credentials
        .client(fence)
        .context("the operator's certificate")?;
    memory.client = Some((mark, client.clone()));
    Ok(client)
}

/// Writes a fence above all others on the murder.
async fn claim_fence(context: &Context, objects: &Objects, highest: u64) -> anyhow::Result<Fence> {
    let transitions = context
        .leadership
        .transitions()
        .context("no longer the leader")?;
    let api = Api::namespaced(context.client.clone(), &objects.key.namespace);
    let (name, highest) = (&objects.key.name, Fence::new(highest));
    Ok(fence::claim_fence(&api, name, transitions, highest, CALL_LIMIT).await?)
}

fn highest_fence(memory: &Memory) -> u64 {
    let fences = memory
        .reports
        .all()
        .filter_map(|(_, report)| report.status.as_ref());
    fences.map(|status| status.fence.get()).max().unwrap_or(0)
}

/// Takes a higher fence if nodes have seen one: we hold the Lease, so whoever had it is deposed.
pub(super) async fn outrank(
    context: &Context,
    objects: &Objects,
    memory: &mut Memory,
    credentials: &identity::Credentials,
    client: NodeClient,
) -> anyhow::Result<NodeClient> {
    let highest = highest_fence(memory);
    if memory.fence.is_none_or(|fence| fence.get() >= highest) {
        return Ok(client);
    }
    tracing::warn!(murder = %objects.key, fence = highest, "fence_outranked");
    anyhow::ensure!(context.leadership.is_held(), "no longer the leader");
    let fence = claim_fence(context, objects, highest).await?;
    memory.fence = Some(fence);
    client_of(memory, credentials, fence)
}
