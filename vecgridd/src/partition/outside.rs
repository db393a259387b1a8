//! What the owner of a partition asks of the rest of the grid: one trait, so that the owner knows neither sockets
//! nor consensus, and a test can be all of it.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::snapshot::Pairs;
use crate::{
    migration::{Attempt, Chain, Have, Proposal},
    telemetry::CopyEvent,
    types::{MemberId, PartitionId, Version},
};

/// From a primary to another member's copy. `migration::ReplicaEvent` has the rules.
#[derive(Debug, Clone)]
pub enum CopyMessage {
    /// What do you have?
    Ask {
        /// Of the asking primary.
        epoch: u64,
    },
    /// A piece of a snapshot.
    Rows {
        /// Which installation.
        attempt: Attempt,
        /// The log that the snapshot stands for.
        chain: Chain,
        /// Its number, from 0.
        number: u64,
        /// Nothing comes after it.
        last: bool,
        /// What is in it.
        pairs: Pairs,
        /// The sender's version of the table: whoever has an older one may not know a collection of these rows.
        table_version: u64,
    },
    /// Records of the log.
    Records {
        /// Of the sending primary.
        epoch: u64,
        /// The record before the first of these.
        previous: Version,
        /// The primary's commit point.
        committed: u64,
        /// As they are in the log.
        records: Vec<Bytes>,
        /// The sender's version of the table, as for rows.
        table_version: u64,
    },
}

impl CopyMessage {
    /// Bytes of rows and records in it.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ask { .. } => 0,
            Self::Rows { pairs, .. } => pairs.iter().map(|(key, value)| key.len() + value.len()).sum(),
            Self::Records { records, .. } => records.iter().map(Bytes::len).sum(),
        }
    }
}

/// See the module.
pub trait Outside: Send + Sync + 'static {
    /// Something happened that operators count.
    fn note(&self, _event: CopyEvent) {}

    /// May this member act on what it knows: has the grid confirmed lately that it is one of its members?
    fn may_act(&self) -> bool;

    /// Takes a proposal to the grid; ends when its fate is known, or nobody could say: the table tells. False when
    /// it can never be decided, whatever comes.
    fn propose(&self, partition: PartitionId, proposal: Proposal) -> BoxFuture<'static, bool>;

    /// Sends a message to another member's copy; `None` when no answer came in time.
    fn send(
        &self,
        to: MemberId,
        partition: PartitionId,
        message: CopyMessage,
    ) -> BoxFuture<'static, Option<Have>>;
}
