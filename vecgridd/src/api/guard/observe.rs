//! Counts and times every request, also one whose client goes away.

use std::{sync::Arc, time::Instant};

use axum::response::Response;
use tonic::{Code, Status};

use super::{Api, Call};
use crate::{api::admission::Class, telemetry::Metrics};

/// A request in progress. Dropped without [`Observation::finish`], it counts as cancelled.
pub(super) struct Observation {
    metrics: Arc<Metrics>,
    call: Call,
    began: Instant,
    finished: bool,
}

impl Observation {
    pub(super) fn start(metrics: &Arc<Metrics>, call: Call) -> Self {
        metrics.requests_in_flight().inc();
        Self { metrics: Arc::clone(metrics), call, began: Instant::now(), finished: false }
    }

    /// The answer's head is ready.
    pub(super) fn finish(mut self, response: &Response) {
        self.finished = true;
        let status = response.status();
        let code = match self.call.api {
            Api::Http => status.as_str(),
            // tonic puts a failure of headers only into the extensions too.
            Api::Grpc => grpc_code_name(response.extensions().get::<Status>().map_or(Code::Ok, Status::code)),
        };
        // A stream that was opened is not done: its messages are counted one by one.
        if self.call.class != Class::Stream || code != "OK" {
            self.metrics.request(self.call.api.as_str(), self.call.label, code, self.began.elapsed());
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.metrics.requests_in_flight().dec();
        if !self.finished {
            let code = match self.call.api {
                Api::Http => "499",
                Api::Grpc => grpc_code_name(Code::Cancelled),
            };
            self.metrics.request(self.call.api.as_str(), self.call.label, code, self.began.elapsed());
        }
    }
}

/// As gRPC's own documents write them.
pub(in crate::api) fn grpc_code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
