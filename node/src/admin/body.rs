//! What callers send: names in paths, and bodies: JSON of one known form, whatever content type they
//! claim, within size and time.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Admin;
use super::refusal::Refused;

/// A request's body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Refused> {
        let limits = &admin.context.limits;
        let bytes = timeout(limits.body, Bytes::from_request(request, admin))
            .await
            .map_err(|_| Refused::too_slow())?
            .map_err(|error| match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Refused::too_large(limits.body_bytes),
                _ => Refused::bad_request(format!("cannot read the body: {error}")),
            })?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Self(body)),
            Err(error) => Err(Refused::bad_request(error.to_string())),
        }
    }
}

/// The name in a path.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(error) => Err(Refused::bad_request(error.body_text())),
        }
    }
}
