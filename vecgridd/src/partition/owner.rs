//! The task that owns one copy of a partition and carries out what is decided about it.
//!
//! It puts five machines together, all pure: [`State`] orders, commits and answers; [`Replica`] says what this copy
//! has promised and has; and while this member is the primary a handoff and one stream per other member
//! (`lead.rs`). It waits for requests, messages of a primary, the table, its disk, and answers of others. It never
//! blocks: the log and the applier have their own threads, what is sent is waited for beside everything else, and
//! one thing is on its way to each member. Its inboxes are bounded in number, and requests in bytes by the permit
//! that each carries from the moment it is accepted until it is answered.
//!
//! What it promises it writes down first: that it serves an epoch before it acts in it, and that others may have
//! records of that epoch before it sends the first one. After a start without that second mark nobody else can have
//! anything of the epoch, and it goes on in it; with it, it begins a new one (`migration/mod.rs`, third rule).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    applier::Applier,
    copying::Copying,
    handle::{Handle, Inboxes, Order, Reply, Request},
    hosts::{Hosts, Role},
    lead::{Lead, Work},
    log_extent::Retention,
    outside::Outside,
    recent::Recent,
    recover::Recovered,
    state::{Applied, Effect, Event, Refusal, State, Ticket},
};
use crate::{
    migration::Replica,
    storage::{
        Append, Batch, Engine, Family, LogFailed, LogWriter,
        keys::{self, copy, log},
    },
    task::Tasks,
    types::{ClusterView, Durability, MemberId, PartitionId, Version},
};

/// How long writes wait to be taken for a lease that is missing before they are refused: as long as a new leader may take.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);
/// Tickets of clients begin behind it.
pub(super) const NOBODY: Ticket = 0;

/// What the owners of this member's partitions share.
#[derive(Clone)]
pub struct OwnerParts {
    /// The store.
    pub engine: Arc<dyn Engine>,
    /// The member's log.
    pub log: LogWriter,
    /// The member's applier.
    pub applier: Applier,
    /// The rest of the grid.
    pub outside: Arc<dyn Outside>,
    /// What the grid agreed on.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// Where an owner says whether this member answers for its partition.
    pub hosts: Hosts,
    /// Turns of copies that are being made, of all partitions.
    pub moves: Arc<Semaphore>,
    /// Number of this start of the daemon.
    pub incarnation: u64,
    /// What a log may hold.
    pub retention: Retention,
}

/// Starts the owner. It ends when its copy goes or the daemon stops, after everything it has taken is answered.
pub fn spawn(tasks: &Tasks, recovered: Recovered, parts: &OwnerParts) -> Handle {
    let Recovered { state, replica, copy, .. } = recovered;
    let (handle, Inboxes { requests, orders, applied: publish, copies }) = Handle::new(state.applied());
    let owner = Owner {
        partition: state.partition(),
        me: state.me().clone(),
        view: parts.view.clone(),
        parts: parts.clone(),
        state,
        replica,
        copy,
        lead: None,
        retake: BTreeSet::new(),
        leads: 0,
        lines: 0,
        role: Role::None,
        heard: None,
        reaching: Vec::new(),
        recent: Recent::default(),
        slow: BTreeMap::new(),
        lease_missing: None,
        held: None,
        publish,
        copies,
        replies: HashMap::new(),
        durabilities: HashMap::new(),
        next_ticket: NOBODY + 1,
        durable: FuturesOrdered::new(),
        applied: FuturesOrdered::new(),
        work: FuturesUnordered::new(),
    };
    tasks.spawn("partition", owner.run(requests, orders, tasks.token()));
    handle
}

pub(super) struct Owner {
    pub(super) partition: PartitionId,
    pub(super) me: MemberId,
    pub(super) parts: OwnerParts,
    pub(super) view: watch::Receiver<Arc<ClusterView>>,
    pub(super) state: State,
    pub(super) replica: Replica,
    /// As it is on the disk, but for the epochs of the log.
    pub(super) copy: copy::CopyState,
    pub(super) lead: Option<Lead>,
    /// Copies of others that are wrong: while this member leads, they are taken anew.
    pub(super) retake: BTreeSet<MemberId>,
    /// How often this member began to lead.
    pub(super) leads: u64,
    /// How many lines there were.
    pub(super) lines: u64,
    /// What this copy is asked for.
    pub(super) role: Role,
    /// The epoch of the primary that this backup hears, and what that had committed when it was first heard.
    pub(super) heard: Option<Version>,
    /// Who waits until a write is shown.
    reaching: Vec<(Version, oneshot::Sender<()>)>,
    /// What was appended lately, while there are others to send it to.
    pub(super) recent: Recent,
    /// Backups that did not keep up, and until when they are left alone.
    pub(super) slow: BTreeMap<MemberId, Instant>,
    pub(super) lease_missing: Option<Instant>,
    /// A request that came when the lease had just ended. No other is taken meanwhile.
    held: Option<Request>,
    pub(super) publish: watch::Sender<Version>,
    pub(super) copies: watch::Sender<Arc<[Copying]>>,
    replies: HashMap<Ticket, Reply>,
    durabilities: HashMap<u64, Durability>,
    next_ticket: Ticket,
    durable: FuturesOrdered<BoxFuture<'static, (u64, Result<(), LogFailed>)>>,
    applied: FuturesOrdered<BoxFuture<'static, (u64, Option<Applied>)>>,
    pub(super) work: FuturesUnordered<Work>,
}

