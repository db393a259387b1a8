//! The task that owns one partition's state and carries out its effects.
//!
//! It waits for three things: requests, records that became durable, records that were applied.
//! It never blocks: the log and the applier have their own threads. Its mailbox is bounded in
//! number, and in bytes by the permit that every request carries from the moment it is accepted
//! until it is answered.

use std::{collections::HashMap, sync::Arc};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    applier::Applier,
    state::{Applied, Effect, Event, Refusal, State, Ticket},
};
use crate::{
    storage::{
        Append, LogFailed, LogWriter,
        keys::{self, log},
    },
    task::Tasks,
    types::{Durability, Operation, Version},
};

/// Requests that may wait for one partition.
const MAILBOX: usize = 1_024;

struct Request {
    operation: Operation,
    durability: Durability,
    fingerprint: u64,
    bytes: usize,
    reply: Reply,
}

struct Reply {
    answer: oneshot::Sender<Result<Applied, Refusal>>,
    /// Given back when the request is answered.
    _bytes: OwnedSemaphorePermit,
}

/// Why a write has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// The partition said no.
    Refused(Refusal),
    /// The owner has ended; the write was not taken.
    Closed,
    /// The owner ended while it had the write.
    Interrupted,
}

/// Asks the owner of a partition. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Request>,
    applied: watch::Receiver<Version>,
}

/// A write that the owner has taken.
pub struct Taken(oneshot::Receiver<Result<Applied, Refusal>>);

impl Handle {
    /// Hands in an operation; waits while the mailbox is full. `permit` accounts for its bytes.
    ///
    /// # Errors
    /// [`WriteError::Closed`].
    pub async fn write(
        &self,
        operation: Operation,
        durability: Durability,
        permit: OwnedSemaphorePermit,
    ) -> Result<Taken, WriteError> {
        let (fingerprint, bytes) = fingerprint(&operation);
        let (answer, taken) = oneshot::channel();
        let reply = Reply { answer, _bytes: permit };
        let request = Request { operation, durability, fingerprint, bytes, reply };
        self.inbox.send(request).await.map_err(|_| WriteError::Closed)?;
        Ok(Taken(taken))
    }

    /// Epoch and sequence of the last applied write.
    pub fn applied(&self) -> Version {
        *self.applied.borrow()
    }
}

impl Taken {
    /// Waits until the write is durable and visible.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn done(self) -> Result<Applied, WriteError> {
        match self.0.await {
            Ok(answer) => answer.map_err(WriteError::Refused),
            Err(_) => Err(WriteError::Interrupted),
        }
    }
}

/// Hash of an operation's content, and its size in the log.
pub(super) fn fingerprint(operation: &Operation) -> (u64, usize) {
    let encoded = log::record(operation, Version::default()).encode_to_vec();
    (xxh3_64(&encoded), encoded.len())
}

/// What an owner works with.
pub struct OwnerParts {
    /// Recovered.
    pub state: State,
    /// The member's log.
    pub log: LogWriter,
    /// The member's applier.
    pub applier: Applier,
}

/// Starts the owner. It ends when all handles are gone or the daemon stops, after everything it
/// has taken is answered.
pub fn spawn(tasks: &Tasks, parts: OwnerParts) -> Handle {
    let (inbox, requests) = mpsc::channel(MAILBOX);
    let (publish, applied) = watch::channel(parts.state.applied());
    let owner = Owner {
        state: parts.state,
        log: parts.log,
        applier: parts.applier,
        publish,
        replies: HashMap::new(),
        durabilities: HashMap::new(),
        next_ticket: 0,
        durable: FuturesOrdered::new(),
        applied: FuturesOrdered::new(),
    };
    tasks.spawn("partition", owner.run(requests, tasks.token()));
    Handle { inbox, applied }
}

struct Owner {
    state: State,
    log: LogWriter,
    applier: Applier,
    publish: watch::Sender<Version>,
    replies: HashMap<Ticket, Reply>,
    durabilities: HashMap<u64, Durability>,
    next_ticket: Ticket,
    durable: FuturesOrdered<BoxFuture<'static, (u64, Result<(), LogFailed>)>>,
    applied: FuturesOrdered<BoxFuture<'static, (u64, Option<Applied>)>>,
}

impl Owner {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
        let mut open = true;
        while open || !self.durable.is_empty() || !self.applied.is_empty() {
            tokio::select! {
                biased;
                Some((sequence, applied)) = self.applied.next() => {
                    // The applier failed: what it had is in the log, and its clients are told
                    // "interrupted" when their replies are dropped here.
                    let Some(applied) = applied else { return };
                    let effects = self.state.step(Event::Applied { sequence, applied });
                    self.carry_out(effects).await;
                    self.publish.send_replace(self.state.applied());
                }
                Some((sequence, durable)) = self.durable.next() => {
                    let event = match durable {
                        Ok(()) => Event::Durable { member: self.state.me().clone(), sequence },
                        Err(LogFailed(_)) => Event::LogFailed,
                    };
                    let effects = self.state.step(event);
                    self.carry_out(effects).await;
                }
                request = requests.recv(), if open => match request {
                    Some(request) => self.propose(request).await,
                    None => open = false,
                },
                () = stop.cancelled(), if open && !requests.is_closed() => requests.close(),
            }
        }
    }

    async fn propose(&mut self, request: Request) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.replies.insert(ticket, request.reply);
        let event = Event::Propose {
            ticket,
            operation: request.operation,
            fingerprint: request.fingerprint,
            bytes: request.bytes,
        };
        let effects = self.state.step(event);
        for effect in &effects {
            if let Effect::Append { version, .. } = effect {
                self.durabilities.insert(version.sequence, request.durability);
            }
        }
        self.carry_out(effects).await;
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { version, operation } => {
                    let sequence = version.sequence;
                    let (done, durable) = oneshot::channel();
                    let append = Append {
                        partition: self.state.partition(),
                        sequence,
                        record: keys::seal(&log::record(&operation, version)),
                        durability: self.durabilities.remove(&sequence).unwrap_or_default(),
                        done,
                    };
                    self.log.append(append).await;
                    let ended = || Err(LogFailed(Arc::from("the log writer has ended")));
                    self.durable
                        .push_back(durable.map(move |r| (sequence, r.unwrap_or_else(|_| ended()))).boxed());
                }
                Effect::Apply(committed) => {
                    let sequence = committed.version.sequence;
                    let applied = self.applier.apply(self.state.partition(), committed).await;
                    self.applied.push_back(applied.map(move |r| (sequence, r.ok())).boxed());
                }
                Effect::Answer { ticket, answer } => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        // A client that has gone needs no answer.
                        let _ = reply.answer.send(answer);
                    }
                }
            }
        }
    }
}
