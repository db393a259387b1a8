//! The leader's task that says who should hold what, who stands in for one that crashed, who is given up, and who has
//! left: proposes what `plan.rs` computes.
//!
//! It waits until members have neither come nor gone for a moment: five that join within a second are one plan and not
//! five. What it proposes late, or twice, the state refuses.
//!
//! A member that wanted to leave and holds nothing any more goes on serving the application beside it: it passes
//! requests on. It is removed when it has stopped, by its own proposal or, when it is fenced, by ours; and only when it
//! does not vote, because nothing could be decided if the vote of one that is gone were needed. `autopilot.rs` takes its
//! vote away. A leader so loses its lead first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{Command, Control, ControlError, plan};
use crate::{
    task::clock,
    types::{Absence, ClusterView, Member, MemberId, PartitionId},
};

const LOOK: Duration = Duration::from_millis(200);
/// However often members come and go, there is a plan after so many times the moment it waits for.
const PATIENCE: u32 = 5;

/// Runs for as long as the daemon does, also while this member does not lead.
pub(super) async fn run(control: Control) {
    let shared = control.shared();
    let stop = shared.tasks.token();
    let mut calm = Calm::default();
    let (mut stands, mut absences) = (Stands::default(), Absences::default());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! { () = stop.cancelled() => return, _ = looks.tick() => {} }
        let (role, view) = (shared.core.role(), control.view());
        if !role.leads || view.version() == 0 {
            (calm, stands, absences) = Default::default();
            continue;
        }
        let voters = role.voters.iter().flatten().collect();
        let settled = calm.look(clock::now(), &view, shared.timing.settle);
        let commands = if plan::is_due(&view) {
            if settled { plan::plan(&view).into_iter().collect() } else { Vec::new() }
        } else {
            let stand_ins = stands.look(clock::now(), &view, shared.timing.settle);
            stand_ins.into_iter().chain(removals(&view, &voters)).collect()
        };
        let given_up = absences.look(clock::now(), &view, shared.timing.return_lease);
        for command in given_up.into_iter().chain(commands) {
            let proposed = tokio::select! {
                proposed = control.propose(command.clone()) => proposed,
                () = stop.cancelled() => return,
            };
            tell(&command, &control.view(), proposed.err());
        }
    }
}

/// Who has given everything away and stopped, and whose vote is not needed.
fn removals(view: &ClusterView, voters: &BTreeSet<&MemberId>) -> Vec<Command> {
    let stopped = plan::emptied(view).into_iter().filter(|member| !member.is_alive());
    stopped
        .filter(|member| !voters.contains(&member.id))
        .map(|member| Command::Remove(member.id.clone()))
        .collect()
}

fn tell(command: &Command, view: &ClusterView, error: Option<ControlError>) {
    match (command, error) {
        (Command::Remove(member), None) => {
            tracing::info!(%member, "it held nothing any more and has stopped: it has left the grid")
        }
        (Command::GiveUp { member, .. }, None) => tracing::warn!(
            %member,
            "it has been away for longer than --return-lease: other members get its copies"
        ),
        (Command::StandIn { stand_ins, .. }, None) => {
            let partitions = stand_ins.len();
            tracing::info!(
                partitions,
                "partitions for which another member stands in while a holder is away"
            );
        }
        (_, None) => {
            let moving = view.moving();
            tracing::info!(moving, "members have come or gone: partitions are dealt anew");
        }
        (_, Some(error)) => tracing::debug!(%error, "a plan or a departure could not be recorded yet"),
    }
}

/// Who should stand in, and since when that is not what was decided.
#[derive(Debug, Default)]
struct Stands {
    /// Of this version.
    version: u64,
    due: Option<(Duration, BTreeMap<PartitionId, MemberId>)>,
}

impl Stands {
    /// What is to be decided now: a member that is back within a moment needs nobody to stand in.
    fn look(&mut self, now: Duration, view: &ClusterView, settle: Duration) -> Option<Command> {
        if self.version != view.version() {
            self.version = view.version();
            let stand_ins = plan::stand_ins(view);
            let since = self.due.take().map_or(now, |(since, _)| since);
            self.due = (stand_ins != view.stand_ins).then_some((since, stand_ins));
        }
        let (since, stand_ins) = self.due.as_ref()?;
        let is_time = now.saturating_sub(*since) >= settle;
        is_time.then(|| Command::StandIn { roster: view.roster, stand_ins: stand_ins.clone() })
    }
}

/// Since when members are away, as far as this leader has seen: a new leader waits anew.
#[derive(Debug, Default)]
struct Absences(BTreeMap<MemberId, (u64, Duration)>);

