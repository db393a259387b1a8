//! What the owner of a primary keeps while it leads: its handoff, and a line to each other member that is to have
//! a copy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    copying::RowsSent,
    outside::{CopyMessage, Outside},
    snapshot::Snapshot,
};
use crate::{
    migration::{Attempt, Chain, Handoff, Have, Proposal, Stream},
    storage::{
        Engine, Family, StorageError,
        keys::{self, log},
    },
    types::{MemberId, PartitionId, Version},
};

/// How long to wait after no answer came.
const AGAIN: Duration = Duration::from_millis(200);
/// How long until a missing lease is looked for again.
const LEASE_LOOK: Duration = Duration::from_millis(20);
/// Bytes of records in one message, roughly.
pub(super) const RECORDS: usize = 1 << 20;
/// How long one that counts may be behind: then it is taken out of the in-sync set, so that writes go on.
pub(super) const ACK_PATIENCE: Duration = Duration::from_secs(5);
/// For how long it is then left alone.
pub(super) const PARDON: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Lead {
    pub(super) epoch: u64,
    /// Tells what belongs to an earlier lead.
    pub(super) number: u64,
    pub(super) handoff: Handoff,
    pub(super) lines: BTreeMap<MemberId, Line>,
    /// Of lines that are gone, see [`Stream::successor`].
    pub(super) left_over: BTreeMap<MemberId, Stream>,
    /// The state knows that it leads.
    pub(super) told: bool,
    /// The log ended here when it began: reads wait until all of that is applied.
    pub(super) from: u64,
    /// To be proposed when everything that was taken is answered.
    pub(super) handover: Option<Proposal>,
}

/// The way to one other member. One thing at a time is on it.
pub(super) struct Line {
    /// Tells what belongs to an earlier line to the same member.
    pub(super) number: u64,
    pub(super) stream: Stream,
    /// Open, of the log up to this record.
    pub(super) snapshot: Option<(Version, Snapshot)>,
    /// It may send. A newcomer waits until there are few others.
    pub(super) started: bool,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) busy: bool,
    /// The commit point that the other was told, in this run of its daemon: it forgets that when it starts again.
    pub(super) told: u64,
    pub(super) incarnation: u64,
    /// It does not have everything: since when it has no more than this.
    pub(super) behind: Option<(Instant, Option<u64>)>,
    /// That is looked at after a while.
    pub(super) watched: bool,
    /// The other's copy is wrong, or was: it is taken anew, whatever it has.
    pub(super) anew: bool,
    /// A snapshot is on its way.
    pub(super) installs: bool,
    /// How far the last snapshot is, or was.
    pub(super) rows: Option<RowsSent>,
}

impl Line {
    pub(super) fn new(number: u64, stream: Stream, incarnation: u64) -> Self {
        let (snapshot, permit) = (None, None);
        let anew = stream.is_anew();
        let (started, busy, installs, watched) = (false, false, false, false);
        let (behind, rows) = (None, None);
        Self {
            number,
            stream,
            snapshot,
            started,
            permit,
            busy,
            told: 0,
            incarnation,
            behind,
            watched,
            anew,
            installs,
            rows,
        }
    }

    /// A snapshot is open, or came back from being sent.
    pub(super) fn take_back(&mut self, at: Version, snapshot: Snapshot) {
        self.rows = Some(RowsSent::now(self.rows.filter(|_| self.installs), snapshot.progress()));
        self.installs = true;
        self.snapshot = Some((at, snapshot));
    }
}

/// What the owner waits for besides its inboxes.
pub(super) struct Done {
    /// Of which lead.
    pub(super) number: u64,
    /// Of which line; 0 = of none.
    pub(super) line: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// A proposal went out; its fate may be known. False: it can never be decided.
    Proposed(Proposal, bool),
    /// Time to ask what became of it.
    ProposeAgain(Proposal),
    /// Time to propose something else.
    Withdraw(Proposal),
    /// A newcomer's turn.
    Turn(MemberId, OwnedSemaphorePermit),
    /// A snapshot is open, or could not be opened.
    Opened(MemberId, Option<(Version, Snapshot)>),
    /// An answer, or none.
    Heard(MemberId, Option<(Version, Snapshot)>, Option<Have>),
    /// Time to try again.
    Again(MemberId),
    /// Time to look whether one that counts keeps up.
    Late(MemberId),
    /// One that did not keep up may be tried again.
    Pardoned,
    /// Time to look for the lease again.
    Lease,
}

/// Something that is waited for.
pub(super) type Work = BoxFuture<'static, Done>;

/// Work of one lead.
pub(super) struct Worker<'a> {
    pub(super) number: u64,
    pub(super) line: u64,
    pub(super) partition: PartitionId,
    pub(super) engine: &'a Arc<dyn Engine>,
    pub(super) outside: &'a Arc<dyn Outside>,
}

