//! The consensus core of this member, and the task that stands for election.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use openraft::{
    ChangeMembers, EmptyNode, Raft, ServerState, SnapshotPolicy,
    error::{ClientWriteError, InitializeError, RaftError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use vecgrid_proto::peer::{ConsensusRequest, consensus_request::Kind};

use super::{
    Applied, ControlStore, LogId, NodeId, Types,
    campaign::{Situation, is_due, would_vote},
    log_store::LogStore,
    machine::Machine,
    member_of,
    network::Network,
    node_of,
    quorum::QuorumClock,
};
use crate::{
    control::{Command, Decision, Refused},
    peer::Pool,
    task::Tasks,
    telemetry::Metrics,
    types::{ClusterView, MemberId},
};

/// Times of the consensus. `lease` is longer than a few heartbeats can take on a busy machine.
#[derive(Debug, Clone, Copy)]
pub struct RaftTiming {
    /// Between two messages of the leader; openraft looks every one and a half of them.
    pub heartbeat: Duration,
    /// A member that heard the leader does not vote for this long.
    pub lease: Duration,
    /// Between two attempts to be elected.
    pub retry: Duration,
    /// What a voter of the next rank waits longer: more than an election takes.
    pub step: Duration,
    /// What each waits longer by chance, at most; less than `step`.
    pub jitter: Duration,
}

impl Default for RaftTiming {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { heartbeat: ms(150), lease: ms(750), retry: ms(300), step: ms(150), jitter: ms(100) }
    }
}

/// How often a member looks whether to stand.
const LOOK: Duration = Duration::from_millis(50);
/// Entries between two snapshots.
const SNAPSHOT_EVERY: u64 = 1_000;
/// Entries kept behind a snapshot, for members that are a little behind.
const KEEP: u64 = 500;
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(5);
const SNAPSHOT_PIECE: u64 = 1 << 20;

/// Why the consensus core did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CoreError {
    /// Another member leads, or nobody does: nothing was done.
    #[error("this member does not lead")]
    NotLeader,
    /// A change of voters is under way, or not possible.
    #[error("the voters cannot be changed now: {0}")]
    NotNow(String),
    /// A message that is none.
    #[error("not a message of the consensus: {0}")]
    Malformed(String),
    /// It has stopped, on purpose or because the disk failed.
    #[error("the consensus has stopped: {0}")]
    Stopped(String),
}

/// What this member is in the consensus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// It leads.
    pub leads: bool,
    /// Who leads, as far as is known.
    pub leader: Option<MemberId>,
    /// Number of the election.
    pub term: u64,
    /// Who votes; two sets while a change is under way, and a majority of both is needed.
    pub voters: Vec<BTreeSet<MemberId>>,
    /// Everybody who gets the log.
    pub nodes: BTreeSet<MemberId>,
}

/// What a core is made of.
pub struct CoreParts {
    /// Its disk.
    pub store: ControlStore,
    /// The other members.
    pub pool: Pool,
    /// Where each version of the state is shown.
    pub publish: watch::Sender<Arc<ClusterView>>,
    /// Times.
    pub timing: RaftTiming,
    /// Numbers for the operator.
    pub metrics: Arc<Metrics>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    raft: Raft<Types>,
    me: MemberId,
    node: NodeId,
    pool: Pool,
    quorum: Arc<QuorumClock>,
    timing: RaftTiming,
    /// Its store failed, so nothing is decided or learned here any more.
    failed: CancellationToken,
    store: ControlStore,
    /// It sends nothing, so that it does not lead.
    silent: Arc<AtomicBool>,
}

/// A question before an election: would you vote for me?
#[derive(Debug, Serialize, Deserialize)]
struct Canvass {
    last_log: Option<LogId>,
}

fn members_of(nodes: &BTreeSet<NodeId>) -> BTreeSet<MemberId> {
    nodes.iter().copied().map(member_of).collect()
}

