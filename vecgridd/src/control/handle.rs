//! The rest of the daemon's way to the control plane: propose, look, watch.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use vecgrid_proto::peer as wire;

use super::{
    Command, ControlStore, Decision, Lease, Leases, RaftTiming, Refused, StartError, autopilot, beat,
    failure_detector::Event,
    planner,
    raft::{Core, CoreError, CoreParts, Role},
    sessions,
};
use crate::{
    peer::{Caller, PeerError, Pool, RefusedPeer},
    task::{OwnRuntime, Tasks, clock},
    telemetry::Metrics,
    types::{ClusterView, Member, MemberDetails, MemberId},
};

/// Times of the control plane. session > lease + what clocks may drift in a lease.
#[derive(Debug, Clone, Copy)]
pub struct ControlTiming {
    /// Of the consensus.
    pub raft: RaftTiming,
    /// Between two beats of a member.
    pub beat: Duration,
    /// A member that the leader has not heard for this long is fenced.
    pub session: Duration,
    /// How long a member may act on a beat, from when it sent it.
    pub lease: Duration,
    /// How long a voter may be away before another member gets its vote.
    pub grace: Duration,
    /// How long a member must be there before it gets a vote, and how long members must have neither come nor gone
    /// before partitions are dealt anew.
    pub settle: Duration,
    /// How long a proposal may take.
    pub proposal: Duration,
    /// How long a member may be away before others get its copies.
    pub return_lease: Duration,
}

impl Default for ControlTiming {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            raft: RaftTiming::default(),
            beat: ms(250),
            session: ms(1_500),
            lease: ms(1_000),
            grace: ms(30_000),
            settle: ms(1_000),
            proposal: ms(5_000),
            return_lease: ms(300_000),
        }
    }
}

/// How long a follower waits for a leader before it tries again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Beats and hints that may wait for the leader's task.
const EVENTS: usize = 1_024;

/// Why a command was not decided.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlError {
    /// By the rules. Nothing changed.
    #[error("refused: {0}")]
    Refused(Refused),
    /// No leader could be asked in time. Nothing changed.
    #[error(
        "the members of this grid have no leader that can be reached: more than half of the voters must be up \
         and reach each other ({0})"
    )]
    Unavailable(String),
    /// The answer did not come in time: it may have been decided, or may still be.
    #[error("the decision was not confirmed in time: it may take effect ({0})")]
    Unknown(String),
    /// The control plane of this member has stopped, on purpose or because its disk failed.
    #[error("the control plane has stopped: {0}")]
    Stopped(String),
}

/// How this member takes part.
#[derive(Debug, Clone)]
pub enum Entry {
    /// It founds a grid, which begins like this; or goes on doing so.
    Found(Box<ClusterView>),
    /// It belongs to a grid already, or was just taken in.
    Member,
}

/// What the control plane of a member is made of.
pub struct ControlParts {
    /// Its tasks.
    pub tasks: Tasks,
    /// Its database.
    pub store: ControlStore,
    /// The other members.
    pub pool: Pool,
    /// What this member says about itself.
    pub details: MemberDetails,
    /// Numbers for the operator.
    pub metrics: Arc<Metrics>,
    /// Times.
    pub timing: ControlTiming,
}

/// What this member knows about who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlStatus {
    /// Who leads, as far as is known.
    pub leader: Option<MemberId>,
    /// This member leads.
    pub leads: bool,
    /// Number of the election.
    pub term: u64,
    /// Who votes; while that is being changed, who votes before and after.
    pub voters: BTreeSet<MemberId>,
    /// The voters are being changed: a majority of those before is still needed as well.
    pub changing: bool,
    /// For the leader: who has not been heard for more than half a session.
    pub suspects: BTreeSet<MemberId>,
}

pub(super) struct Shared {
    pub(super) core: Core,
    pub(super) pool: Pool,
    pub(super) me: MemberId,
    pub(super) details: MemberDetails,
    pub(super) view: watch::Receiver<Arc<ClusterView>>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) suspects: watch::Receiver<BTreeSet<MemberId>>,
    /// Another member said that this one has left.
    pub(super) removed: watch::Sender<bool>,
    pub(super) timing: ControlTiming,
    pub(super) tasks: Tasks,
    /// As granted by the leader; never held across an await.
    leases: Mutex<Leases>,
    /// This member stops: it says no more that it is there, and acts no more on what it knows.
    pub(super) paused: AtomicBool,
}

