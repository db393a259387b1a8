//! Why a call failed, and what the caller may conclude.
//!
//! The daemon attaches `google.rpc.ErrorInfo` with a stable reason and an outcome to each failure.
//! Where it had no chance to (no connection, a broken one, a deadline), this module decides:
//!
//! | what happened | code | outcome of a write |
//! |---|---|---|
//! | no connection was made | `unreachable` | failed |
//! | the connection broke during the call | `connection_lost` | unknown |
//! | the deadline passed here | `deadline_exceeded` | unknown |
//! | the call was cancelled | `cancelled` | unknown |
//!
//! A failed read changed nothing, so it is always definite.

use std::{fmt, time::Duration};

use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::{Endpoint, InvalidEndpoint, call::Effect};

/// Result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What may be concluded from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing happened and nothing will.
    Failed,
    /// It may have happened, or may still. Repeating it with the same request id is harmless.
    Unknown,
}

impl Outcome {
    /// `failed` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn from_wire(text: &str) -> Self {
        if text == "failed" { Self::Failed } else { Self::Unknown }
    }
}

/// Class of a failure, for code that treats classes alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input breaks the contract: the same input fails again.
    InvalidInput,
    /// No such collection or entry.
    NotFound,
    /// In conflict with what exists.
    Conflict,
    /// Not allowed.
    Unauthorized,
    /// A request or an answer above a limit.
    TooLarge,
    /// Too much in flight.
    Overloaded,
    /// No connection could be made.
    Unreachable,
    /// Connected, but not now: starting, draining, read-only, or the connection broke.
    Unavailable,
    /// The deadline passed or the call was cancelled.
    Timeout,
    /// A bug, a damaged disk, or an answer that breaks the contract.
    Internal,
}

/// A failed call.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    code: String,
    message: String,
    outcome: Outcome,
    field: Option<String>,
    retry_after: Option<Duration>,
    retryable: bool,
}

impl Error {
    /// The stable code, for example `collection_not_found`; the same over REST.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The class of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// A sentence for a person.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The part of the request that was refused, when the daemon names one.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// How long the daemon asks to wait before trying again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Failed or unknown.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Nothing happened and nothing will.
    pub fn is_definite(&self) -> bool {
        self.0.outcome == Outcome::Failed
    }

    /// It may have happened, or may still.
    pub fn is_unknown(&self) -> bool {
        self.0.outcome == Outcome::Unknown
    }