fn stopped(error: impl std::fmt::Display) -> CoreError {
    CoreError::Stopped(error.to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Core {
    /// Cancelled when nothing is decided or learned here any more, until the daemon is started again.
    pub fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// How long the oldest write to its store that is under way has taken so far.
    pub fn waits(&self) -> Duration {
        self.store.engine.waits()
    }

    /// Sends nothing from now on, so that another member leads; or takes part again.
    pub fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Release);
    }

    /// As said last.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// Starts with what is on the disk. Must be called on the runtime that is to run it.
    pub async fn start(tasks: &Tasks, parts: CoreParts) -> Result<Self, CoreError> {
        let CoreParts { store, pool, publish, timing, metrics } = parts;
        let config = openraft::Config {
            cluster_name: "vecgrid".to_owned(),
            heartbeat_interval: millis(timing.heartbeat),
            // The upper one is the lease; how long before one stands is decided in `campaign`.
            election_timeout_min: millis(timing.lease) - 1,
            election_timeout_max: millis(timing.lease),
            enable_elect: false,
            install_snapshot_timeout: millis(SNAPSHOT_PATIENCE),
            snapshot_max_chunk_size: SNAPSHOT_PIECE,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
            max_in_snapshot_log_to_keep: KEEP,
            replication_lag_threshold: SNAPSHOT_EVERY + KEEP,
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(stopped)?);
        let machine = Machine::open(store.clone(), publish).map_err(stopped)?;
        let (quorum, me) = (Arc::new(QuorumClock::default()), pool.me().member().clone());
        let node = node_of(&me)?;
        let (silent, failed) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let network =
            Network { pool: pool.clone(), quorum: Arc::clone(&quorum), silent: Arc::clone(&silent) };
        let raft = Raft::new(node, config, network, LogStore::new(store.clone()), machine);
        let raft = raft.await.map_err(stopped)?;
        let core = Self { raft, me, node, pool, quorum, timing, failed, store, silent };
        tasks.spawn("election", campaign(core.clone(), tasks.clone(), metrics));
        Ok(core)
    }

    /// Makes this member the only voter of a new log. Harmless when it is one already.
    pub async fn initialize(&self) -> Result<(), CoreError> {
        match self.raft.initialize(BTreeMap::from([(self.node, EmptyNode {})])).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(stopped(error)),
        }
    }

    /// Ends it. Entries on disk stay.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the consensus did not end cleanly");
        }
    }

    /// Proposes, if this member leads. When this returns, the decision is on the disks of a majority.
    pub async fn propose(&self, command: Command) -> Result<Result<Decision, Refused>, CoreError> {
        match self.raft.client_write(command).await {
            Ok(written) => match written.data {
                Applied(Some(outcome)) => Ok(outcome),
                Applied(None) => Err(stopped("an entry was applied as another one")),
            },
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(CoreError::NotLeader),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => Err(stopped(error)),
            Err(RaftError::Fatal(error)) => Err(stopped(error)),
        }
    }

    async fn change(&self, change: ChangeMembers<NodeId, EmptyNode>, retain: bool) -> Result<(), CoreError> {
        match self.raft.change_membership(change, retain).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(CoreError::NotLeader),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Err(CoreError::NotNow(error.to_string()))
            }
            Err(RaftError::Fatal(error)) => Err(stopped(error)),
        }
    }

    /// A member gets the log from now on.
    pub async fn add(&self, member: &MemberId) -> Result<(), CoreError> {
        self.change(ChangeMembers::AddNodes([(node_of(member)?, EmptyNode {})].into()), true).await
    }

    /// A member that does not vote gets no log any more.
    pub async fn remove(&self, member: &MemberId) -> Result<(), CoreError> {
        self.change(ChangeMembers::RemoveNodes([node_of(member)?].into()), true).await
    }

    /// These vote from now on; all of them must get the log already.
    pub async fn set_voters(&self, voters: &BTreeSet<MemberId>) -> Result<(), CoreError> {
        let voters = voters.iter().map(node_of).collect::<Result<BTreeSet<_>, _>>()?;
        // Voters that are replaced go on as learners. Not a leader: as a learner it would go on leading, for ever. It
        // steps down when it is no node at all, and the next leader adds it again.
        let retain = voters.contains(&self.node);
        self.change(ChangeMembers::ReplaceAllVoters(voters), retain).await
    }

    /// What this member is now.
    pub fn role(&self) -> Role {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        Role {
            leads: metrics.state == ServerState::Leader,
            leader: metrics.current_leader.map(member_of),
            term: metrics.vote.leader_id.term,
            voters: membership.get_joint_config().iter().map(members_of).collect(),
            nodes: membership.nodes().map(|(id, _)| member_of(*id)).collect(),
        }
    }

    /// Returns when the role may have changed since the last call on this watcher, or an error when it has stopped.
    pub fn watch_role(&self) -> RoleWatcher {
        RoleWatcher { metrics: self.raft.server_metrics() }
    }

    /// For the leader: how many entries a member lacks; `None` when nothing is known of it.
    pub fn lag(&self, member: &MemberId) -> Option<u64> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow();
        let last = metrics.last_log.as_ref()?.index;
        let has = metrics.replication.as_ref()?.get(&node_of(member).ok()?)?.as_ref()?.index;
        Some(last.saturating_sub(has))
    }

    /// For the leader: how long ago, at most, a majority has followed it.
    pub fn quorum_age(&self, now: Duration) -> Option<Duration> {
        if self.raft.server_metrics().borrow().state != ServerState::Leader {
            return None;
        }
        let role = self.role();
        // What was decided before its term is decided here only when something of its own is: until then it may not know.
        let applied = self.raft.data_metrics().borrow().last_applied.map(|last| last.leader_id.term);
        if applied != Some(role.term) {
            return None;
        }
        let led = role.leads.then(|| self.quorum.led_at(role.term, &self.me, &role.voters, now));
        led.flatten().map(|at| now.saturating_sub(at))
    }

    /// Answers a message of another member's core.
    pub async fn answer(&self, request: ConsensusRequest) -> Result<Vec<u8>, CoreError> {
        let message = &request.message;
        match request.kind() {
            Kind::Append => encode(&self.raft.append_entries(decode(message)?).await),
            Kind::Vote => encode(&self.raft.vote(decode(message)?).await),
            Kind::Snapshot => {
                let mut piece: openraft::raft::InstallSnapshotRequest<Types> = decode(message)?;
                piece.data = request.data.into();
                encode(&self.raft.install_snapshot(piece).await)
            }
            Kind::Canvass => {
                let theirs: Canvass = decode(message)?;
                let (at, own_log) = self.situation(Duration::MAX).await?;
                encode(&(!self.is_silent() && would_vote(&at, &self.timing, &own_log, &theirs.last_log)))
            }
            Kind::Unspecified => Err(CoreError::Malformed("no kind".to_owned())),
        }
    }

    /// What this member knows about the election, and the end of its log.
    async fn situation(&self, tried: Duration) -> Result<(Situation, Option<LogId>), CoreError> {
        let state = self.raft.with_raft_state(|state| {
            let quiet = state.vote_last_modified().map_or(Duration::MAX, |at| at.elapsed());
            (quiet, *state.vote_ref(), state.server_state)
        });
        let (quiet, vote, server) = state.await.map_err(stopped)?;
        let role = self.role();
        let voters: BTreeSet<&MemberId> = role.voters.iter().flatten().collect();
        // The one that led is not waited for.
        let gone = vote.leader_id.voted_for.filter(|_| vote.committed).map(member_of);
        let before = voters.iter().filter(|id| **id < &self.me && Some(**id) != gone.as_ref()).count();
        let situation = Situation {
            voter: voters.contains(&self.me),
            leading: server == ServerState::Leader,
            alone: voters.len() == 1,
            rank: u32::try_from(before).unwrap_or(u32::MAX),
            led: vote.committed,
            quiet,
            tried,
        };
        Ok((situation, self.raft.data_metrics().borrow().last_log))
    }

    /// Whether a majority of every set of voters would vote for this member.
    async fn canvass(&self, last_log: Option<LogId>) -> bool {
        let role = self.role();
        let Ok(message) = serde_json::to_vec(&Canvass { last_log }).map(Bytes::from) else { return false };
        let others: BTreeSet<&MemberId> = role.voters.iter().flatten().filter(|id| **id != self.me).collect();
        let ask = |member: MemberId| {
            let kind = Kind::Canvass.into();
            let request = ConsensusRequest { kind, message: message.clone(), data: Bytes::new() };
            async move {
                let answer = self.pool.consensus(&member, request, self.timing.step).await.ok()?;
                decode::<bool>(&answer.message).ok()?.then_some(member)
            }
        };
        let mut answers: FuturesUnordered<_> = others.into_iter().cloned().map(ask).collect();
        let mut granted = BTreeSet::from([self.me.clone()]);
        let enough = |granted: &BTreeSet<MemberId>| {
            role.voters.iter().all(|set| 2 * set.intersection(granted).count() > set.len())
        };
        // Not longer than it takes: one that is frozen answers nobody, and the voter of the next rank stands in a moment.
        while !enough(&granted) {
            match answers.next().await {
                Some(answer) => granted.extend(answer),
                None => return false,
            }
        }
        true
    }
}

fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, CoreError> {
    serde_json::from_slice(message).map_err(|e| CoreError::Malformed(e.to_string()))
}

fn encode(answer: &impl Serialize) -> Result<Vec<u8>, CoreError> {
    serde_json::to_vec(answer).map_err(|e| CoreError::Malformed(e.to_string()))
}

/// See [`Core::watch_role`].
pub struct RoleWatcher {
    metrics: watch::Receiver<openraft::metrics::RaftServerMetrics<NodeId, EmptyNode>>,
}

impl RoleWatcher {
    /// Waits for a change.
    pub async fn changed(&mut self) -> Result<(), CoreError> {
        self.metrics.changed().await.map_err(stopped)
    }
}

/// Drawn anew for each attempt, so that two that stood together once do not for ever.
fn draw(most: Duration) -> Duration {
    let share = uuid::Uuid::new_v4().as_u128() % 1_024;
    most * u32::try_from(share).unwrap_or(0) / 1_024
}

/// Stands for election whenever it is time to.
async fn campaign(core: Core, tasks: Tasks, metrics: Arc<Metrics>) {
    let stop = tasks.token();
    let mut jitter = draw(core.timing.jitter);
    let mut last_try: Option<Instant> = None;
    loop {
        if timeout(LOOK, stop.cancelled()).await.is_ok() {
            return;
        }
        let tried = last_try.map_or(Duration::MAX, |at| at.elapsed());
        let (situation, last_log) = match core.situation(tried).await {
            Ok(known) => known,
            Err(error) => {
                if !stop.is_cancelled() {
                    core.failed.cancel();
                    tracing::error!(
                        %error,
                        "this member takes part in no more decisions until it is restarted: its control store failed"
                    );
                }
                return;
            }
        };
        if core.is_silent() || !is_due(&situation, &core.timing, jitter) {
            continue;
        }
        if core.canvass(last_log).await {
            tracing::info!(
                quiet_ms = millis(situation.quiet),
                "no leader is heard: this member stands for election"
            );
            metrics.stood_for_election();
            if core.raft.trigger().elect().await.is_err() {
                return;
            }
        }
        (last_try, jitter) = (Some(Instant::now()), draw(core.timing.jitter));
    }
}
