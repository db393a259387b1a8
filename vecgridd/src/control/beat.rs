//! Signs of life: every member beats to the leader, which answers with a lease.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;
use vecgrid_proto::peer as wire;

use super::{Command, Control, Lease, failure_detector::Event};
use crate::{
    peer::{Caller, PeerError, RefusedPeer},
    task::clock,
    types::{ClusterView, MemberDetails, MemberId},
};

/// What a member says about itself, from the wire.
pub(super) fn details_of(details: wire::Details) -> MemberDetails {
    MemberDetails {
        name: details.name,
        address: details.address,
        zone: details.zone,
        incarnation: details.incarnation,
        version: details.version,
        host: details.host,
        weight: details.weight,
    }
}

/// What a member says about itself, for the wire.
pub(crate) fn details_for(details: &MemberDetails) -> wire::Details {
    wire::Details {
        name: details.name.clone(),
        address: details.address.clone(),
        zone: details.zone.clone(),
        incarnation: details.incarnation,
        version: details.version.clone(),
        host: details.host.clone(),
        weight: details.weight,
    }
}

/// Whether the grid knows a member as it is.
fn is_current(view: &ClusterView, member: &MemberId, details: &MemberDetails) -> bool {
    view.member(member).is_some_and(|known| known.is_alive() && known.details == *details)
}

/// Beats for as long as the daemon runs.
pub(super) async fn run(control: Control) {
    let shared = control.shared();
    let stop = shared.tasks.token();
    let mut beats = interval(shared.timing.beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hint = None;
    let mut turn = 0;
    loop {
        tokio::select! { _ = beats.tick() => {}, () = stop.cancelled() => return }
        if shared.paused.load(Ordering::Acquire) || shared.core.is_silent() {
            continue;
        }
        let role = shared.core.role();
        if role.leads {
            // It hears itself; only what it says about itself may have changed.
            if !is_current(&control.view(), &shared.me, &shared.details) {
                update(&control, shared.me.clone(), shared.details.clone()).await;
            }
            continue;
        }
        let leader = role.leader.filter(|leader| *leader != shared.me).or_else(|| hint.take());
        let Some(to) = leader.or_else(|| someone(&control, &mut turn)) else { continue };
        hint = beat(&control, &to).await;
    }
}

/// Any member, another one each time: it may know the leader.
fn someone(control: &Control, turn: &mut usize) -> Option<MemberId> {
    let members = control.shared().pool.members();
    *turn += 1;
    members.get(*turn % members.len().max(1)).map(|(member, _)| member.clone())
}

/// One beat; who leads, if the other one knows better.
async fn beat(control: &Control, to: &MemberId) -> Option<MemberId> {
    let shared = control.shared();
    let sent = clock::now();
    let message = wire::BeatRequest { details: Some(details_for(&shared.details)) };
    // The next one must still come within the lease.
    let patience = shared.timing.lease / 2;
    let answer = match shared.pool.beat(to, message, patience).await {
        Ok(answer) => answer,
        Err(PeerError::Refused(_, RefusedPeer::HasLeft)) => {
            shared.removed.send_replace(true);
            return None;
        }
        Err(error) => {
            tracing::debug!(%to, %error, "a beat was not answered");
            return None;
        }
    };
    if answer.leads {
        if answer.lease {
            let age = Duration::from_micros(answer.quorum_age_us);
            let lease = Lease::granted(shared.timing.lease, sent, age);
            control.extend_lease(answer.table_version, lease);
        }
        return Some(to.clone());
    }
    let leader = MemberId(answer.leader);
    shared.pool.learn(&leader, &answer.leader_address, answer.leader_incarnation);
    (!leader.0.is_empty() && leader != shared.me).then_some(leader)
}

async fn update(control: &Control, member: MemberId, details: MemberDetails) {
    if let Err(error) = control.propose(Command::Update { member: member.clone(), details }).await {
        tracing::debug!(%member, %error, "what a member says about itself could not be recorded yet");
    }
}

impl Control {
    /// Answers a beat: as the leader with a lease, else with who leads.
    ///
    /// # Errors
    /// When the grid does not take the member as it is.
    pub async fn answer_beat(
        &self,
        caller: Caller,
        message: wire::BeatRequest,
    ) -> Result<wire::BeatResponse, Status> {
        let shared = self.shared();
        let details = details_of(message.details.unwrap_or_default());
        // It may have moved, and no leader may be there to record it.
        shared.pool.learn(&caller.member, &details.address, details.incarnation);
        let role = shared.core.role();
        if !role.leads {
            let leader = role.leader.unwrap_or_default();
            let (leader_address, leader_incarnation) = shared.pool.address(&leader).unwrap_or_default();
            let leader = leader.0;
            return Ok(wire::BeatResponse {
                leader,
                leader_address,
                leader_incarnation,
                ..Default::default()
            });
        }
        if !is_current(&self.view(), &caller.member, &details) {
            let command = Command::Update { member: caller.member.clone(), details: details.clone() };
            self.propose(command).await.map_err(|e| Status::aborted(e.to_string()))?;
        }
        let incarnation = details.incarnation;
        // A full queue means that the leader's task is stuck; then nobody should rely on its leases.
        let heard =
            shared.events.try_send(Event::Beat { member: caller.member.clone(), incarnation }).is_ok();
        let age = shared.core.quorum_age(clock::now());
        // Who was fenced is alive again by now, and may not know yet what was given to others meanwhile.
        let view = self.view();
        Ok(wire::BeatResponse {
            leads: true,
            leader: shared.me.0.clone(),
            quorum_age_us: age.map_or(u64::MAX, |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX)),
            lease: heard && age.is_some() && is_current(&view, &caller.member, &details),
            table_version: view.version(),
            ..Default::default()
        })
    }
}