/// The owner must end: its copy is gone, or a thread that it needs has ended.
pub(super) struct Ended;

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taking {
    /// Take it, or refuse it at once.
    Yes,
    /// Let it wait: soon there will be an answer.
    Wait,
}

impl Owner {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut orders: mpsc::Receiver<Order>,
        stop: CancellationToken,
    ) {
        if self.serve(&mut requests, &mut orders, stop).await.is_err() {
            // Not taken: whoever waits may ask elsewhere.
            requests.close();
            while let Ok(request) = requests.try_recv() {
                let _ = request.reply.answer.send(Err(Refusal::NotPrimary));
            }
        }
        // A copy that has left said so before, and another owner may be here by now.
        if self.role != Role::None {
            self.parts.hosts.answer(self.partition, Role::None);
        }
    }

    async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        orders: &mut mpsc::Receiver<Order>,
        stop: CancellationToken,
    ) -> Result<(), Ended> {
        self.show_applied();
        self.parts.hosts.quarantine(self.partition, self.copy.quarantined);
        self.look().await?;
        self.settle().await?;
        let mut open = true;
        while open || !self.durable.is_empty() || !self.applied.is_empty() {
            let takes = open && (requests.is_closed() || self.taking() == Taking::Yes);
            if takes && let Some(held) = self.held.take() {
                self.propose(held, requests.is_closed()).await;
                self.settle().await?;
                continue;
            }
            tokio::select! {
                biased;
                Some((sequence, applied)) = self.applied.next() => {
                    // The applier failed: what it had is in the log, and its clients are told
                    // "interrupted" when their replies are dropped here.
                    let applied = applied.ok_or(Ended)?;
                    self.step(Event::Applied { sequence, applied }).await;
                }
                Some((sequence, durable)) = self.durable.next() => match durable {
                    Ok(()) => self.step(Event::Durable { member: self.me.clone(), sequence }).await,
                    Err(LogFailed(_)) => self.step(Event::LogFailed).await,
                },
                Some(done) = self.work.next(), if open => self.done(done).await?,
                Some(order) = orders.recv(), if open => match order {
                    Order::Message(message, answer) => {
                        if let Some(have) = self.receive(message).await? {
                            let _ = answer.send(have);
                        }
                    }
                    Order::Reach(version, answer) => self.reach(version, answer).await,
                    Order::Retake(member, answer) => {
                        let _ = answer.send(self.retake(member));
                    }
                    Order::Quarantine(answer) => {
                        self.quarantine().await?;
                        let _ = answer.send(());
                    }
                    Order::Leave(answer) => {
                        // By the newest table.
                        self.look().await?;
                        self.settle().await?;
                        let leaves = self.may_leave();
                        if leaves {
                            self.clear().await?;
                        }
                        let _ = answer.send(leaves);
                        if leaves {
                            return Err(Ended);
                        }
                    }
                },
                // The sender lives as long as the control plane, which ends last.
                Ok(()) = self.view.changed(), if open => self.look().await?,
                request = requests.recv(), if takes => match request {
                    Some(request) => self.propose(request, requests.is_closed()).await,
                    None => open = false,
                },
                () = stop.cancelled(), if open && !requests.is_closed() => requests.close(),
            }
            self.settle().await?;
        }
        Ok(())
    }

    /// Says what rows and indexes show.
    pub(super) fn show_applied(&mut self) {
        let applied = self.state.applied();
        self.publish.send_replace(applied);
        self.parts.hosts.set_applied(self.partition, applied);
        for (_, waiting) in self.reaching.extract_if(.., |(version, _)| *version <= applied) {
            // Whoever does not wait any more needs no answer.
            let _ = waiting.send(());
        }
    }

    /// Other rows are here now: whoever waits asks somebody else.
    pub(super) fn forget_reaching(&mut self) {
        self.reaching.clear();
    }

    /// An acknowledged write is on every disk that counts: a copy that has it may take it for committed.
    async fn reach(&mut self, version: Version, answer: oneshot::Sender<()>) {
        let has = self.state.durable() >= version.sequence && self.replica.chain().holds(version);
        if self.lead.is_none() && has && self.state.committed() < version.sequence {
            self.step(Event::Committed(version.sequence)).await;
        }
        let comes = self.replica.chain().holds(version) || version <= self.state.applied();
        self.reaching.retain(|(_, waiting)| !waiting.is_closed());
        if comes {
            self.reaching.push((version, answer));
            self.show_applied();
        }
    }

    // ---- writes ----

    /// Whether requests are looked at now. While the partition is handed over, or the lease is missing for a
    /// moment, they wait.
    fn taking(&mut self) -> Taking {
        let Some(lead) = &self.lead else { return Taking::Yes };
        if lead.handoff.hands_over() || !lead.told {
            return Taking::Wait;
        }
        if self.parts.outside.may_act() {
            self.lease_missing = None;
            return Taking::Yes;
        }
        if self.lease_missing.is_none() {
            self.look_for_lease();
        }
        let since = *self.lease_missing.get_or_insert_with(Instant::now);
        if since.elapsed() < LEASE_PATIENCE { Taking::Wait } else { Taking::Yes }
    }

    /// Whether requests wait for a lease that is not there yet.
    pub(super) fn lease_is_missing(&self) -> bool {
        self.lease_missing.is_some() && !self.parts.outside.may_act()
    }

    /// The next thing that was applied; `None` when nothing is on its way.
    pub(super) async fn next_applied(&mut self) -> Option<(u64, Option<Applied>)> {
        self.applied.next().await
    }

    /// Whether fewer members are in sync than there must be.
    fn is_thin(&self) -> bool {
        let least = usize::from(self.view.borrow().copies().min_in_sync);
        self.lead.as_ref().is_some_and(|lead| lead.handoff.in_sync().len() < least)
    }

    async fn propose(&mut self, request: Request, stopping: bool) {
        let Request { operation, durability, fingerprint, bytes, reply } = request;
        let leads = self.lead.as_ref().is_some_and(|lead| lead.told && !lead.handoff.hands_over());
        // The lease may have ended while nothing came.
        let waits = leads && self.taking() == Taking::Wait;
        if waits && !stopping {
            self.held = Some(Request { operation, durability, fingerprint, bytes, reply });
            return;
        }
        let refusal = match (leads, self.parts.outside.may_act()) {
            (false, _) => Some(Refusal::NotPrimary),
            (true, false) => Some(Refusal::NoLease),
            (true, true) => self.is_thin().then_some(Refusal::TooFewCopies),
        };
        if let Some(refusal) = refusal {
            let _ = reply.answer.send(Err(refusal));
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.replies.insert(ticket, reply);
        let effects = self.state.step(Event::Propose { ticket, operation, fingerprint, bytes });
        for effect in &effects {
            if let Effect::Append { version, .. } = effect {
                self.durabilities.insert(version.sequence, durability);
            }
        }
        self.carry_out(effects).await;
    }

    pub(super) async fn step(&mut self, event: Event) {
        let rows_changed = matches!(event, Event::Applied { .. });
        let effects = self.state.step(event);
        if rows_changed {
            // Before anybody is answered: whoever has an answer finds the write shown.
            self.show_applied();
        }
        self.carry_out(effects).await;
        self.replica.commit_own(self.state.committed());
        if self.lead.as_ref().is_some_and(|lead| !lead.lines.is_empty()) {
            self.tell_news().await;
        }
    }

    pub(super) async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { version, operation } => {
                    let sequence = version.sequence;
                    let record = keys::seal(&log::record(&operation, version));
                    let bytes = record.len();
                    if self.lead.as_ref().is_some_and(|lead| !lead.lines.is_empty()) {
                        self.recent.push(sequence, Bytes::from(record.clone()));
                    }
                    let mut batch = Batch::default();
                    batch.put(Family::Oplog, log::key(self.partition, sequence), record);
                    let begins_epoch = self.replica.chain().last().epoch != version.epoch;
                    let follows = self.replica.append_own(version);
                    debug_assert!(follows, "{version} does not follow {:?}", self.replica);
                    if begins_epoch {
                        self.note_copy(&mut batch);
                    }
                    let wanted = self.durabilities.remove(&sequence).unwrap_or_default();
                    // What others have on their disks must be on ours: a primary that forgets would contradict them.
                    let durability = if self.copy.shared { Durability::Sync } else { wanted };
                    let (done, durable) = oneshot::channel();
                    self.parts.log.append(Append { batch, bytes, durability, done }).await;
                    let ended = || Err(LogFailed(Arc::from("the log writer has ended")));
                    self.durable
                        .push_back(durable.map(move |r| (sequence, r.unwrap_or_else(|_| ended()))).boxed());
                }
                Effect::Apply(committed) => {
                    let sequence = committed.version.sequence;
                    let applied = self.parts.applier.apply(self.partition, committed).await;
                    self.applied.push_back(applied.map(move |r| (sequence, r.ok())).boxed());
                }
                Effect::Answer { ticket, answer } => {
                    // Of members that fell away since it was taken nobody knows whether they have it.
                    let answer = if self.is_thin() { answer.and(Err(Refusal::Thin)) } else { answer };
                    if let Some(reply) = self.replies.remove(&ticket) {
                        // A client that has gone needs no answer.
                        let _ = reply.answer.send(answer);
                    }
                }
            }
        }
    }
}
