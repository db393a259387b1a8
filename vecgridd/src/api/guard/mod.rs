//! What happens to every request before and after its handler, in this order:
//!
//! 1. which call is it (`call.rs`): a bounded label and a cost class;
//! 2. a request id, its own or a fresh one, which the answer repeats;
//! 3. count and time it, also when the client goes away (`observe.rs`);
//! 4. does a web page try to get in (`browser.rs`, TCP only);
//! 5. its deadline (`deadline.rs`);
//! 6. is the service there; a place among reads or writes; room for the body's bytes (`body.rs`);
//! 7. the handler, with the deadline and a catcher for panics.
//!
//! One function instead of a stack of layers: it reads from top to bottom.

mod body;
mod browser;
mod call;
mod deadline;
mod observe;
mod request_id;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderName, HeaderValue, header};
use tokio::time::timeout_at;
use tonic::Status;

pub(super) use browser::Browsers;
pub(super) use call::{Api, Call};
pub(super) use deadline::CallDeadline;
pub(super) use observe::grpc_code_name;
pub(super) use request_id::RequestIds;

use super::{
    admission::Class,
    door::Door,
    error::{ApiError, DoorError, completed},
};
use crate::service::Outcome;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is repeated; a longer one is replaced.
const MAX_REQUEST_ID: usize = 128;
/// How much later than the deadline the guard steps in: the service's own answer knows more
/// (whether a write may have happened) and should win.
pub(super) const MARGIN: Duration = Duration::from_millis(50);

/// The guard of one listener.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) door: Arc<Door>,
    /// `None` where no web page can come from (Unix socket).
    pub(super) browsers: Option<Arc<Browsers>>,
}

/// The middleware.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let call = Call::of(&request);
    let id = request_id(&guard.door.request_ids, &request);
    let observed = observe::Observation::start(&guard.door.metrics, call);
    let outcome = run(&guard, call, request, next).await;
    let mut response = outcome.unwrap_or_else(|error| {
        tracing::debug!(method = call.label, code = error.code(), request_id = ?id, "request refused");
        match call.api {
            Api::Grpc => error.into_grpc_response(),
            Api::Http => error.into_response(),
        }
    });
    if call.api == Api::Grpc
        && let Some(status) = response.extensions().get::<Status>().and_then(completed)
    {
        response = status.into_http::<Body>();
    }
    response.headers_mut().insert(REQUEST_ID, id);
    observed.finish(&response);
    response
}

async fn run(guard: &Guard, call: Call, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let door = &guard.door;
    if let Some(browsers) = &guard.browsers {
        browsers.check(&request)?;
    }
    if call.class == Class::Exempt {
        return catch(door, next.run(request)).await;
    }
    check_shape(call, &request)?;
    let deadline = CallDeadline::of(call.api, request.headers(), &door.limits)?;
    let at = deadline.at();
    request.extensions_mut().insert(deadline);
    door.service()?;
    if call.class == Class::Stream {
        // Places, bytes and deadlines of its messages are the stream's own business.
        return catch(door, next.run(request)).await;
    }
    let shed = |error: DoorError| {
        if let DoorError::Overloaded(reason) = &error {
            door.metrics.request_shed(reason);
        }
        error
    };
    let _place = door.admission.try_enter(call.class).map_err(shed)?;
    let bytes = Arc::new(door.admission.bytes());
    let request = body::account(request, &bytes, door).map_err(shed)?;
    match timeout_at(at + MARGIN, catch(door, next.run(request))).await {
        Ok(answer) => answer,
        // A write may be on its way to the disk; a read has no effect.
        Err(_) if call.class == Class::Write => Err(DoorError::Deadline(Outcome::Unknown).into()),
        Err(_) => Err(DoorError::Deadline(Outcome::Failed).into()),
    }
}

/// What must hold before anything is spent on a request.
fn check_shape(call: Call, request: &Request) -> Result<(), DoorError> {
    match call.api {
        // Otherwise a browser's form could reach the gRPC routes, and a person gets an answer they can read.
        _ if call.wants_grpc && call.api == Api::Http => Err(DoorError::UnsupportedMediaType {
            given: content_type(request).to_owned(),
            wanted: "application/grpc",
        }),
        Api::Http => match request.uri().query() {
            Some(query) if !query.is_empty() => Err(DoorError::UnknownParameter(query.to_owned())),
            _ => Ok(()),
        },
        Api::Grpc => Ok(()),
    }
}

/// A panic is one failed request, not the end of its connection.
async fn catch(door: &Door, work: impl Future<Output = Response>) -> Result<Response, ApiError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        door.metrics.handler_panicked();
        DoorError::Panicked.into()
    })
}

fn content_type(request: &Request) -> &str {
    request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn request_id(ids: &RequestIds, request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let usable = |id: &&HeaderValue| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.to_str().is_ok();
    if let Some(id) = given.filter(usable) {
        return id.clone();
    }
    ids.fresh()
}
