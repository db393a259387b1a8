//! Asking the owner of a partition.

use std::sync::Arc;

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    copying::Copying,
    outside::CopyMessage,
    state::{Applied, Refusal},
};
use crate::{
    migration::Have,
    storage::keys::log,
    types::{Durability, MemberId, Operation, Version},
};

/// Requests that may wait for one partition.
const MAILBOX: usize = 1_024;
/// Messages of other members that may wait: each has one on the way at a time.
const MESSAGES: usize = 16;

/// Hash of an operation's content, and its size in the log.
pub(super) fn fingerprint(operation: &Operation) -> (u64, usize) {
    let encoded = log::record(operation, Version::default()).encode_to_vec();
    (xxh3_64(&encoded), encoded.len())
}

/// A client's write on its way to the owner.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) durability: Durability,
    /// Hash of the content.
    pub(super) fingerprint: u64,
    /// Size in the log.
    pub(super) bytes: usize,
    pub(super) reply: Reply,
}

/// Who waits for a write.
pub(super) struct Reply {
    pub(super) answer: oneshot::Sender<Result<Applied, Refusal>>,
    /// Given back when the request is answered.
    pub(super) _bytes: OwnedSemaphorePermit,
}

/// What is not a client's write.
pub(super) enum Order {
    /// A message of a primary.
    Message(CopyMessage, oneshot::Sender<Have>),
    /// This write was acknowledged, so it is committed: told when rows and indexes show it. Dropped when this copy
    /// does not have it.
    Reach(Version, oneshot::Sender<()>),
    /// This copy is not needed any more; whether it could go is told.
    Leave(oneshot::Sender<bool>),
    /// Another member's copy is not what it should be; whether it is taken anew is told.
    Retake(MemberId, oneshot::Sender<bool>),
    /// This copy is not what it should be; told when that is written down.
    Quarantine(oneshot::Sender<()>),
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
    orders: mpsc::Sender<Order>,
    applied: watch::Receiver<Version>,
    copies: watch::Receiver<Arc<[Copying]>>,
}

/// The owner's ends.
pub(super) struct Inboxes {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) applied: watch::Sender<Version>,
    pub(super) copies: watch::Sender<Arc<[Copying]>>,
}

/// A write that the owner has taken.
pub struct Taken(oneshot::Receiver<Result<Applied, Refusal>>);

impl Handle {
    /// A handle and what it speaks to.
    pub(super) fn new(applied: Version) -> (Self, Inboxes) {
        let (inbox, requests) = mpsc::channel(MAILBOX);
        let (order, orders) = mpsc::channel(MESSAGES);
        let (publish, applied) = watch::channel(applied);
        let (show, copies) = watch::channel(Arc::default());
        let inboxes = Inboxes { requests, orders, applied: publish, copies: show };
        (Self { inbox, orders: order, applied, copies }, inboxes)
    }

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
        let (answer, taken) = oneshot::channel();
        let (fingerprint, bytes) = fingerprint(&operation);
        let reply = Reply { answer, _bytes: permit };
        let request = Request { operation, durability, fingerprint, bytes, reply };
        self.inbox.send(request).await.map_err(|_| WriteError::Closed)?;
        Ok(Taken(taken))
    }

    /// Takes a message of a primary to this copy; `None` when it was not taken.
    pub async fn replicate(&self, message: CopyMessage) -> Option<Have> {
        let (answer, have) = oneshot::channel();
        self.orders.send(Order::Message(message, answer)).await.ok()?;
        have.await.ok()
    }

    /// Returns when rows and indexes here show a write that was acknowledged: true. False when this copy does not
    /// have it.
    pub async fn reach(&self, version: Version) -> bool {
        let (answer, reached) = oneshot::channel();
        self.orders.send(Order::Reach(version, answer)).await.is_ok() && reached.await.is_ok()
    }

    /// This member is not to hold the partition any more. True when the copy is gone, and its owner with it; false
    /// while it may still count for others.
    pub async fn leave(&self) -> bool {
        let (answer, left) = oneshot::channel();
        match self.orders.send(Order::Leave(answer)).await {
            Ok(()) => left.await.unwrap_or(false),
            // The owner has ended: the daemon stops.
            Err(_) => false,
        }
    }

    /// Another member's copy is not what it should be. True when this member leads: the copy counts no more, and is
    /// taken anew.
    pub async fn retake(&self, member: MemberId) -> bool {
        let (answer, retaken) = oneshot::channel();
        match self.orders.send(Order::Retake(member, answer)).await {
            Ok(()) => retaken.await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// This copy is not what it should be, and others are in sync: it is not used from now on, and taken anew.
    pub async fn quarantine(&self) {
        let (answer, done) = oneshot::channel();
        if self.orders.send(Order::Quarantine(answer)).await.is_ok() {
            // Dropped when the owner ends: then it was not written down, and is found again.
            let _ = done.await;
        }
    }

    /// Epoch and sequence of the last applied write.
    pub fn applied(&self) -> Version {
        *self.applied.borrow()
    }

    /// Copies that this one is making on other members.
    pub fn copies(&self) -> Arc<[Copying]> {
        Arc::clone(&self.copies.borrow())
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
