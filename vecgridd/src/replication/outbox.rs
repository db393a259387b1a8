//! What leaves this member for the copies of another: messages of all partitions that wait go together.
//!
//! A write goes to each copy of its partition at once, and writes of a moment concern many partitions; a request for
//! each would cost more than what is in it. So the first leaves at once, those that come while it is on its way leave
//! together, and a few are on their way at a time. Bounded: an owner has one message per member on its way, and
//! there are as many owners as partitions.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};
use vecgrid_proto::peer as proto;

use super::wire;
use crate::{
    migration::Have,
    peer::Pool,
    task::Tasks,
    telemetry::Metrics,
    types::{MAX_PARTITIONS, MemberId},
};

/// Requests on their way to one member.
const AT_ONCE: usize = 4;
/// Bytes of one request, roughly.
const BYTES: usize = 4 << 20;

/// A message to one copy, and who waits for the answer.
pub(super) struct Letter {
    pub(super) request: proto::ReplicateRequest,
    /// Of rows and records in it.
    pub(super) bytes: usize,
    /// Dropped when no answer came.
    pub(super) answer: oneshot::Sender<Have>,
}

/// The way to one member. Ends when this is dropped and everything is answered.
pub(super) type Outbox = mpsc::Sender<Letter>;

/// What outboxes share.
pub(super) struct Post {
    pub(super) pool: Pool,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: Tasks,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// Opens the way to a member.
pub(super) fn open(post: Arc<Post>, to: MemberId) -> Outbox {
    let (outbox, letters) = mpsc::channel(usize::from(MAX_PARTITIONS));
    let tasks = post.tasks.clone();
    tasks.spawn("outbox", run(post, to, letters));
    outbox
}

async fn run(post: Arc<Post>, to: MemberId, mut letters: mpsc::Receiver<Letter>) {
    let mut on_their_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            letter = letters.recv(), if on_their_way.len() < AT_ONCE => {
                let Some(first) = letter else { break };
                let mut bytes = first.bytes;
                let mut together = vec![first];
                while bytes < BYTES && let Ok(next) = letters.try_recv() {
                    bytes += next.bytes;
                    together.push(next);
                }
                on_their_way.push(send(&post, &to, together, bytes));
            }
            Some(()) = on_their_way.next() => {}
        }
    }
    while on_their_way.next().await.is_some() {}
}

async fn send(post: &Post, to: &MemberId, letters: Vec<Letter>, bytes: usize) {
    let mut waiting = HashMap::with_capacity(letters.len());
    let mut requests = Vec::with_capacity(letters.len());
    for Letter { request, answer, .. } in letters {
        waiting.insert(request.partition, answer);
        requests.push(request);
    }
    let (message, sent_at) = (proto::ReplicateAllRequest { requests }, Instant::now());
    let told = |responses: Vec<proto::ReplicateResponse>| {
        for response in responses {
            let answer = waiting.remove(&response.partition);
            if let (Some(answer), Some(have)) = (answer, wire::have(response)) {
                post.metrics.copies().acked(sent_at.elapsed());
                // An owner that has ended needs none.
                let _ = answer.send(have);
            }
        }
    };
    let sent = post.pool.replicate_all(to, message, post.patience, told).await;
    post.metrics.copies().sent("records", bytes, sent.is_ok());
    if let Err(error) = sent {
        tracing::debug!(member = %to, %error, "copies did not answer");
    }
}