    /// The same call may succeed later. For a write whose outcome is unknown, repeat it with the
    /// same request id.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>, outcome: Outcome) -> Self {
        let (code, message) = (code.into(), message.into());
        let retryable = retryable(kind, &code);
        Self(Box::new(Inner { kind, code, message, outcome, field: None, retry_after: None, retryable }))
    }

    pub(crate) fn invalid_endpoint(message: String) -> Self {
        Self::new(ErrorKind::InvalidInput, "invalid_endpoint", message, Outcome::Failed)
    }

    pub(crate) fn invalid_token() -> Self {
        let message = "a token is given as it came, with the answer to a write".to_owned();
        Self::new(ErrorKind::InvalidInput, "invalid_token", message, Outcome::Failed)
    }

    pub(crate) fn request_too_large(bytes: usize, limit: usize) -> Self {
        let message = format!(
            "the request has {bytes} bytes, this client sends {limit}: send less at once, or raise max_message_bytes \
             here and the daemon's --max-message-bytes"
        );
        Self::new(ErrorKind::TooLarge, "message_too_large", message, Outcome::Failed)
    }

    pub(crate) fn unreachable(endpoint: &Endpoint, cause: &str) -> Self {
        let message = format!("cannot reach vecgridd at {endpoint}: {cause}");
        Self::new(ErrorKind::Unreachable, "unreachable", message, Outcome::Failed)
    }

    pub(crate) fn deadline(effect: Effect, timeout: Duration) -> Self {
        let message = format!("no answer within {timeout:?}");
        Self::new(ErrorKind::Timeout, "deadline_exceeded", message, lost(effect))
    }

    /// An answer that breaks the contract. The daemon did answer, but what it did is not known.
    pub(crate) fn protocol(message: impl Into<String>, effect: Effect) -> Self {
        Self::new(ErrorKind::Internal, "protocol", message, lost(effect))
    }

    /// A failure inside a stream's answer: the same as of a call of its own.
    pub(crate) fn from_failure(failure: vecgrid_proto::v1::Failure, effect: Effect) -> Self {
        let outcome =
            if effect == Effect::Read { Outcome::Failed } else { Outcome::from_wire(&failure.outcome) };
        let wait =
            Some(failure.retry_after_ms).filter(|&ms| ms > 0).map(|ms| Duration::from_millis(ms.into()));
        let kind = match i32::try_from(failure.status) {
            Ok(status @ 1..) => kind_of(Code::from_i32(status), &failure.code, wait),
            // Of a daemon that does not say.
            _ => kind_of_reason(&failure.code),
        };
        let field = Some(failure.field).filter(|field| !field.is_empty());
        Self::new(kind, failure.code, failure.message, outcome).with_details(field, wait)
    }

    pub(crate) fn into_unknown(mut self) -> Self {
        self.0.outcome = Outcome::Unknown;
        self
    }

    pub(crate) fn from_status(status: &Status, effect: Effect, endpoint: &Endpoint) -> Self {
        if has_source::<ConnectError>(status) {
            return Self::unreachable(endpoint, &innermost(status));
        }
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let details = status.get_details_error_info().filter(|info| info.domain == "vecgrid");
        match details {
            Some(mut info) => {
                let outcome = match info.metadata.get("outcome") {
                    Some(_) if effect == Effect::Read => Outcome::Failed,
                    Some(text) => Outcome::from_wire(text),
                    None => outcome_of_code(status.code(), effect),
                };
                let kind = kind_of(status.code(), &info.reason, retry_after);
                let field = info.metadata.remove("field").filter(|field| !field.is_empty());
                Self::new(kind, info.reason, status.message(), outcome).with_details(field, retry_after)
            }
            None => Self::without_details(status, effect).with_details(None, retry_after),
        }
    }

    fn with_details(mut self, field: Option<String>, retry_after: Option<Duration>) -> Self {
        self.0.field = field;
        self.0.retry_after = retry_after;
        self.0.retryable |= retry_after.is_some() && self.is_definite();
        self
    }

    /// A status that the daemon's own code did not write: the transport's, or a proxy's.
    fn without_details(status: &Status, effect: Effect) -> Self {
        let outcome = outcome_of_code(status.code(), effect);
        // This side's copy of the deadline ends calls with CANCELLED.
        if status.code() == Code::DeadlineExceeded || has_source::<TimeoutExpired>(status) {
            return Self::new(ErrorKind::Timeout, "deadline_exceeded", "the deadline passed", lost(effect));
        }
        let code = match status.code() {
            Code::Unavailable | Code::Unknown => {
                let message = format!("the connection broke during the call: {}", innermost(status));
                return Self::new(ErrorKind::Unavailable, "connection_lost", message, lost(effect));
            }
            Code::Cancelled => "cancelled",
            Code::InvalidArgument => "invalid_request",
            Code::NotFound => "not_found",
            Code::AlreadyExists | Code::Aborted => "conflict",
            Code::FailedPrecondition => "failed_precondition",
            Code::PermissionDenied => "permission_denied",
            Code::Unauthenticated => "unauthenticated",
            Code::ResourceExhausted => "resource_exhausted",
            Code::OutOfRange => "message_too_large",
            Code::Unimplemented => "unimplemented",
            Code::Ok | Code::DeadlineExceeded | Code::Internal | Code::DataLoss => "internal",
        };
        let message = match status.message() {
            "" => innermost(status),
            text => text.to_owned(),
        };
        Self::new(kind_of_code(status.code()), code, message, outcome)
    }
}

fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument => ErrorKind::InvalidInput,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => ErrorKind::Conflict,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Unauthorized,
        Code::ResourceExhausted => ErrorKind::Overloaded,
        Code::OutOfRange => ErrorKind::TooLarge,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Timeout,
        Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
            ErrorKind::Internal
        }
    }
}

/// The class of a failure that the daemon's own code told.
fn kind_of(code: Code, reason: &str, retry_after: Option<Duration>) -> ErrorKind {
    match kind_of_code(code) {
        // The one code is for both.
        ErrorKind::Overloaded if reason != "overloaded" && retry_after.is_none() => ErrorKind::TooLarge,
        kind => kind,
    }
}

/// The class when only the reason is known.
fn kind_of_reason(reason: &str) -> ErrorKind {
    match reason {
        "collection_not_found" | "entry_not_found" => ErrorKind::NotFound,
        "collection_exists" | "request_id_reused" => ErrorKind::Conflict,
        "unauthenticated" | "permission_denied" => ErrorKind::Unauthorized,
        "overloaded" => ErrorKind::Overloaded,
        "shutting_down" | "storage_read_only" | "unavailable" => ErrorKind::Unavailable,
        "incomplete" | "partition_unavailable" | "no_leader" => ErrorKind::Unavailable,
        "deadline_exceeded" | "cancelled" => ErrorKind::Timeout,
        "wrong_dimension" | "zero_vector" => ErrorKind::InvalidInput,
        _ if reason.starts_with("invalid_") => ErrorKind::InvalidInput,
        _ if reason.ends_with("_too_large") => ErrorKind::TooLarge,
        _ => ErrorKind::Internal,
    }
}

