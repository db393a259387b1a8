//! Being asked: the envelope is looked at here, once for all messages of all services ([`Guard`]); [`Host`] gives the
//! answers of the control plane. A service for data is a tonic service with a guard before it.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::timeout;
use tonic::{Request, Response, Status, metadata::MetadataMap, service::Interceptor};
use vecgrid_proto::peer::{self as wire, peer_server::Peer};

use super::{Envelope, Me, RefusedPeer};
use crate::{telemetry::Metrics, types::MemberId};

/// However patient a caller is, it is not answered later.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What is known about a member that sends us something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One of us.
    Member,
    /// Not known, or not yet: this member may be behind.
    Unknown,
    /// Known, on another disk.
    OtherStore,
    /// Gone for good.
    HasLeft,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The member.
    pub member: MemberId,
    /// Its disk.
    pub store: String,
    /// Id of its grid; empty while it has none.
    pub grid: String,
}

/// Gives the answers.
#[tonic::async_trait]
pub trait Host: Send + Sync + 'static {
    /// What is known about a member.
    fn standing(&self, caller: &Caller) -> Standing;

    /// Who we are.
    fn hello(&self, caller: &Caller, message: wire::HelloRequest) -> wire::HelloResponse;

    /// A fresh member wants to come in.
    async fn join(&self, caller: Caller, message: wire::JoinRequest) -> Result<wire::JoinResponse, Status>;

    /// A message of the consensus.
    async fn consensus(
        &self,
        caller: Caller,
        message: wire::ConsensusRequest,
    ) -> Result<wire::ConsensusResponse, Status>;

    /// A proposal.
    async fn propose(
        &self,
        caller: Caller,
        message: wire::ProposeRequest,
    ) -> Result<wire::ProposeResponse, Status>;

    /// A sign of life.
    async fn beat(&self, caller: Caller, message: wire::BeatRequest) -> Result<wire::BeatResponse, Status>;

    /// A connection over which this member had spoken has ended: a hint that it may be gone.
    fn closed(&self, member: &MemberId);
}

/// Lets messages pass that members of this grid sent to this member.
pub struct Guard<H> {
    host: Arc<H>,
    me: Arc<Me>,
    metrics: Arc<Metrics>,
}

impl<H> Clone for Guard<H> {
    fn clone(&self) -> Self {
        let Self { host, me, metrics } = self;
        Self { host: Arc::clone(host), me: Arc::clone(me), metrics: Arc::clone(metrics) }
    }
}

impl<H: Host> Guard<H> {
    /// Asks `host` what is known about whoever sends something.
    pub fn new(host: Arc<H>, me: Arc<Me>, metrics: Arc<Metrics>) -> Self {
        Self { host, me, metrics }
    }

    /// Who asks, if the message may be looked at, and what is known about it; nothing of a fresh one, if those may
    /// ask.
    fn check(&self, metadata: &MetadataMap, fresh: bool) -> Result<(Caller, Option<Standing>), Status> {
        let envelope = Envelope::read(metadata).map_err(|why| self.refuse(why, &MemberId("?".to_owned())))?;
        let refuse = |why| self.refuse(why, &envelope.member);
        envelope.check(&self.me).map_err(refuse)?;
        if !fresh {
            envelope.check_grid(&self.me).map_err(refuse)?;
        }
        let Envelope { member, store, grid, .. } = envelope.clone();
        let caller = Caller { member, store, grid };
        if envelope.grid.is_empty() || envelope.grid != self.me.grid() {
            return Ok((caller, None));
        }
        match self.host.standing(&caller) {
            Standing::OtherStore => Err(refuse(RefusedPeer::OtherStore)),
            Standing::HasLeft => Err(refuse(RefusedPeer::HasLeft)),
            standing => Ok((caller, Some(standing))),
        }
    }

    fn refuse(&self, why: RefusedPeer, member: &MemberId) -> Status {
        why.note(&self.metrics, Some(member));
        why.into()
    }
}

/// Before a service for data: only members that the grid knows may ask it. Puts the [`Caller`] into the request.
impl<H: Host> Interceptor for Guard<H> {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let (caller, standing) = self.check(request.metadata(), false)?;
        if standing != Some(Standing::Member) {
            // ABORTED: nothing was done, ask again.
            return Err(Status::aborted("this member does not know the one that asks yet"));
        }
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// One connection's view of the host.
pub(super) struct Door<H> {
    pub(super) guard: Guard<H>,
    /// Who has spoken here first.
    pub(super) spoken: Arc<OnceLock<MemberId>>,
}

impl<H: Host> Door<H> {
    /// Who asks, if the message may be looked at. `fresh`: whether the asker may have no grid.
    fn open<T>(&self, request: Request<T>, fresh: bool) -> Result<(Caller, T), Status> {
        let (caller, standing) = self.guard.check(request.metadata(), fresh)?;
        if standing.is_some() {
            let _ = self.spoken.set(caller.member.clone());
        }
        Ok((caller, request.into_inner()))
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<Response<T>, Status> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map(Response::new),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

#[tonic::async_trait]
impl<H: Host> Peer for Door<H> {
    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        let (caller, message) = self.open(request, true)?;
        Ok(Response::new(self.guard.host.hello(&caller, message)))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let (caller, message) = self.open(request, true)?;
        in_time(self.guard.host.join(caller, message)).await
    }

    async fn consensus(
        &self,
        request: Request<wire::ConsensusRequest>,
    ) -> Result<Response<wire::ConsensusResponse>, Status> {
        let (caller, message) = self.open(request, false)?;
        in_time(self.guard.host.consensus(caller, message)).await
    }

    async fn propose(
        &self,
        request: Request<wire::ProposeRequest>,
    ) -> Result<Response<wire::ProposeResponse>, Status> {
        let (caller, message) = self.open(request, false)?;
        in_time(self.guard.host.propose(caller, message)).await
    }

    async fn beat(
        &self,
        request: Request<wire::BeatRequest>,
    ) -> Result<Response<wire::BeatResponse>, Status> {
        let (caller, message) = self.open(request, false)?;
        in_time(self.guard.host.beat(caller, message)).await
    }
}
