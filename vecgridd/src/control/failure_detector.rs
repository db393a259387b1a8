//! Who is alive, as the leader sees it. Pure: event in, effects out.
//!
//! Members beat; one that was not heard for a session is to be fenced. A closed connection is only a hint: the
//! member is probed at once, and fenced before its session ends only if its host answers that nobody listens
//! there any more. A new leader knows nothing: it waits a whole session before it has anyone fenced, also
//! because leases that the old one gave must have ended by then.
//!
//! Fencing itself is a decision of the grid ([`Command::Fence`](super::Command::Fence)), never made here.

use std::{collections::BTreeMap, time::Duration};

use crate::types::{ClusterView, MemberId};

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member beat.
    Beat {
        /// Who.
        member: MemberId,
        /// Which run of its daemon.
        incarnation: u64,
    },
    /// A connection on which it had spoken has ended.
    Closed(MemberId),
    /// Nobody listens at its address, said its host to a probe that began at `asked`.
    Gone {
        /// Who.
        member: MemberId,
        /// When it was asked.
        asked: Duration,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Propose that it is fenced.
    Fence {
        /// Who.
        member: MemberId,
        /// Which run of its daemon.
        incarnation: u64,
    },
    /// See whether it is still there.
    Probe(MemberId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    incarnation: u64,
    at: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct FailureDetector {
    me: MemberId,
    session: Duration,
    /// Since when this member leads without a break.
    leads_since: Option<Duration>,
    heard: BTreeMap<MemberId, Heard>,
}

impl FailureDetector {
    /// For a member that does not lead yet.
    pub fn new(me: MemberId, session: Duration) -> Self {
        Self { me, session, leads_since: None, heard: BTreeMap::new() }
    }

    /// Takes an event. `leads`: whether this member leads now; `view`: what is agreed now.
    pub fn step(&mut self, now: Duration, leads: bool, view: &ClusterView, event: &Event) -> Vec<Effect> {
        if !leads {
            self.leads_since = None;
            self.heard.clear();
            return Vec::new();
        }
        let since = *self.leads_since.get_or_insert(now);
        self.follow(now, view);
        let mut effects = Vec::new();
        match event {
            Event::Beat { member, incarnation } => {
                if let Some(heard) = self.heard.get_mut(member)
                    && heard.incarnation == *incarnation
                {
                    heard.at = now;
                }
            }
            Event::Closed(member) if self.heard.contains_key(member) => {
                effects.push(Effect::Probe(member.clone()));
            }
            Event::Gone { member, asked } if now >= since + self.session => {
                // A beat since then is newer than the probe.
                if self.heard.get(member).is_some_and(|heard| heard.at <= *asked) {
                    effects.extend(self.fence(now, member));
                }
            }
            Event::Closed(_) | Event::Gone { .. } | Event::Tick => {}
        }
        let late = |heard: &Heard| now >= heard.at.max(since) + self.session;
        let late: Vec<MemberId> =
            self.heard.iter().filter(|(_, heard)| late(heard)).map(|(id, _)| id.clone()).collect();
        effects.extend(late.iter().filter_map(|member| self.fence(now, member)));
        effects
    }

    /// How long ago each member was heard that counts as alive.
    pub fn silence(&self, now: Duration) -> impl Iterator<Item = (&MemberId, Duration)> {
        self.heard.iter().map(move |(member, heard)| (member, now.saturating_sub(heard.at)))
    }

    /// Watches exactly the other members that count as alive. One that was not watched is heard now.
    fn follow(&mut self, now: Duration, view: &ClusterView) {
        let alive = view.members().filter(|member| member.is_alive() && member.id != self.me);
        let mut before = std::mem::take(&mut self.heard);
        for member in alive {
            let incarnation = member.details.incarnation;
            let known = before.remove(&member.id).filter(|heard| heard.incarnation == incarnation);
            self.heard.insert(member.id.clone(), known.unwrap_or(Heard { incarnation, at: now }));
        }
    }

    fn fence(&mut self, now: Duration, member: &MemberId) -> Option<Effect> {
        let heard = self.heard.get_mut(member)?;
        // If it is not decided, it is asked for again after a session.
        heard.at = now;
        Some(Effect::Fence { member: member.clone(), incarnation: heard.incarnation })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Member, MemberState};

    const SESSION: Duration = Duration::from_millis(1_500);

    fn id(number: u8) -> MemberId {
        MemberId(format!("m{number}"))
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn grid(members: u8) -> ClusterView {
        let mut view = ClusterView::bootstrap("g", 1, &id(0));
        for number in 1..members {
            view.members.insert(id(number), Member::new(id(number), "", ""));
        }
        view
    }

    fn fence(number: u8) -> Effect {
        Effect::Fence { member: id(number), incarnation: 0 }
    }

    fn beat(number: u8) -> Event {
        Event::Beat { member: id(number), incarnation: 0 }
    }

    #[test]
    fn a_member_is_fenced_a_session_after_its_last_beat() {
        let (mut detector, view) = (FailureDetector::new(id(0), SESSION), grid(2));
        assert_eq!(detector.step(at(0), true, &view, &Event::Tick), []);
        assert_eq!(detector.step(at(1_000), true, &view, &beat(1)), []);
        assert_eq!(detector.step(at(2_499), true, &view, &Event::Tick), []);
        assert_eq!(detector.step(at(2_500), true, &view, &Event::Tick), [fence(1)]);
        assert_eq!(detector.step(at(2_600), true, &view, &Event::Tick), [], "not again at once");
        assert_eq!(detector.step(at(4_000), true, &view, &Event::Tick), [fence(1)], "it was not decided");
    }

    #[test]
    fn a_closed_connection_is_looked_into_and_a_later_beat_wins() {
        let (mut detector, view) = (FailureDetector::new(id(0), SESSION), grid(2));
        detector.step(at(0), true, &view, &Event::Tick);
        for ms in [500, 1_000, 1_500, 2_000] {
            detector.step(at(ms), true, &view, &beat(1));
        }
        let probe = detector.step(at(2_050), true, &view, &Event::Closed(id(1)));
        assert_eq!(probe, [Effect::Probe(id(1))]);
        let gone = |asked| Event::Gone { member: id(1), asked: at(asked) };
        assert_eq!(detector.step(at(2_060), true, &view, &gone(1_999)), []);
        assert_eq!(detector.step(at(2_060), true, &view, &gone(2_050)), [fence(1)]);
    }

    #[test]
    fn a_new_leader_fences_nobody_for_a_session_whatever_it_hears() {
        let (mut detector, view) = (FailureDetector::new(id(0), SESSION), grid(3));
        detector.step(at(0), true, &view, &Event::Tick);
        detector.step(at(9_000), false, &view, &Event::Tick);
        assert_eq!(detector.step(at(9_100), true, &view, &Event::Tick), []);
        let gone = Event::Gone { member: id(1), asked: at(9_200) };
        assert_eq!(detector.step(at(9_200), true, &view, &gone), []);
        assert_eq!(detector.step(at(10_599), true, &view, &Event::Tick), []);
        assert_eq!(detector.step(at(10_600), true, &view, &Event::Tick), [fence(1), fence(2)]);
    }

    #[test]
    fn who_is_away_is_not_watched_and_who_returns_gets_a_whole_session() {
        let (mut detector, mut view) = (FailureDetector::new(id(0), SESSION), grid(2));
        detector.step(at(0), true, &view, &Event::Tick);
        let set = |view: &mut ClusterView, state, incarnation| {
            let member = view.members.get_mut(&id(1)).unwrap();
            (member.state, member.details.incarnation) = (state, incarnation);
        };
        set(&mut view, MemberState::Away, 0);
        assert_eq!(detector.step(at(9_000), true, &view, &Event::Tick), []);
        set(&mut view, MemberState::Alive, 1);
        assert_eq!(detector.step(at(9_100), true, &view, &Event::Tick), []);
        assert_eq!(detector.step(at(10_599), true, &view, &beat(1)), [], "a beat of an earlier run");
        let again = Effect::Fence { member: id(1), incarnation: 1 };
        assert_eq!(detector.step(at(10_600), true, &view, &Event::Tick), [again]);
    }

    proptest! {
        /// Whatever happens: nobody is fenced who was heard within a session (unless its host says that it
        /// is gone), nor within a session of the begin of a leadership.
        #[test]
        fn nobody_is_fenced_too_early(
            events in proptest::collection::vec((0_u64..400, 0_u8..5, 1_u8..4, any::<bool>()), 1..200),
        ) {
            let (mut detector, view) = (FailureDetector::new(id(0), SESSION), grid(4));
            let (mut now, mut led_since) = (0, None);
            let mut heard: BTreeMap<MemberId, u64> = BTreeMap::new();
            for (wait, kind, member, lost) in events {
                now += wait;
                let leads = !(lost && kind == 4);
                led_since = if leads { led_since.or(Some(now)) } else { None };
                let event = match kind {
                    0 | 1 => beat(member),
                    2 => Event::Closed(id(member)),
                    _ => Event::Tick,
                };
                if leads && matches!(event, Event::Beat { .. }) {
                    heard.insert(id(member), now);
                }
                for effect in detector.step(at(now), leads, &view, &event) {
                    let Effect::Fence { member, .. } = effect else { continue };
                    let last = heard.get(&member).copied().unwrap_or(0).max(led_since.unwrap());
                    prop_assert!(at(now - last) >= SESSION);
                }
            }
        }
    }
}