/// Asks the grid to decide, and looks at what it decided. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Starts the control plane on `runtime`: from then on it can answer others.
    ///
    /// # Errors
    /// When the store is damaged.
    pub async fn start(runtime: &OwnRuntime, parts: ControlParts) -> Result<Self, StartError> {
        let started = runtime.run(start(parts)).await;
        started.unwrap_or_else(|| Err(StartError::Damaged("starting it failed with a panic".to_owned())))
    }

    /// Returns when this member knows the state of its grid.
    ///
    /// # Errors
    /// When the grid cannot be founded, or the daemon is stopped before a state is known.
    pub async fn enter(&self, entry: Entry) -> Result<(), StartError> {
        // Founding that was interrupted goes on. Where others vote, the grid was founded long ago.
        let alone = self.shared.core.role().voters.iter().flatten().all(|voter| *voter == self.shared.me);
        if let Entry::Found(first) = entry
            && alone
            && self.view().version() == 0
        {
            found(self, *first).await?;
        }
        // A member that was just taken in hears of its grid from the leader.
        let mut view = self.watch();
        let stop = self.shared.tasks.token();
        let known = tokio::select! {
            known = view.wait_for(|view| view.version() > 0) => known.map(|view| Arc::clone(&view)),
            () = stop.cancelled() => return Err(StartError::Stopped),
        };
        let known = known.map_err(|e| StartError::Damaged(e.to_string()))?;
        if let Some(at) = known.dissolved() {
            return Err(StartError::Dissolved(at.to_owned()));
        }
        // If it was told before it stopped; else others tell it soon.
        let has_left = known.member(&self.shared.me).is_some_and(Member::has_left);
        if has_left { Err(StartError::HasLeft) } else { Ok(()) }
    }

    /// Returns when the grid knows this member as one that has left.
    pub async fn left(&self) {
        let (mut view, mut removed) = (self.watch(), self.shared.removed.subscribe());
        let here = view.wait_for(|view| view.member(&self.shared.me).is_some_and(Member::has_left));
        // An error: the control plane has stopped, and will not tell.
        let known = tokio::select! {
            here = here => here.is_ok(),
            told = removed.wait_for(|removed| *removed) => told.is_ok(),
        };
        if !known {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when this member has given up its grid for another one: where that one answers.
    pub async fn dissolved(&self) -> String {
        let mut view = self.watch();
        loop {
            if let Some(at) = view.borrow_and_update().dissolved() {
                return at.to_owned();
            }
            // An error: the control plane has stopped, and will not tell.
            if view.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A member can be reached at another address than the grid knows: a hint from outside.
    pub fn learn_address(&self, member: &MemberId, address: &str, incarnation: u64) {
        self.shared.pool.learn(member, address, incarnation);
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Has the grid decide a command. When this returns, the decision is durable and published here.
    ///
    /// # Errors
    /// [`ControlError`] says whether anything may have changed.
    pub async fn propose(&self, command: Command) -> Result<Decision, ControlError> {
        let deadline = Instant::now() + self.shared.timing.proposal;
        let mut roles = self.shared.core.watch_role();
        loop {
            let role = self.shared.core.role();
            let why = match self.try_propose(&role, &command, deadline).await {
                Ok(decision) => return Ok(decision),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::NotDone(why)) => why,
            };
            let again = Instant::now() + LOOK_AGAIN;
            if again >= deadline {
                return Err(ControlError::Unavailable(why));
            }
            // Another leader may be known sooner.
            if let Ok(Err(error)) = timeout_at(again, roles.changed()).await {
                return Err(ControlError::Stopped(error.to_string()));
            }
        }
    }

    async fn try_propose(
        &self,
        role: &Role,
        command: &Command,
        deadline: Instant,
    ) -> Result<Decision, Attempt> {
        let late = || Attempt::Final(ControlError::Unknown("no majority answered".to_owned()));
        if role.leads {
            let decided = timeout_at(deadline, self.shared.core.propose(command.clone()));
            return match decided.await.map_err(|_| late())? {
                Ok(outcome) => outcome.map_err(|refused| Attempt::Final(ControlError::Refused(refused))),
                Err(CoreError::NotLeader) => {
                    Err(Attempt::NotDone("this member just lost its lead".to_owned()))
                }
                Err(error) => Err(Attempt::Final(ControlError::Stopped(error.to_string()))),
            };
        }
        let Some(leader) = role.leader.as_ref().filter(|leader| **leader != self.shared.me) else {
            return Err(Attempt::NotDone("none is known".to_owned()));
        };
        let broken = |e: serde_json::Error| Attempt::Final(ControlError::Unknown(e.to_string()));
        let message = wire::ProposeRequest { command: serde_json::to_vec(command).map_err(broken)?.into() };
        let patience = deadline.saturating_duration_since(Instant::now());
        let answer = match self.shared.pool.propose(leader, message, patience).await {
            Ok(answer) => answer,
            Err(PeerError::Refused(_, RefusedPeer::HasLeft)) => {
                let me = self.shared.me.clone();
                return Err(Attempt::Final(ControlError::Refused(Refused::HasLeft(me))));
            }
            Err(error) if error.is_definite() => return Err(Attempt::NotDone(error.to_string())),
            Err(error) => return Err(Attempt::Final(ControlError::Unknown(error.to_string()))),
        };
        let outcome: Result<Decision, Refused> = serde_json::from_slice(&answer.outcome).map_err(broken)?;
        let decision = outcome.map_err(|refused| Attempt::Final(ControlError::Refused(refused)))?;
        // Whoever asked must find what was decided. If this takes too long, it is decided all the same.
        let mut view = self.shared.view.clone();
        let shown = view.wait_for(|view| view.version() >= answer.table_version);
        let _ = timeout_at(deadline, shown).await;
        Ok(decision)
    }

    /// What is agreed, as far as this member knows.
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.shared.view.borrow())
    }

    /// To look at what is agreed, and be woken by changes.
    pub fn watch(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.shared.view.clone()
    }

    /// Whether, and for how long, this member may act on what it knows: acknowledge a write, answer a strong read.
    pub fn lease(&self) -> Lease {
        if self.shared.paused.load(Ordering::Acquire) {
            return Lease::NONE;
        }
        let now = clock::now();
        let table = self.shared.view.borrow().version();
        let known = self.shared.leases.lock().unwrap_or_else(PoisonError::into_inner).by(table);
        // Every request asks, and what a leader would grant itself costs more to find out.
        if known.left(now) > self.shared.timing.lease / 2 {
            return known;
        }
        match self.shared.core.quorum_age(now) {
            Some(age) => {
                let led = Lease::granted(self.shared.timing.lease, now, age);
                self.extend_lease(table, led);
                known.or(led)
            }
            None => known,
        }
    }

    /// One was granted, by the table of this version.
    pub(super) fn extend_lease(&self, table: u64, lease: Lease) {
        let mut leases = self.shared.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.grant(table, lease, clock::now());
    }

    /// What this member says about itself.
    pub fn details(&self) -> &MemberDetails {
        &self.shared.details
    }

    /// Who decides, as far as this member knows.
    pub fn status(&self) -> ControlStatus {
        let role = self.shared.core.role();
        let voters = role.voters.iter().cloned().reduce(|all, set| &all & &set);
        ControlStatus {
            leader: role.leader,
            leads: role.leads,
            term: role.term,
            changing: role.voters.len() > 1,
            voters: voters.unwrap_or_default(),
            suspects: self.shared.suspects.borrow().clone(),
        }
    }

    /// Says that this member stops and means to come back: others take its place now, and nothing is copied on its
    /// account for a while. From then on it does not act any more. Nothing is lost when nobody hears it.
    pub async fn pause(&self, patience: Duration) {
        let shared = &self.shared;
        if self.view().members().count() < 2 {
            return;
        }
        // First: a lease that lasts on would allow to answer for what is another's by then.
        shared.paused.store(true, Ordering::Release);
        let (member, incarnation) = (shared.me.clone(), shared.details.incarnation);
        let one_of_two =
            shared.core.role().voters.iter().any(|voters| voters.len() == 2 && voters.contains(&shared.me));
        let told = async {
            if let Err(error) = self.propose(Command::Pause { member, incarnation }).await {
                return tracing::debug!(%error, "the others could not be told that this member stops");
            }
            tracing::info!("the others know that this member stops, and take its place");
            if one_of_two {
                self.without_vote().await;
            }
        };
        if timeout(patience, told).await.is_err() {
            tracing::debug!("the others could not be told in time that this member stops");
        }
    }

    /// Cancelled when this member's part in the consensus ended because its disk failed: it decides and learns nothing any
    /// more.
    pub fn failed(&self) -> &CancellationToken {
        self.shared.core.failed()
    }

    /// Returns when this member does not vote any more, and whoever does can do without it.
    async fn without_vote(&self) {
        let shared = &self.shared;
        let mut role = shared.core.watch_role();
        // A leader leads until the other one has that, too.
        let needed = || {
            let role = shared.core.role();
            role.leads || role.voters.iter().any(|voters| voters.contains(&shared.me))
        };
        while needed() && role.changed().await.is_ok() {}
        tracing::info!("the other member decides alone until this one is back");
    }

    /// Ends this member's part in the consensus, in order.
    pub async fn stop(&self) {
        self.shared.core.stop().await;
    }

    /// Answers a message of another member's consensus.
    ///
    /// # Errors
    /// When it is none, or the consensus has stopped.
    pub async fn answer_consensus(
        &self,
        message: wire::ConsensusRequest,
    ) -> Result<wire::ConsensusResponse, Status> {
        match self.shared.core.answer(message).await {
            Ok(message) => Ok(wire::ConsensusResponse { message: message.into() }),
            Err(CoreError::Malformed(why)) => Err(Status::invalid_argument(why)),
            Err(error) => Err(Status::aborted(error.to_string())),
        }
    }

    /// Answers a proposal of another member: only as the leader.
    ///
    /// # Errors
    /// `ABORTED` when nothing was done.
    pub async fn answer_proposal(
        &self,
        message: wire::ProposeRequest,
    ) -> Result<wire::ProposeResponse, Status> {
        let command = serde_json::from_slice(&message.command);
        let command =
            command.map_err(|e| Status::aborted(format!("this member does not know the command: {e}")))?;
        let outcome = match self.shared.core.propose(command).await {
            Ok(outcome) => outcome,
            Err(CoreError::NotLeader) => return Err(Status::aborted("this member does not lead")),
            Err(error) => return Err(Status::internal(error.to_string())),
        };
        let outcome = serde_json::to_vec(&outcome).map_err(|e| Status::internal(e.to_string()))?;
        let table_version = self.shared.view.borrow().version();
        Ok(wire::ProposeResponse { outcome: outcome.into(), table_version })
    }

    /// A fresh member asks to be taken in. Any member takes it to the leader.
    ///
    /// # Errors
    /// What the grid refuses, and when there is no leader.
    pub async fn answer_join(
        &self,
        caller: Caller,
        message: wire::JoinRequest,
    ) -> Result<wire::JoinResponse, Status> {
        let view = self.view();
        if message.grid_name != view.grid() {
            return Err(Status::aborted(format!("this is the grid `{}`", view.grid())));
        }
        let details = beat::details_of(message.details.unwrap_or_default());
        let command = Command::Join { member: caller.member, store: caller.store, details };
        match self.propose(command).await {
            Ok(_) => Ok(wire::JoinResponse { grid: view.id().to_owned() }),
            Err(error) => Err(Status::aborted(error.to_string())),
        }
    }

    /// A connection over which a member had spoken has ended.
    pub fn connection_closed(&self, member: &MemberId) {
        // If the queue is full, its session will tell.
        let _ = self.shared.events.try_send(Event::Closed(member.clone()));
    }
}

/// How an attempt to have something decided ended.
enum Attempt {
    /// Nothing was done: another attempt may succeed.
    NotDone(String),
    Final(ControlError),
}

async fn start(parts: ControlParts) -> Result<Control, StartError> {
    let ControlParts { tasks, store, pool, details, metrics, timing } = parts;
    let (publish, view) = watch::channel(Arc::new(ClusterView::unborn()));
    let core = CoreParts { store, pool: pool.clone(), publish, timing: timing.raft, metrics };
    let core = Core::start(&tasks, core).await.map_err(|e| StartError::Damaged(e.to_string()))?;
    let (events, inbox) = mpsc::channel(EVENTS);
    let (suspect, suspects) = watch::channel(BTreeSet::new());
    let me = pool.me().member().clone();
    let leases = Mutex::default();
    let removed = watch::Sender::default();
    let paused = AtomicBool::new(false);
    let shared =
        Shared { core, pool, me, details, view, events, suspects, removed, timing, tasks, leases, paused };
    let control = Control { shared: Arc::new(shared) };
    let tasks = &control.shared.tasks;
    tasks.spawn("addresses", addresses(control.clone()));
    tasks.spawn("sessions", sessions::run(control.clone(), inbox, suspect));
    tasks.spawn("autopilot", autopilot::run(control.clone()));
    tasks.spawn("planner", planner::run(control.clone()));
    tasks.spawn("beat", beat::run(control.clone()));
    Ok(control)
}

/// The first decision of a grid. Harmless when it was made already.
async fn found(control: &Control, first: ClusterView) -> Result<(), StartError> {
    let cannot = |e: &dyn std::fmt::Display| StartError::Damaged(format!("the grid cannot be founded: {e}"));
    control.shared.core.initialize().await.map_err(|e| cannot(&e))?;
    match control.propose(Command::Found(Box::new(first))).await {
        Ok(_) | Err(ControlError::Refused(Refused::NotFirst)) => Ok(()),
        Err(error) => Err(cannot(&error)),
    }
}

/// Tells `peer/` where members are, whenever the grid learns it.
async fn addresses(control: Control) {
    let mut view = control.watch();
    let stop = control.shared.tasks.token();
    loop {
        let now = Arc::clone(&view.borrow_and_update());
        for member in now.members() {
            control.shared.pool.learn(&member.id, &member.details.address, member.details.incarnation);
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
