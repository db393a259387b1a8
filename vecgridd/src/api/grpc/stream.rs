//! Bidirectional streams: one answer per message, in their order or as they are done.
//!
//! ```text
//! messages ─► room for its bytes ─► here, or a task each ─► answers
//!             (waits: back-pressure)  (place among reads or writes, deadline)
//! ```
//!
//! A stream whose answers keep an order is one caller's, and has few messages at work (8). One whose answers come in any
//! order is shared by the callers of a client, and has as many as a connection has for calls of their own.
//!
//! Work that is not done at once runs in a task of its own, so a client that stops reading answers holds its messages' memory,
//! but no place that others need. A message that fails is answered with a `Failure`, and the
//! stream goes on. What the stream's headers demand of reads holds for each message. The stream ends with a status when the client's own deadline passed, when a message
//! cannot be decoded, or when the daemon drains: then everything read is answered first.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream};
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

/// In which order answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As the messages came.
    Kept,
    /// As they are done.
    Any,
}

/// How a message of a stream is worked on.
pub(super) trait Verb: 'static {
    type Request: Message + Default + 'static;
    type Response: Send + 'static;
    type Answer: Send + 'static;
    /// What an answer repeats of its message.
    type Tag: Send + 'static;
    /// For metrics.
    const LABEL: &'static str;
    /// What one message costs.
    const CLASS: Class;
    const ORDER: Order;

    fn tag(request: &Self::Request) -> Self::Tag;

    /// The deadline that a message names.
    fn timeout(_: &Self::Request) -> Option<Duration> {
        None
    }

    fn run(
        door: &Door,
        ctx: &RequestContext,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response, ApiError>> + Send;

    fn answer(tag: Self::Tag, outcome: Result<Self::Response, v1::Failure>) -> Self::Answer;
}

/// A message, if it was let in.
struct Arrived<V: Verb> {
    tag: V::Tag,
    admitted: Result<Admitted<V>, ApiError>,
}

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
    let deadline = super::deadline(door, &request);
    let shutdown = door.shutdown.clone();
    let messages = request.into_inner().take_until(shutdown.clone().cancelled_owned());
    let admitting = Arc::clone(door);
    let working = Arc::clone(door);
    let crowd = Arc::<Crowd>::default();
    let resting = Arc::clone(&crowd);
    let answers = messages
        .then(move |message| admit::<V>(Arc::clone(&admitting), message, deadline.clone()))
        .map(move |arrived| answer::<V>(&working, &crowd, arrived));
    let answers = match V::ORDER {
        Order::Kept => answers.buffered(door.limits.max_stream_messages).left_stream(),
        Order::Any => answers.buffer_unordered(door.limits.max_concurrent_streams as usize).right_stream(),
    };
    let mut answers = Box::pin(answers);
    let answers = stream::poll_fn(move |cx| {
        let next = answers.poll_next_unpin(cx);
        if next.is_pending() {
            resting.rests();
        }
        next
    });
    let last = stream::once(async move {
        // The sender must not take a cut for a regular end.
        shutdown.is_cancelled().then(|| Err(ApiError::from(ServiceError::ShuttingDown).into()))
    });
    answers.chain(last.filter_map(std::future::ready)).boxed()
}

async fn admit<V: Verb>(
    door: Arc<Door>,
    message: Result<V::Request, Status>,
    stream: CallDeadline,
) -> Result<Arrived<V>, Status> {
    let request = message?;
    if stream.stream_end().is_some_and(|end| Instant::now() >= end) {
        return Err(ApiError::from(ServiceError::DeadlineBefore).into());
    }
    let began = Instant::now();
    let deadline = stream.of_message(V::timeout(&request), &door.limits);
    let bytes = door.admission.bytes();
    let taken = bytes.take(request.encoded_len(), deadline.at()).await;
    let tag = V::tag(&request);
    let admitted = match taken {
        Ok(()) => Ok(Admitted { request, deadline, began, bytes }),
        Err(error) => Err(shed(&door, error)),
    };
    Ok(Arrived { tag, admitted })
}

/// The answer to one message; nothing is done before it is polled.
fn answer<V: Verb>(
    door: &Arc<Door>,
    crowd: &Arc<Crowd>,
    arrived: Result<Arrived<V>, Status>,
) -> impl Future<Output = Result<V::Answer, Status>> + Send + use<V> {
    let (door, place) = (Arc::clone(door), crowd.enter());
    async move {
        let Arrived { tag, admitted } = arrived?;
        let outcome = match admitted {
            Ok(admitted) => start(&door, place, admitted).await,
            Err(error) => Err(error),
        };
        Ok(V::answer(tag, outcome.map_err(v1::Failure::from)))
    }
}

/// Works on a message here if it came alone and is done at once, else in a task of its own.
///
/// Most messages come alone and are short searches, and a task for each would cost more than it looks: the daemon's other
/// thread is woken to look for work that the first one has done by then.
async fn start<V: Verb>(
    door: &Arc<Door>,
    place: Place,
    admitted: Admitted<V>,
) -> Result<V::Response, ApiError> {
    let worker = Arc::clone(door);
    let working = async move { work(&worker, admitted).await };
    let mut working = Box::pin(AssertUnwindSafe(working).catch_unwind());
    // A write waits for the disk in any case.
    let here = V::CLASS == Class::Read && place.leave_alone();
    let begun = if here { futures::poll!(working.as_mut()) } else { Poll::Pending };
    let outcome = match begun {
        Poll::Ready(outcome) => outcome.ok(),
        Poll::Pending => {
            let (done, outcome) = oneshot::channel();
            door.tasks.spawn(V::LABEL, async move {
                // Nobody waits any more when the client went away: the work is done all the same.
                let _ = done.send(working.await);
            });
            outcome.await.ok().and_then(Result::ok)
        }
    };
    outcome.unwrap_or_else(|| {
        door.metrics.handler_panicked();
        Err(DoorError::Panicked.into())
    })
}

/// How busy a stream is: all accesses are of one task.
#[derive(Default)]
struct Crowd {
    /// Messages that were let in and not begun.
    unbegun: AtomicUsize,
    /// One was worked on in place, and its answer has not left this task.
    answering: AtomicBool,
}

impl Crowd {
    fn enter(self: &Arc<Self>) -> Place {
        self.unbegun.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }

    /// The stream has nothing to say for now, so all that it said is sent.
    fn rests(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }
}

/// A message that was not begun.
struct Place(Arc<Crowd>);

impl Place {
    /// Whether there is no other, and no answer that would wait for this one's work.
    fn leave_alone(self) -> bool {
        self.0.unbegun.load(Ordering::Relaxed) == 1 && !self.0.answering.swap(true, Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.unbegun.fetch_sub(1, Ordering::Relaxed);
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
