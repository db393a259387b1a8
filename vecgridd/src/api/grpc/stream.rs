//! Bidirectional streams: one answer per message, in order.
//!
//! ```text
//! messages ─► room for its bytes ─► a task per message (at most 8) ─► answers, in order
//!             (waits: back-pressure)  (place among reads or writes, deadline)
//! ```
//!
//! Work runs in tasks of its own, so a client that stops reading answers holds its messages' memory,
//! but no place that others need. A message that fails is answered with a `Failure`, and the
//! stream goes on. The stream ends with a status when the client's own deadline passed, when a message
//! cannot be decoded, or when the daemon drains: then everything read is answered first.

use std::sync::Arc;

use futures::{StreamExt, stream};
use prost::Message;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tonic::{Request, Status, Streaming};
use vecgrid_proto::v1;

use super::Answers;
use crate::{
    api::{
        admission::{ByteLease, Class},
        door::Door,
        error::{ApiError, DoorError},
        guard::{Api, CallDeadline, grpc_code_name},
    },
    service::{Outcome, RequestContext, ServiceError},
};

/// How a message of a stream is worked on.
pub(super) trait Verb: 'static {
    type Request: Message + Default + 'static;
    type Response: Send + 'static;
    type Answer: Send + 'static;
    /// For metrics.
    const LABEL: &'static str;
    /// What one message costs.
    const CLASS: Class;

    fn run(
        door: &Door,
        ctx: &RequestContext,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response, ApiError>> + Send;

    fn answer(outcome: Result<Self::Response, v1::Failure>) -> Self::Answer;
}

/// A message that was let in.
struct Admitted<V: Verb> {
    request: V::Request,
    deadline: CallDeadline,
    began: Instant,
    /// Given back when the message is answered.
    bytes: ByteLease,
}

/// Answers every message of the request.
pub(super) fn answers<V: Verb>(
    door: &Arc<Door>,
    request: Request<Streaming<V::Request>>,
) -> Answers<V::Answer> {
    let end = super::deadline(door, &request).stream_end();
    let limit = door.limits.max_stream_messages;
    let shutdown = door.shutdown.clone();
    let messages = request.into_inner().take_until(shutdown.clone().cancelled_owned());
    let admitting = Arc::clone(door);
    let working = Arc::clone(door);
    let answers = messages
        .then(move |message| admit::<V>(Arc::clone(&admitting), message, end))
        .map(move |admitted| answer::<V>(&working, admitted))
        .buffered(limit);
    let last = stream::once(async move {
        // The sender must not take a cut for a regular end.
        shutdown.is_cancelled().then(|| Err(ApiError::from(ServiceError::ShuttingDown).into()))
    });
    answers.chain(last.filter_map(std::future::ready)).boxed()
}

async fn admit<V: Verb>(
    door: Arc<Door>,
    message: Result<V::Request, Status>,
    end: Option<Instant>,
) -> Result<Result<Admitted<V>, ApiError>, Status> {
    let request = message?;
    if end.is_some_and(|end| Instant::now() >= end) {
        return Err(ApiError::from(ServiceError::DeadlineBefore).into());
    }
    let began = Instant::now();
    let deadline = CallDeadline::default_of(&door.limits);
    let bytes = door.admission.bytes();
    let taken = bytes.take(request.encoded_len(), deadline.at()).await;
    Ok(match taken {
        Ok(()) => Ok(Admitted { request, deadline, began, bytes }),
        Err(error) => Err(shed(&door, error)),
    })
}

/// Starts the work at once; the future waits for its answer.
fn answer<V: Verb>(
    door: &Arc<Door>,
    admitted: Result<Result<Admitted<V>, ApiError>, Status>,
) -> impl Future<Output = Result<V::Answer, Status>> + Send + use<V> {
    let (done, outcome) = oneshot::channel();
    let begun = admitted.map(|admitted| match admitted {
        Ok(admitted) => {
            let worker = Arc::clone(door);
            door.tasks.spawn(V::LABEL, async move {
                // Nobody waits any more when the client went away: the work is done all the same.
                let _ = done.send(work(&worker, admitted).await);
            });
        }
        Err(error) => {
            let _ = done.send(Err(error));
        }
    });
    let metrics = Arc::clone(&door.metrics);
    async move {
        begun?;
        let outcome = outcome.await.unwrap_or_else(|_| {
            metrics.handler_panicked();
            Err(DoorError::Panicked.into())
        });
        Ok(V::answer(outcome.map_err(failure)))
    }
}

async fn work<V: Verb>(door: &Door, admitted: Admitted<V>) -> Result<V::Response, ApiError> {
    let Admitted { request, deadline, began, bytes } = admitted;
    let outcome = work_in_time::<V>(door, request, deadline).await;
    drop(bytes);
    let code = outcome.as_ref().map_or_else(ApiError::grpc_code, |_| tonic::Code::Ok);
    door.metrics.request(Api::Grpc.as_str(), V::LABEL, grpc_code_name(code), began.elapsed());
    outcome
}

async fn work_in_time<V: Verb>(
    door: &Door,
    request: V::Request,
    deadline: CallDeadline,
) -> Result<V::Response, ApiError> {
    let _place = door.admission.enter(V::CLASS, deadline.at()).await.map_err(|error| shed(door, error))?;
    let ctx = deadline.context();
    match timeout_at(deadline.at() + crate::api::guard::MARGIN, V::run(door, &ctx, request)).await {
        Ok(outcome) => outcome,
        Err(_) if V::CLASS == Class::Write => Err(DoorError::Deadline(Outcome::Unknown).into()),
        Err(_) => Err(DoorError::Deadline(Outcome::Failed).into()),
    }
}

fn shed(door: &Door, error: DoorError) -> ApiError {
    if let DoorError::Overloaded(reason) = &error {
        door.metrics.request_shed(reason);
    }
    error.into()
}

fn failure(error: ApiError) -> v1::Failure {
    v1::Failure {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        outcome: error.outcome().as_str().to_owned(),
    }
}
