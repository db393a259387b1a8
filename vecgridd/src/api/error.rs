//! What a failed request looks like from outside: the one mapping for both doors.
//!
//! ```text
//! ServiceError ─┐                 ┌─ application/problem+json (RFC 9457), HTTP status
//!               ├─► ApiError ─────┤
//! DoorError  ───┘                 └─ grpc-status with google.rpc details
//! ```
//!
//! Both sides say the same: a stable `code`, the outcome (*failed*: nothing happened; *unknown*: it
//! may have happened), what is wrong where, and when to try again.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use vecgrid_proto::v1;

use super::http::problem::{Problem, ProblemPart};
use crate::{
    service::{ErrorKind, Outcome, ServiceError},
    types::Invalid,
};

/// `ErrorInfo.domain` of every failure.
const DOMAIN: &str = "vecgrid";

/// A request that failed at the door, before or beside the service.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DoorError {
    /// The body is no JSON.
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(String),
    /// A field this version does not know: a typo would otherwise be silent.
    #[error("{0}")]
    UnknownField(String),
    /// Valid JSON of the wrong shape.
    #[error("the body has the wrong shape: {0}")]
    InvalidRequest(String),
    /// A query parameter; no route of this version has any.
    #[error("this version knows no query parameters, but got `{0}`")]
    UnknownParameter(String),
    /// A part of the path that is no UTF-8 once decoded.
    #[error("`{0}` in the path is not valid UTF-8 once percent-decoded")]
    InvalidPath(String),
    /// A timeout that cannot be read.
    #[error("{0}")]
    InvalidTimeout(String),
    /// Neither of the two.
    #[error("{0}")]
    InvalidConsistency(String),
    /// No token of this grid's.
    #[error("{0}")]
    InvalidToken(String),
    /// `Idempotency-Key` that is no text.
    #[error("the Idempotency-Key header must be visible ASCII")]
    InvalidIdempotencyKey,
    /// The body stopped or broke.
    #[error("the body could not be read: {0}")]
    UnreadableBody(String),
    /// Above the message limit.
    #[error("the body is above the limit of {limit} bytes: send smaller batches")]
    BodyTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The answer is above the message limit.
    #[error("the answer is above the limit of {limit} bytes: ask for fewer entries, or without vectors")]
    AnswerTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// A content type nobody here reads.
    #[error("content type `{given}` is not supported here, send {wanted}")]
    UnsupportedMediaType {
        /// As given.
        given: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// A compressed body.
    #[error("content encoding `{0}` is not supported: send the body uncompressed")]
    UnsupportedEncoding(String),
    /// No such route.
    #[error("there is no such path: see /openapi.json")]
    PathNotFound,
    /// The route exists with other methods.
    #[error("this path does not take this method: see the Allow header")]
    MethodNotAllowed,
    /// DNS rebinding protection.
    #[error("requests for host `{0}` are refused: use localhost, or list the name in `allowed_hosts`")]
    HostRefused(String),
    /// Cross-site protection.
    #[error("requests from web pages are refused: list the origin `{0}` in `allowed_origins` to allow it")]
    OriginRefused(String),
    /// Rows are still being loaded.
    #[error("the daemon is starting: wait for /readyz")]
    Starting,
    /// Too much in flight.
    #[error("overloaded: too many {0} in flight; try again in a moment")]
    Overloaded(&'static str),
    /// The deadline passed without an answer from the service.
    #[error("the deadline passed before the work was done")]
    Deadline(Outcome),
    /// A bug.
    #[error("internal error: the request handler panicked; the log has the details")]
    Panicked,
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl DoorError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson(_) => "invalid_json",
            Self::UnknownField(_) => "unknown_field",
            Self::InvalidRequest(_) => "invalid_request",
            Self::UnknownParameter(_) => "unknown_parameter",
            Self::InvalidPath(part) if part == "collection" => "invalid_collection_name",
            Self::InvalidPath(_) => "invalid_id",
            Self::InvalidTimeout(_) => "invalid_timeout",
            Self::InvalidConsistency(_) => "invalid_consistency",
            Self::InvalidToken(_) => "invalid_token",
            Self::InvalidIdempotencyKey => "invalid_request_id",
            Self::UnreadableBody(_) => "unreadable_body",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::AnswerTooLarge { .. } => "answer_too_large",
            Self::UnsupportedMediaType { .. } => "unsupported_media_type",
            Self::UnsupportedEncoding(_) => "unsupported_encoding",
            Self::PathNotFound => "path_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::HostRefused(_) => "host_refused",
            Self::OriginRefused(_) => "origin_refused",
            Self::Starting => "starting",
            Self::Overloaded(_) => "overloaded",
            Self::Deadline(_) => "deadline_exceeded",
            Self::Panicked | Self::Internal(_) => "internal",
        }
    }

    fn statuses(&self) -> (StatusCode, Code) {
        match self {
            Self::InvalidJson(_)
            | Self::UnknownField(_)
            | Self::InvalidRequest(_)
            | Self::UnknownParameter(_)
            | Self::InvalidPath(_)
            | Self::InvalidTimeout(_)
            | Self::InvalidConsistency(_)
            | Self::InvalidToken(_)
            | Self::InvalidIdempotencyKey
            | Self::UnreadableBody(_) => statuses(ErrorKind::Invalid),
            Self::BodyTooLarge { .. } | Self::AnswerTooLarge { .. } => statuses(ErrorKind::TooLarge),
            Self::UnsupportedMediaType { .. } | Self::UnsupportedEncoding(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
            }
            Self::PathNotFound => (StatusCode::NOT_FOUND, Code::Unimplemented),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Self::HostRefused(_) | Self::OriginRefused(_) => (StatusCode::FORBIDDEN, Code::PermissionDenied),
            Self::Starting => statuses(ErrorKind::Unavailable),
            Self::Overloaded(_) => statuses(ErrorKind::Overloaded),
            Self::Deadline(_) => statuses(ErrorKind::Deadline),
            Self::Panicked | Self::Internal(_) => statuses(ErrorKind::Internal),
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Deadline(outcome) => *outcome,
            // The work may have been done before its answer was too large, or before the panic.
            Self::AnswerTooLarge { .. } | Self::Panicked | Self::Internal(_) => Outcome::Unknown,
            _ => Outcome::Failed,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Starting => Some(Duration::from_secs(1)),
            Self::Overloaded(_) => Some(Duration::from_millis(100)),
            _ => None,
        }
    }
}

