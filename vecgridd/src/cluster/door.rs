//! What this member answers to others.

use std::{collections::BTreeSet, sync::OnceLock};

use tokio::sync::watch;
use tonic::Status;
use vecgrid_proto::peer as wire;

use crate::{
    control::Control,
    peer::{Caller, Host, Standing},
    types::MemberId,
};

/// See the module.
pub struct Door {
    grid_name: String,
    member: MemberId,
    address: String,
    /// Set when this member knows the state of its grid, or is about to.
    control: OnceLock<Control>,
    /// The fresh members that this one sees while it has no grid.
    sees: watch::Sender<BTreeSet<MemberId>>,
}

impl Door {
    /// Of a member that has no grid yet, or has not started its part in it.
    pub fn new(grid_name: &str, member: &MemberId, address: &str) -> Self {
        Self {
            grid_name: grid_name.to_owned(),
            member: member.clone(),
            address: address.to_owned(),
            control: OnceLock::new(),
            sees: watch::Sender::default(),
        }
    }

    /// Where to put the fresh members that this one sees, itself included: others are told.
    pub fn sees(&self) -> watch::Sender<BTreeSet<MemberId>> {
        self.sees.clone()
    }

    /// From now on this member's control plane gives the answers.
    pub fn open(&self, control: Control) {
        let _ = self.control.set(control);
    }

    fn control(&self) -> Result<&Control, Status> {
        // ABORTED: nothing was done, ask again.
        self.control.get().ok_or_else(|| Status::aborted("this member is starting"))
    }
}

#[tonic::async_trait]
impl Host for Door {
    fn standing(&self, caller: &Caller) -> Standing {
        let Some(control) = self.control.get() else { return Standing::Unknown };
        match control.view().member(&caller.member) {
            None => Standing::Unknown,
            Some(member) if member.has_left() => Standing::HasLeft,
            Some(member) if member.store != caller.store => Standing::OtherStore,
            Some(_) => Standing::Member,
        }
    }

    fn hello(&self, _: &Caller, _: wire::HelloRequest) -> wire::HelloResponse {
        let mut answer = wire::HelloResponse {
            grid_name: self.grid_name.clone(),
            member: self.member.0.clone(),
            address: self.address.clone(),
            ..Default::default()
        };
        if let Some(control) = self.control.get() {
            let view = control.view();
            answer.grid = view.id().to_owned();
            answer.members = u32::try_from(view.members().count()).unwrap_or(u32::MAX);
            answer.empty = view.collections().next().is_none();
            answer.table_version = view.version();
            answer.incarnation = control.details().incarnation;
        } else {
            answer.fresh = self.sees.borrow().iter().map(|member| member.0.clone()).collect();
        }
        answer
    }

    async fn join(&self, caller: Caller, message: wire::JoinRequest) -> Result<wire::JoinResponse, Status> {
        self.control()?.answer_join(caller, message).await
    }

    async fn consensus(
        &self,
        _: Caller,
        message: wire::ConsensusRequest,
    ) -> Result<wire::ConsensusResponse, Status> {
        self.control()?.answer_consensus(message).await
    }

    async fn propose(
        &self,
        _: Caller,
        message: wire::ProposeRequest,
    ) -> Result<wire::ProposeResponse, Status> {
        self.control()?.answer_proposal(message).await
    }

    async fn beat(&self, caller: Caller, message: wire::BeatRequest) -> Result<wire::BeatResponse, Status> {
        self.control()?.answer_beat(caller, message).await
    }

    fn closed(&self, member: &MemberId) {
        if let Some(control) = self.control.get() {
            control.connection_closed(member);
        }
    }
}