impl Absences {
    /// Who is to be given up now.
    fn look(&mut self, now: Duration, view: &ClusterView, lease: Duration) -> Option<Command> {
        let waits = |member: &&Member| !member.is_alive() && member.absence != Absence::Long;
        let away: BTreeMap<&MemberId, u64> =
            view.members().filter(waits).map(|member| (&member.id, member.details.incarnation)).collect();
        self.0.retain(|member, (incarnation, _)| away.get(member) == Some(incarnation));
        for (member, incarnation) in away {
            self.0.entry(member.clone()).or_insert((incarnation, now));
        }
        let over = self.0.iter().find(|(_, (_, since))| now.saturating_sub(*since) >= lease);
        over.map(|(member, (incarnation, _))| Command::GiveUp {
            member: member.clone(),
            incarnation: *incarnation,
        })
    }
}

/// For how long members have neither come nor gone, as far as this leader has seen.
#[derive(Debug, Default)]
struct Calm {
    /// The roster, since when it is so, and since when there is no plan.
    seen: Option<(u64, Duration, Duration)>,
}

impl Calm {
    /// Whether it is time for a plan, if one is due.
    fn look(&mut self, now: Duration, view: &ClusterView, settle: Duration) -> bool {
        let (roster, since, unplanned) = self.seen.get_or_insert((view.roster, now, now));
        if *roster != view.roster {
            (*roster, *since) = (view.roster, now);
        }
        if !plan::is_due(view) {
            *unplanned = now;
        }
        now.saturating_sub(*since) >= settle || now.saturating_sub(*unplanned) >= settle * PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberState;

    #[test]
    fn a_plan_waits_for_calm_but_not_for_ever() {
        let ms = Duration::from_millis;
        let founder = Member::new(MemberId("a".into()), "disk", "");
        let mut view = ClusterView::found("id", "g", 8, founder);
        let mut calm = Calm::default();
        calm.look(ms(0), &view, ms(100));
        for at in (50..500).step_by(50) {
            view.roster += 1;
            assert!(!calm.look(ms(at), &view, ms(100)), "{at}");
        }
        let mut quiet = Calm { ..calm };
        assert!(!quiet.look(ms(490), &view, ms(100)));
        view.roster += 1;
        assert!(calm.look(ms(500), &view, ms(100)), "members come and go all the time");
        calm.look(ms(510), &view, ms(100));
        view.planned = view.roster;
        calm.look(ms(520), &view, ms(100));
        view.roster += 1;
        assert!(!calm.look(ms(530), &view, ms(100)));
        assert!(calm.look(ms(630), &view, ms(100)));
    }

    #[test]
    fn who_is_away_for_long_is_given_up_once() {
        let s = Duration::from_secs;
        let mut view = ClusterView::found("id", "g", 8, Member::new(MemberId("a".into()), "disk", ""));
        let id = MemberId("b".into());
        let mut member = Member::new(id.clone(), "disk2", "");
        (member.state, member.details.incarnation) = (MemberState::Away, 3);
        view.members.insert(id.clone(), member.clone());
        let mut absences = Absences::default();
        assert_eq!(absences.look(s(1), &view, s(300)), None);
        assert_eq!(absences.look(s(300), &view, s(300)), None);
        let given_up = Command::GiveUp { member: id.clone(), incarnation: 3 };
        assert_eq!(absences.look(s(301), &view, s(300)), Some(given_up));
        // It was there for a moment meanwhile.
        member.details.incarnation = 4;
        view.members.insert(id.clone(), member.clone());
        assert_eq!(absences.look(s(302), &view, s(300)), None);
        member.absence = Absence::Long;
        view.members.insert(id, member);
        assert_eq!(absences.look(s(900), &view, s(300)), None);
    }

    #[test]
    fn who_votes_or_still_runs_is_not_removed() {
        let mut view = ClusterView::found("id", "g", 8, Member::new(MemberId("a".into()), "disk", ""));
        let away = MemberId("b".into());
        let member = Member { leaving: true, ..Member::new(away.clone(), "disk2", "") };
        view.members.insert(away.clone(), member.clone());
        view.wanted = view.table.iter().map(Into::into).collect();
        assert_eq!(removals(&view, &BTreeSet::new()), []);
        view.members.insert(away.clone(), Member { state: MemberState::Away, ..member });
        assert_eq!(removals(&view, &[&away].into()), []);
        assert_eq!(removals(&view, &BTreeSet::new()), [Command::Remove(away)]);
    }
}