/// One status per kind and door; `service/error.rs` prints this table.
fn statuses(kind: ErrorKind) -> (StatusCode, Code) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, Code::NotFound),
        ErrorKind::Conflict => (StatusCode::CONFLICT, Code::AlreadyExists),
        ErrorKind::Precondition => (StatusCode::CONFLICT, Code::FailedPrecondition),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
        ErrorKind::Overloaded => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
        ErrorKind::Deadline => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
    }
}

/// A failure, ready to be told through either door.
#[derive(Debug, Clone)]
pub struct ApiError(Box<Told>);

#[derive(Debug, Clone)]
struct Told {
    http: StatusCode,
    grpc: Code,
    code: &'static str,
    outcome: Outcome,
    message: String,
    problems: Vec<Invalid>,
    retry_after: Option<Duration>,
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        let (http, grpc) = statuses(error.kind());
        if error.kind() == ErrorKind::Internal {
            tracing::error!("{error}");
        }
        Self(Box::new(Told {
            http,
            grpc,
            code: error.code(),
            outcome: error.outcome(),
            message: error.to_string(),
            retry_after: error.retry_after(),
            problems: if let ServiceError::Invalid(problems) = error { problems } else { Vec::new() },
        }))
    }
}

impl From<Invalid> for ApiError {
    fn from(problem: Invalid) -> Self {
        ServiceError::from(problem).into()
    }
}

