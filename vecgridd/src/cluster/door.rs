//! What this member answers to others.

use std::{collections::BTreeSet, sync::OnceLock};

use tokio::sync::watch;
use tonic::Status;
use vecgrid_proto::peer as wire;

use super::discovery::Peers;
use crate::{
    control::Control,
    peer::{Caller, Host, Standing},
    types::MemberId,
};

/// The most addresses of members of other grids that are remembered.
const MAX_OTHERS: usize = 8;

/// See the module.
pub struct Door {
    grid_name: String,
    member: MemberId,
    address: String,
    /// Set when this member knows the state of its grid, or is about to.
    control: OnceLock<Control>,
    /// The fresh members that this one sees while it has no grid.
    sees: watch::Sender<BTreeSet<MemberId>>,
    /// Where members of other grids of our name said that they are: those that we may not know of otherwise.
    others: watch::Sender<Peers>,
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
            others: watch::Sender::default(),
        }
    }

    /// Where members of other grids of our name say that they are. Whoever looks there takes out what is in vain.
    pub fn others(&self) -> watch::Sender<Peers> {
        self.others.clone()
    }

    /// Somebody of another grid of our name has asked who we are: worth a look, and no more.
    fn note_other(&self, ours: &str, caller: &Caller, message: &wire::HelloRequest) {
        if message.grid_name != self.grid_name || caller.grid.is_empty() || caller.grid == ours {
            return;
        }
        let Ok(address) = message.address.parse() else { return };
        self.others.send_if_modified(|others| others.len() < MAX_OTHERS && others.insert(address));
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

    fn hello(&self, caller: &Caller, message: wire::HelloRequest) -> wire::HelloResponse {
        let mut answer = wire::HelloResponse {
            grid_name: self.grid_name.clone(),
            member: self.member.0.clone(),
            address: self.address.clone(),
            ..Default::default()
        };
        let view = self.control.get().map(|control| (control, control.view()));
        // One that was given up is none any more.
        if let Some((control, view)) = view.filter(|(_, view)| view.dissolved().is_none()) {
            self.note_other(view.id(), caller, &message);
            answer.grid = view.id().to_owned();
            answer.members = u32::try_from(view.members().count()).unwrap_or(u32::MAX);
            answer.empty = view.is_unused();
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