fn retryable(kind: ErrorKind, code: &str) -> bool {
    match kind {
        ErrorKind::Overloaded | ErrorKind::Unreachable | ErrorKind::Timeout => true,
        // A failed disk stays failed until someone looks after it.
        ErrorKind::Unavailable => code != "storage_read_only",
        ErrorKind::InvalidInput
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Unauthorized
        | ErrorKind::TooLarge
        | ErrorKind::Internal => false,
    }
}

fn outcome_of_code(code: Code, effect: Effect) -> Outcome {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::Unimplemented => Outcome::Failed,
        _ => lost(effect),
    }
}

/// What a lost answer means.
fn lost(effect: Effect) -> Outcome {
    if effect == Effect::Read { Outcome::Failed } else { Outcome::Unknown }
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

fn has_source<E: std::error::Error + 'static>(status: &Status) -> bool {
    sources(status).any(|error| error.is::<E>())
}

fn innermost(status: &Status) -> String {
    sources(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}

impl From<InvalidEndpoint> for Error {
    fn from(error: InvalidEndpoint) -> Self {
        Self::invalid_endpoint(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.0.message, self.0.code)?;
        if let Some(field) = &self.0.field {
            write!(f, " in {field}")?;
        }
        f.write_str(if self.is_unknown() { "; it may have taken effect)" } else { ")" })
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn map(status: &Status, effect: Effect) -> Error {
        Error::from_status(status, effect, &Endpoint::default())
    }

    fn detailed(code: Code, reason: &str, outcome: &str, wait: Option<Duration>) -> Status {
        let metadata =
            HashMap::from([("outcome".into(), outcome.into()), ("field".into(), "vector/3".into())]);
        let mut details = ErrorDetails::with_error_info(reason, "vecgrid", metadata);
        if wait.is_some() {
            details.set_retry_info(wait);
        }
        Status::with_error_details(code, "text", details)
    }

    #[test]
    fn the_daemons_details_win() {
        let error = map(&detailed(Code::InvalidArgument, "invalid_vector", "failed", None), Effect::Write);
        assert_eq!((error.code(), error.kind()), ("invalid_vector", ErrorKind::InvalidInput));
        assert_eq!(error.field(), Some("vector/3"));
        assert!(error.is_definite() && !error.is_retryable());

        let error = map(&detailed(Code::Internal, "internal", "unknown", None), Effect::Write);
        assert!(error.is_unknown() && !error.is_retryable());
        let error = map(&detailed(Code::Unavailable, "shutting_down", "failed", None), Effect::Write);
        assert!(error.is_definite() && error.is_retryable());
        let error = map(&detailed(Code::Unavailable, "storage_read_only", "unknown", None), Effect::Write);
        assert!(error.is_unknown() && !error.is_retryable());
    }

    #[test]
    fn overload_carries_the_wait_and_too_large_does_not_retry() {
        let wait = Duration::from_millis(250);
        let error =
            map(&detailed(Code::ResourceExhausted, "overloaded", "failed", Some(wait)), Effect::Write);
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Overloaded, Some(wait)));
        assert!(error.is_retryable() && error.is_definite());
        let error =
            map(&detailed(Code::ResourceExhausted, "request_too_large", "failed", None), Effect::Write);
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(!error.is_retryable());
    }

    #[test]
    fn a_lost_answer_is_unknown_for_writes_only() {
        for code in
            [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable, Code::Unknown, Code::Internal]
        {
            let status = Status::new(code, "x");
            assert!(map(&status, Effect::Write).is_unknown(), "{code:?}");
            assert!(map(&status, Effect::Read).is_definite(), "{code:?}");
        }
        for code in [Code::InvalidArgument, Code::NotFound, Code::Unimplemented, Code::Unauthenticated] {
            assert!(map(&Status::new(code, "x"), Effect::Write).is_definite(), "{code:?}");
        }
    }

    #[test]
    fn a_foreign_domain_is_not_trusted_for_the_outcome() {
        let metadata = HashMap::from([("outcome".into(), "failed".into())]);
        let details = ErrorDetails::with_error_info("X", "proxy.example", metadata);
        let status = Status::with_error_details(Code::Unavailable, "x", details);
        assert!(map(&status, Effect::Write).is_unknown());
    }

    #[test]
    fn no_connection_is_definite() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
        let error = map(&status, Effect::Write);
        assert_eq!((error.code(), error.kind()), ("unreachable", ErrorKind::Unreachable));
        assert!(error.is_definite() && error.is_retryable());
        assert!(error.message().contains("connection refused"), "{error}");
    }

    #[test]
    fn the_local_deadline_is_a_timeout() {
        let status = Status::from_error(Box::new(TimeoutExpired(())));
        let error = map(&status, Effect::Write);
        assert_eq!((error.code(), error.kind()), ("deadline_exceeded", ErrorKind::Timeout));
        assert!(error.is_unknown());
    }
}