impl From<DoorError> for ApiError {
    fn from(error: DoorError) -> Self {
        let (http, grpc) = error.statuses();
        Self(Box::new(Told {
            http,
            grpc,
            code: error.code(),
            outcome: error.outcome(),
            message: error.to_string(),
            problems: Vec::new(),
            retry_after: error.retry_after(),
        }))
    }
}

impl ApiError {
    /// Stable code.
    pub(super) fn code(&self) -> &'static str {
        self.0.code
    }

    /// For a person.
    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.0.message
    }

    /// Status over gRPC.
    pub(super) fn grpc_code(&self) -> Code {
        self.0.grpc
    }

    /// The same failure, at a place: in front of every path if there are any.
    #[must_use]
    pub(super) fn within(mut self, field: &str) -> Self {
        if self.0.problems.is_empty() {
            self.0.problems.push(Invalid::new(self.0.code, field, self.0.message.clone()));
        } else {
            self.0.problems = self.0.problems.into_iter().map(|p| p.within(field)).collect();
        }
        self
    }

    /// The same failure, where a door has no list around its one entry: takes `field` off the paths.
    #[must_use]
    pub(super) fn unwrapped(mut self, field: &str) -> Self {
        for problem in &mut self.0.problems {
            let inner = problem.field.strip_prefix(field).map(|rest| rest.trim_start_matches('/').to_owned());
            if let Some(inner) = inner {
                problem.field = inner;
            }
        }
        self
    }

    /// As an answer over gRPC, headers only.
    pub(super) fn into_grpc_response(self) -> Response {
        Status::from(self).into_http::<Body>()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let told = *self.0;
        let problem = Problem {
            kind: format!("urn:vecgrid:error:{}", told.code),
            title: told.http.canonical_reason().unwrap_or("Error").to_owned(),
            status: told.http.as_u16(),
            detail: told.message,
            code: told.code.to_owned(),
            outcome: told.outcome.as_str().to_owned(),
            errors: told
                .problems
                .into_iter()
                .map(|problem| ProblemPart {
                    code: problem.code.to_owned(),
                    pointer: if problem.field.is_empty() {
                        String::new()
                    } else {
                        format!("/{}", problem.field)
                    },
                    message: problem.message,
                })
                .collect(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (told.http, [content_type], body).into_response();
        let again = matches!(told.http, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if again || told.retry_after.is_some() {
            // Whole seconds only, and 0 would invite a storm.
            let seconds = told.retry_after.map_or(1, |wait| wait.as_millis().div_ceil(1000).max(1));
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

/// Inside an answer of a stream, where no status can be.
impl From<ApiError> for v1::Failure {
    fn from(error: ApiError) -> Self {
        let told = *error.0;
        Self {
            code: told.code.to_owned(),
            message: told.message,
            outcome: told.outcome.as_str().to_owned(),
            field: told.problems.first().map(|first| grpc_field(&first.field)).unwrap_or_default(),
            retry_after_ms: told
                .retry_after
                .map_or(0, |wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
            status: told.grpc as u32,
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let told = *error.0;
        let mut info =
            std::collections::HashMap::from([("outcome".to_owned(), told.outcome.as_str().to_owned())]);
        if let Some(first) = told.problems.first() {
            info.insert("field".to_owned(), grpc_field(&first.field));
        }
        let mut details = ErrorDetails::with_error_info(told.code, DOMAIN, info);
        for problem in &told.problems {
            details.add_bad_request_violation(grpc_field(&problem.field), &problem.message);
        }
        if let Some(wait) = told.retry_after {
            details.set_retry_info(Some(wait));
        }
        Status::with_error_details(told.grpc, told.message, details)
    }
}

/// A status that tonic made by itself (bad protobuf, unknown method, message too large), with the details
/// that every failure carries; `None` when it has them. Such a call never reached its verb.
pub(super) fn completed(status: &Status) -> Option<Status> {
    if !status.details().is_empty() {
        return None;
    }
    let (code, reason) = match status.code() {
        Code::Ok => return None,
        Code::OutOfRange | Code::ResourceExhausted => (Code::ResourceExhausted, "body_too_large"),
        Code::Unimplemented => (Code::Unimplemented, "unimplemented"),
        Code::Cancelled => (Code::Cancelled, "cancelled"),
        Code::NotFound => (Code::NotFound, "unknown_service"),
        // Its own failures have details, so this one is of the codec.
        Code::Internal | Code::InvalidArgument => (Code::InvalidArgument, "invalid_message"),
        other => (other, "failed"),
    };
    let info = std::collections::HashMap::from([("outcome".to_owned(), Outcome::Failed.as_str().to_owned())]);
    let details = ErrorDetails::with_error_info(reason, DOMAIN, info);
    let metadata = status.metadata().clone();
    Some(Status::with_error_details_and_metadata(code, status.message(), details, metadata))
}

/// `entries/0/vector` is `entries[0].vector` in google.rpc.BadRequest.
fn grpc_field(path: &str) -> String {
    let mut field = String::with_capacity(path.len());
    for part in path.split('/') {
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            field.push('[');
            field.push_str(part);
            field.push(']');
        } else {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(part);
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CollectionName;

    async fn problem(error: impl Into<ApiError>) -> (StatusCode, http::HeaderMap, serde_json::Value) {
        let (parts, body) = error.into().into_response().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn both_doors_tell_the_same_story() {
        let name = CollectionName::new("docs").unwrap();
        let (status, headers, body) = problem(ServiceError::CollectionNotFound(name.clone())).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["type"], "urn:vecgrid:error:collection_not_found");
        assert_eq!((&body["code"], &body["outcome"]), (&"collection_not_found".into(), &"failed".into()));
        assert_eq!(body["status"], 404);

        let status = Status::from(ApiError::from(ServiceError::CollectionNotFound(name)));
        assert_eq!(status.code(), Code::NotFound);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("collection_not_found", "vecgrid"));
        assert_eq!(info.metadata["outcome"], "failed");
    }

    #[tokio::test]
    async fn problems_carry_their_place() {
        let wrong = || Invalid::new("wrong_dimension", "entries/3/vector", "the collection has dimension 4");
        let (status, _, body) = problem(wrong()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["errors"][0]["pointer"], "/entries/3/vector");
        let status = Status::from(ApiError::from(wrong()));
        assert_eq!(
            status.get_error_details().bad_request().unwrap().field_violations[0].field,
            "entries[3].vector"
        );
        let failure = v1::Failure::from(ApiError::from(wrong()));
        assert_eq!((failure.field.as_str(), failure.retry_after_ms), ("entries[3].vector", 0));
        assert_eq!(failure.status, Code::InvalidArgument as u32);
        let (_, _, body) = problem(ApiError::from(wrong()).unwrapped("entries/3")).await;
        assert_eq!(body["errors"][0]["pointer"], "/vector");
    }

    #[tokio::test]
    async fn overload_says_when_to_come_back() {
        let (status, headers, _) = problem(ServiceError::Overloaded("writes")).await;
        assert_eq!(
            (status, &headers[header::RETRY_AFTER]),
            (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
        );
        let (status, headers, _) = problem(ServiceError::ShuttingDown).await;
        assert_eq!(
            (status, &headers[header::RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
        );
        let status = Status::from(ApiError::from(DoorError::Overloaded("reads")));
        let details = status.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(100)));
        let failure = v1::Failure::from(ApiError::from(DoorError::Overloaded("reads")));
        assert_eq!((failure.code.as_str(), failure.retry_after_ms), ("overloaded", 100));
    }

    #[tokio::test]
    async fn a_write_cut_by_its_deadline_is_unknown() {
        let (status, _, body) = problem(ServiceError::DeadlineDuring).await;
        assert_eq!((status, &body["outcome"]), (StatusCode::GATEWAY_TIMEOUT, &"unknown".into()));
        let (_, _, body) = problem(DoorError::Deadline(Outcome::Failed)).await;
        assert_eq!(body["outcome"], "failed");
    }
}
