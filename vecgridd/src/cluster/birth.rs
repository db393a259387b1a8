//! How a member comes into a grid, and how a grid comes to be. Pure.
//!
//! ```text
//!            data dir has a grid ───────────────────────────────▶ member (rejoins)
//!  fresh ──▶ somebody has a grid of our name ──▶ joins it ──────▶ member
//!       ├──▶ --bootstrap, and nobody has one ──▶ creates ───────▶ member
//!       ├──▶ --bootstrap-expect N: N fresh members all see the same N, and we are the smallest id ▶ creates
//!       ├──▶ by multicast: waited, everybody we see sees the same, and we are the smallest id     ▶ creates
//!       └──▶ else waits, and says for what
//! ```
//!
//! What is promised about two grids by accident:
//!
//! - **`--bootstrap-expect N` with exactly N fresh members of the name: never**, in any order of starts,
//!   restarts, losses and delays. Whoever creates has seen all N agree, so it is the smallest of all. With more
//!   than N fresh members two groups that do not see each other can each find N: let N be all of them.
//! - by multicast without a number: not if all members that are started together see each other within the
//!   waiting time. There is no number to wait for, so nothing stronger can be said.
//! - `--bootstrap` on one member: never. On several: each creates one, unless it sees another's in time.
//!
//! Two grids of one name are mended while that is harmless: an empty grid of a single member dissolves
//! into another, and of two such the one with the greater id. Anything else is refused, reported and never merged:
//! which of two histories is right no rule can know. A fresh member that sees two such joins neither; one that
//! has seen only one of them has joined it.
//!
//! What others say is a hint. Whether a member may join, and that a grid is still empty when it dissolves, is
//! decided where it is known: by the control plane.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::types::MemberId;

/// The most answers that are remembered, one per address.
const MAX_SIGHTINGS: usize = 1_024;

/// How a grid may be created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `--bootstrap`: create one if there is none.
    pub bootstrap: bool,
    /// `--bootstrap-expect`: create one when this many fresh members see each other.
    pub expect: Option<usize>,
    /// Members find each other by multicast alone: create one when nobody new has come for a while.
    pub after_waiting: bool,
}

/// What an address answered when it was asked who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Name of its grid, or of the one that it looks for.
    pub grid_name: String,
    /// Id of its grid; `None` = it is fresh.
    pub grid: Option<String>,
    /// Who it is.
    pub member: MemberId,
    /// Members of its grid.
    pub members: usize,
    /// Its grid holds nothing.
    pub empty: bool,
    /// If it is fresh: the fresh members that it sees, itself included.
    pub fresh: BTreeSet<MemberId>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An address answered.
    Heard(SocketAddr, Sighting),
    /// An address answers no more, or is no longer among those to ask.
    Silent(SocketAddr),
    /// Every address that is known has been asked once.
    LookedAround,
    /// The waiting time is over since the start, or since [`Effect::WaitAgain`].
    Waited,
    /// We are a member of this grid: by our data directory, by creating it, or by joining it; also when
    /// its size changes.
    Member {
        /// Its id.
        grid: String,
        /// How many it has.
        members: usize,
        /// It holds nothing.
        empty: bool,
    },
    /// Joining, creating or dissolving did not succeed. It is tried again when there is reason to.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask this address to be taken into its grid; then [`Event::Member`] or [`Event::Failed`].
    Join(SocketAddr),
    /// Create a grid; then [`Event::Member`] or [`Event::Failed`].
    Create,
    /// If our grid still is empty and ours alone, forget it and join that of this address; then
    /// [`Event::Member`] or [`Event::Failed`].
    Dissolve(SocketAddr),
    /// Begin the waiting time anew: the members that we see have changed.
    WaitAgain,
    /// Count and report this: there is another grid of our name, and the two are not merged.
    Foreign {
        /// Where it answers.
        at: SocketAddr,
        /// Its id.
        grid: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Fresh,
    /// Something is under way; until it succeeds we are what we were.
    Busy(Option<Grid>),
    Member(Grid),
}

/// A grid as one answer tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grid {
    id: String,
    members: usize,
    empty: bool,
}

impl Grid {
    /// Nothing is lost when it goes.
    fn dissolves(&self) -> bool {
        self.empty && self.members <= 1
    }

