//! Refusals: a status of 4xx or 5xx with a word for programs and a sentence for people.

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use murder_api::admin::ErrorBody;
use murder_locations::master::MasterError;
use murder_locations::request::Refusal;
use murder_store::mail::MailError;

use super::commands::TransferRefusal;
use crate::mupdate::master::Stopped;
use crate::server_state::Fenced;

/// The word for a caller that has been replaced.
pub(super) const FENCED: &str = "Fenced";

/// The word for programs, beside the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reason(pub(super) &'static str);

/// Why a call was refused.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    reason: &'static str,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("the body has more than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", message)
    }

    pub(super) fn too_slow() -> Self {
        let message = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "TooSlow", message)
    }

    pub(super) fn wrong_method(method: &Method) -> Self {
        let message = format!("this path does not take {method}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            reason: self.reason.to_owned(),
            message: self.message,
        };
        let reason = Extension(Reason(self.reason));
        (self.status, reason, Json(body)).into_response()
    }
}

impl From<Fenced> for Refused {
    fn from(fenced: Fenced) -> Self {
        Self::new(StatusCode::CONFLICT, FENCED, fenced.to_string())
    }
}

impl From<MailError> for Refused {
    fn from(error: MailError) -> Self {
        Self::unavailable(format!("cannot read the store: {error}"))
    }
}

impl From<MasterError> for Refused {
    fn from(error: MasterError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<Stopped> for Refused {
    fn from(error: Stopped) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::NotAllowed(_) => Self::forbidden(message),
            Refusal::UnknownServer => Self::not_found(message),
            Refusal::Fenced { .. } => Self::new(StatusCode::CONFLICT, FENCED, message),
            Refusal::AwaitingReports(_) => Self::unavailable(message),
            _ => Self::conflict(message),
        }
    }
}

impl From<TransferRefusal> for Refused {
    fn from(refusal: TransferRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            TransferRefusal::NotFound => Self::not_found(message),
            TransferRefusal::NotOwner => Self::new(StatusCode::CONFLICT, "NotOwner", message),
            TransferRefusal::TooLate => Self::new(StatusCode::CONFLICT, "TooLate", message),
            TransferRefusal::OtherMove(_) => Self::new(StatusCode::CONFLICT, "OtherMove", message),
            TransferRefusal::SameServer => Self::bad_request(message),
            TransferRefusal::Draining => Self::unavailable(message),
        }
    }
}
