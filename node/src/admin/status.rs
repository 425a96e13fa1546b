//! `GET /v1/status`: what a node says of itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use murder_api::admin::NodeStatus;
use murder_model::{Fence, Term};

use super::master::reading;
use super::refusal::Refused;
use super::{Admin, Context, backend};
use crate::telemetry::metrics::Protocol;

pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Result<Json<NodeStatus>, Refused> {
    node_status(&admin).await.map(Json)
}

pub(super) async fn node_status(admin: &Admin) -> Result<NodeStatus, Refused> {
    let context = &admin.context;
    let backend = match &context.backend {
        Some(part) => {
            let survey = admin.surveys.recent(&part.backend).await?;
            Some(backend::status(part, &survey))
        }
        None => None,
    };
    let (fence, term) = numbers(context).await?;
    let settings = &context.settings;
    Ok(NodeStatus {
        name: settings.name.clone(),
        server: settings.server.clone(),
        role: settings.role,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: context.health.is_ready(),
        fence,
        term,
        sessions: sessions(context, "imap") + sessions(context, "lmtp"),
        backend,
    })
}

/// Highest fence seen; highest term promised or, of a master, its own.
async fn numbers(context: &Context) -> Result<(Fence, Term), Refused> {
    if let Some(master) = &context.master {
        return reading(master, |reader| {
            Ok((reader.fence()?, reader.position()?.term))
        })
        .await;
    }
    let state = context.state.as_ref();
    Ok(state.map_or_else(Default::default, |state| (state.fence(), state.promised())))
}

fn sessions(context: &Context, protocol: &'static str) -> u64 {
    let sessions = context
        .metrics
        .sessions
        .get_or_create_owned(&Protocol { protocol });
    u64::try_from(sessions.get()).unwrap_or(0)
}