    /// Smaller = the one that stays when two meet.
    fn rank(&self) -> (bool, &str) {
        (self.dissolves(), &self.id)
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Birth {
    me: MemberId,
    name: String,
    rules: Rules,
    standing: Standing,
    seen: BTreeMap<SocketAddr, Sighting>,
    looked_around: bool,
    waited: bool,
}

impl Birth {
    /// A member that looks for a grid of this name. One whose data directory has a grid says so with
    /// [`Event::Member`] first.
    pub fn new(me: MemberId, name: &str, rules: Rules) -> Self {
        let (standing, seen) = (Standing::Fresh, BTreeMap::new());
        Self { me, name: name.to_owned(), rules, standing, seen, looked_around: false, waited: false }
    }

    /// The fresh members that we see, ourselves included: what we answer when asked. Empty in a grid.
    pub fn fresh(&self) -> BTreeSet<MemberId> {
        if matches!(self.standing, Standing::Member(_) | Standing::Busy(Some(_))) {
            return BTreeSet::new();
        }
        let others = self.seen.values().filter(|seen| seen.grid.is_none()).map(|seen| seen.member.clone());
        others.chain([self.me.clone()]).collect()
    }

    /// For people: what a fresh member waits for. `None` in a grid, or when something is under way.
    pub fn waits_for(&self) -> Option<String> {
        if self.standing != Standing::Fresh {
            return None;
        }
        let fresh = self.fresh().len();
        Some(match (self.grids().len(), self.rules.expect) {
            (2.., _) => format!(
                "there are several grids called `{}` with data or members: stop all but one, or start this \
                 member with --grid and the name of another",
                self.name
            ),
            (_, Some(expect)) => format!(
                "a grid called `{}`, or {expect} fresh members that see each other (now {fresh}, this one \
                 included)",
                self.name
            ),
            (_, None) if self.rules.after_waiting => {
                format!("a grid called `{}`, or that no more fresh members come (now {fresh})", self.name)
            }
            _ => format!(
                "a grid called `{}`; to create it, start one member with --bootstrap, or all with \
                 --bootstrap-expect N",
                self.name
            ),
        })
    }

    /// Takes one event.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let before = self.fresh();
        let event_is_news = event != Event::Failed;
        let mut effects = Vec::new();
        match event {
            Event::Heard(at, sighting) => self.heard(at, sighting, &mut effects),
            Event::Silent(at) => drop(self.seen.remove(&at)),
            Event::LookedAround => self.looked_around = true,
            Event::Waited => self.waited = true,
            Event::Member { grid, members, empty } => {
                self.standing = Standing::Member(Grid { id: grid, members, empty });
            }
            Event::Failed => {
                if let Standing::Busy(before) = &mut self.standing {
                    self.standing = before.take().map_or(Standing::Fresh, Standing::Member);
                }
            }
        }
        if self.rules.after_waiting && self.fresh() != before {
            self.waited = false;
            effects.push(Effect::WaitAgain);
        }
        // After a failure there must be news before the same is tried again.
        if self.standing == Standing::Fresh
            && event_is_news
            && let Some(effect) = self.next()
        {
            self.standing = Standing::Busy(None);
            effects.push(effect);
        }
        effects
    }

    fn heard(&mut self, at: SocketAddr, sighting: Sighting, effects: &mut Vec<Effect>) {
        if sighting.grid_name != self.name || sighting.member == self.me {
            self.seen.remove(&at);
            return;
        }
        if let (Standing::Member(ours), Some(theirs)) = (&self.standing, grid_of(&sighting)) {
            if ours.id != theirs.id && !theirs.dissolves() && !ours.dissolves() {
                effects.push(Effect::Foreign { at, grid: theirs.id });
            } else if ours.id != theirs.id && theirs.rank() < ours.rank() {
                self.standing = Standing::Busy(Some(ours.clone()));
                effects.push(Effect::Dissolve(at));
            }
        }
        if self.seen.len() < MAX_SIGHTINGS || self.seen.contains_key(&at) {
            self.seen.insert(at, sighting);
        }
    }

    /// Grids of our name that we see, with an address each: the ones that stay, or else the one that will.
    fn grids(&self) -> BTreeMap<String, SocketAddr> {
        let seen = self.seen.iter().filter_map(|(at, seen)| Some((grid_of(seen)?, *at)));
        let (mut staying, mut others): (Vec<_>, Vec<_>) = seen.partition(|(grid, _)| !grid.dissolves());
        if staying.is_empty() {
            others.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
            staying.extend(others.into_iter().next());
        }
        staying.into_iter().map(|(grid, at)| (grid.id, at)).collect()
    }

    fn next(&self) -> Option<Effect> {
        let grids = self.grids();
        if let Some((_, at)) = grids.first_key_value() {
            // With several, whichever we took might be the wrong one.
            return (grids.len() == 1).then_some(Effect::Join(*at));
        }
        let alone_decides = self.rules.bootstrap && self.looked_around;
        let creates = match self.rules.expect {
            _ if alone_decides => true,
            Some(expect) => self.fresh().len() >= expect && self.all_agree(),
            None => self.rules.after_waiting && self.looked_around && self.waited && self.all_agree(),
        };
        creates.then_some(Effect::Create)
    }

    /// Everybody that we see sees the same, and we are the smallest.
    fn all_agree(&self) -> bool {
        let fresh = self.fresh();
        fresh.first() == Some(&self.me) && self.seen.values().all(|seen| seen.fresh == fresh)
    }
}

fn grid_of(sighting: &Sighting) -> Option<Grid> {
    let Sighting { grid, members, empty, .. } = sighting;
    grid.as_ref().map(|id| Grid { id: id.clone(), members: *members, empty: *empty })
}