impl Worker<'_> {
    fn work(&self, what: impl Future<Output = What> + Send + 'static) -> Work {
        let (number, line) = (self.number, self.line);
        what.map(move |what| Done { number, line, what }).boxed()
    }

    pub(super) fn propose(&self, proposal: Proposal) -> Work {
        let proposed = self.outside.propose(self.partition, proposal.clone());
        self.work(proposed.map(move |possible| What::Proposed(proposal, possible)))
    }

    pub(super) fn later(&self, what: What) -> Work {
        self.after(AGAIN, what)
    }

    pub(super) fn after(&self, time: Duration, what: What) -> Work {
        self.work(tokio::time::sleep(time).map(|()| what))
    }

    pub(super) fn turn(&self, to: MemberId, moves: &Arc<Semaphore>) -> Work {
        let turn = Arc::clone(moves).acquire_owned();
        self.work(async move {
            match turn.await {
                Ok(permit) => What::Turn(to, permit),
                // Never closed.
                Err(_) => What::Again(to),
            }
        })
    }

    pub(super) fn open(&self, to: MemberId) -> Work {
        let opened = Snapshot::open(Arc::clone(self.engine), self.partition);
        let partition = self.partition;
        self.work(opened.map(move |opened| match opened {
            Ok(opened) => What::Opened(to, Some(opened)),
            Err(error) => {
                tracing::warn!(%partition, %error, "rows for another member cannot be read: tried again");
                What::Opened(to, None)
            }
        }))
    }

    /// A snapshot is not there any more.
    pub(super) fn lost(&self, to: MemberId) -> Work {
        self.work(std::future::ready(What::Opened(to, None)))
    }

    /// A moment until the lease is looked for again.
    pub(super) fn lease(&self) -> Work {
        self.work(tokio::time::sleep(LEASE_LOOK).map(|()| What::Lease))
    }

    pub(super) fn send(&self, to: MemberId, message: CopyMessage) -> Work {
        let sent = self.outside.send(to.clone(), self.partition, message);
        self.work(sent.map(|have| What::Heard(to, None, have)))
    }

    /// Sends a piece of a snapshot.
    pub(super) fn rows(
        &self,
        to: MemberId,
        (at, mut snapshot): (Version, Snapshot),
        (attempt, number): (Attempt, u64),
        chain: Chain,
        table_version: u64,
    ) -> Work {
        let (partition, outside) = (self.partition, Arc::clone(self.outside));
        self.work(async move {
            match snapshot.piece(number).await {
                Ok(piece) => {
                    let (pairs, last) = (piece.pairs, piece.last);
                    let message = CopyMessage::Rows { attempt, chain, number, last, pairs, table_version };
                    let have = outside.send(to.clone(), partition, message).await;
                    What::Heard(to, Some((at, snapshot)), have)
                }
                Err(error) => {
                    tracing::warn!(%partition, %error, "rows for another member cannot be read: begun again");
                    What::Opened(to, None)
                }
            }
        })
    }

    /// Sends records that follow one: these, or as many as fit of those that the log has up to a sequence.
    pub(super) fn records(
        &self,
        to: MemberId,
        epoch: u64,
        previous: Version,
        records: Records,
        (committed, table_version): (u64, u64),
    ) -> Work {
        let (partition, outside) = (self.partition, Arc::clone(self.outside));
        let engine = Arc::clone(self.engine);
        self.work(async move {
            let records = match records {
                Records::These(records) => records,
                Records::OfLog { until } => {
                    let first = previous.sequence + 1;
                    let read = move || read(&*engine, partition, first, until);
                    let Ok(Ok(records)) = tokio::task::spawn_blocking(read).await else {
                        tracing::warn!(%partition, "the log cannot be read for another member: tried again");
                        return What::Heard(to, None, None);
                    };
                    records
                }
            };
            let message = CopyMessage::Records { epoch, previous, committed, records, table_version };
            let have = outside.send(to.clone(), partition, message).await;
            What::Heard(to, None, have)
        })
    }
}

/// Where records come from.
pub(super) enum Records {
    /// They are here; perhaps none.
    These(Vec<Bytes>),
    /// They are on the disk.
    OfLog {
        /// The last one that may be sent.
        until: u64,
    },
}

/// Records of the log as they are stored, without a gap.
fn read(
    engine: &dyn Engine,
    partition: PartitionId,
    first: u64,
    until: u64,
) -> Result<Vec<Bytes>, StorageError> {
    use std::ops::ControlFlow;
    let what = format!("the log of {partition}");
    let (mut records, mut bytes, mut next) = (Vec::new(), 0, first);
    let (from, to) = log::range(partition, first, until + 1);
    let mut visit = |_: &[u8], value: &[u8]| {
        let record: log::LogRecord = keys::open(&what, value)?;
        // Cut meanwhile.
        if record.sequence != next {
            return Ok(ControlFlow::Break(()));
        }
        next += 1;
        bytes += value.len();
        records.push(Bytes::copy_from_slice(value));
        Ok(if bytes < RECORDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    engine.scan(Family::Oplog, &from, &to, &mut visit)?;
    Ok(records)
}
