//! The leader's task that decides who gets the log and who votes: one change at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    Control, plan,
    raft::{CoreError, Role},
    voters::{Candidate, next_voters},
};
use crate::{
    task::clock,
    types::{Absence, ClusterView, Member, MemberId, MemberState},
};

const LOOK: Duration = Duration::from_millis(200);
/// A change that is not through by then goes on by itself; meanwhile no other is begun.
const CHANGE: Duration = Duration::from_secs(5);
/// A member whose log is shorter than the leader's by more than this does not get a vote.
const MOST_LAG: u64 = 64;

/// Runs for as long as the daemon does, also while this member does not lead.
pub(super) async fn run(control: Control) {
    let shared = control.shared();
    let stop = shared.tasks.token();
    let mut seen = Seen::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! { () = stop.cancelled() => return, _ = looks.tick() => {} }
        let (role, view) = (shared.core.role(), control.view());
        if !role.leads || view.version() == 0 {
            seen = Seen::default();
            continue;
        }
        seen.look(clock::now(), &view);
        let Some(change) = next_change(&control, &role, &view, &seen) else { continue };
        let done = tokio::select! {
            done = timeout(CHANGE, apply(&control, &change)) => done,
            () = stop.cancelled() => return,
        };
        match done {
            Ok(Ok(())) => tracing::info!(?change, "who decides has changed"),
            Ok(Err(CoreError::NotLeader)) => {}
            Ok(Err(error)) => tracing::debug!(?change, %error, "who decides could not be changed yet"),
            Err(_) => tracing::warn!(?change, "changing who decides takes long"),
        }
    }
}

/// Since when each member is in its state, as far as this leader has seen.
#[derive(Default)]
struct Seen {
    since: BTreeMap<MemberId, (MemberState, Duration)>,
}

impl Seen {
    fn look(&mut self, now: Duration, view: &ClusterView) {
        for member in view.members.values() {
            let since = self.since.entry(member.id.clone()).or_insert((member.state, now));
            if since.0 != member.state {
                *since = (member.state, now);
            }
        }
    }

    fn lasts(&self, member: &Member) -> Duration {
        self.since.get(&member.id).map_or(Duration::ZERO, |(_, at)| clock::now().saturating_sub(*at))
    }
}

#[derive(Debug)]
enum Change {
    /// It gets the log.
    Add(MemberId),
    /// It gets no log any more.
    Remove(MemberId),
    /// They vote.
    Voters(BTreeSet<MemberId>),
}

fn next_change(control: &Control, role: &Role, view: &ClusterView, seen: &Seen) -> Option<Change> {
    let [voters] = role.voters.as_slice() else {
        // A change is under way; proposing its end again ends it, if a leader had begun it and died.
        return role.voters.last().map(|voters| Change::Voters(voters.clone()));
    };
    // One that has given its vote away steps down in a moment. Added again by itself, it would lead for ever.
    if !voters.contains(&control.shared().me) {
        return None;
    }
    if let Some(new) = view.members().find(|m| m.is_alive() && !role.nodes.contains(&m.id)) {
        return Some(Change::Add(new.id.clone()));
    }
    let timing = &control.shared().timing;
    let emptied: BTreeSet<&MemberId> = plan::emptied(view).into_iter().map(|member| &member.id).collect();
    let candidate = |member: &Member| {
        let (lasts, votes) = (seen.lasts(member), voters.contains(&member.id));
        let level = || control.shared().core.lag(&member.id).is_some_and(|lag| lag <= MOST_LAG);
        Candidate {
            id: member.id.clone(),
            zone: member.details.zone.clone(),
            joined: member.joined,
            votes,
            ready: member.is_alive() && lasts >= timing.settle && (votes || level()),
            gone: member.state == MemberState::Away && lasts >= timing.grace,
            // Who is on its way out gets no vote, and gives its own away last.
            left: member.has_left()
                || (member.leaving && !votes)
                || emptied.contains(&member.id)
                || stops_as_one_of_two(member, voters),
        }
    };
    let candidates: Vec<Candidate> = view.members.values().map(candidate).collect();
    if let Some(next) = next_voters(&candidates, &control.shared().me) {
        return Some(Change::Voters(next));
    }
    // A moment later, so that it hears that it has left.
    let gone = |member: &Member| member.has_left() && seen.lasts(member) >= timing.settle;
    let left = |id: &&MemberId| view.member(id).is_none_or(gone) && !voters.contains(id);
    role.nodes.iter().find(left).map(|id| Change::Remove(id.clone()))
}

/// Whether a member said that it stops, and the other voter could decide nothing without it. Its vote goes with it, and
/// comes back with it.
fn stops_as_one_of_two(member: &Member, voters: &BTreeSet<MemberId>) -> bool {
    !member.is_alive() && member.absence == Absence::Announced && voters.len() == 2
}

async fn apply(control: &Control, change: &Change) -> Result<(), CoreError> {
    let core = &control.shared().core;
    match change {
        Change::Add(member) => core.add(member).await,
        Change::Remove(member) => core.remove(member).await,
        Change::Voters(voters) => core.set_voters(voters).await,
    }
}
