//! Which partitions are read here, and how fresh they are.
//!
//! Any copy in sync answers a read, this member's own first: so with copies of everything here no read leaves the
//! machine. A backup may be a moment behind its primary, but an app reads its own writes whoever answers: the member
//! that an app asked remembers the last version of each partition that was acknowledged through it (the *floor*), and
//! a copy that does not show it yet takes it for committed, which it is, and answers when it shows it. An app that was
//! told of a write by another one gives the token that came with its answer. That is a floor, too, but for this request
//! alone, and nothing is taken for committed because an app says so: a copy that is behind it is not read.
//! A backup answers only while the grid confirms that its member may act: one that is cut off could be far behind. With
//! `--on-minority read-only` it goes on answering then, as primaries do in any case.
//!
//! Strong reads are answered by primaries under their lease: they show every write that was acknowledged, whoever
//! wrote it.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::{Parts, RequestContext, Service};
use crate::{
    config::OnMinority,
    index::PartitionSet,
    partition::Who,
    task::clock,
    types::{ClusterView, MemberId, PartitionId, Version},
};

/// How long a backup may take to show what it has: then its primary is asked.
const REACH: Duration = Duration::from_millis(500);

impl RequestContext {
    /// Who may answer.
    pub(super) fn who(&self) -> Who {
        if self.strong { Who::PrimaryUnderLease } else { Who::InSync }
    }

    /// What the request says that a read of this partition must show.
    fn told(&self, partition: PartitionId) -> Version {
        self.at_least.as_ref().map_or_else(Version::default, |token| token.floor(partition))
    }

    /// The same request, for primaries only.
    pub(super) fn of_primaries(&self) -> Self {
        Self { strong: true, ..self.clone() }
    }
}

/// Those of the partitions that are read here, under a lease, of which the table knows nothing else: an owner hears a
/// moment later than the table that another member is the primary now, and that one may have acknowledged a write.
pub(super) fn confirmed(
    view: &ClusterView,
    me: &MemberId,
    who: Who,
    here: Arc<PartitionSet>,
) -> Arc<PartitionSet> {
    let other = |partition: &PartitionId| view.partition(*partition).primary != *me;
    if who != Who::PrimaryUnderLease || !here.iter().any(|partition| other(&partition)) {
        return here;
    }
    Arc::new(here.iter().filter(|partition| !other(partition)).collect())
}

impl Parts {
    /// What is answered here still, after something was read: the lease was looked at before.
    pub(super) fn still_read_by(&self, who: Who) -> Arc<PartitionSet> {
        confirmed(&self.control.view(), &self.member, who, self.hosts.read_by(who, true))
    }
}

impl Service {
    /// May this member act on what it knows?
    pub(super) fn may_act(&self) -> bool {
        self.parts.control.lease().holds(clock::now())
    }

    /// The same, for a request that these may answer: backups also without the grid's word, if the operator prefers
    /// answers that may be old to none.
    pub(super) fn acts_for(&self, who: Who) -> bool {
        self.may_act() || who == Who::InSync && self.parts.on_minority == OnMinority::ReadOnly
    }

    /// The partitions for which this member answers a read.
    pub(super) fn readable(&self, ctx: &RequestContext) -> Arc<PartitionSet> {
        let who = ctx.who();
        confirmed(&self.view(), &self.parts.member, who, self.parts.hosts.read_by(who, self.acts_for(who)))
    }

    /// Those partitions of a set for which this member answers still, and the others. Asked after the view of an index
    /// was taken: rows of a partition leave the index after this member has stopped to answer for it.
    pub(super) fn still(&self, ctx: &RequestContext, set: &PartitionSet) -> (PartitionSet, PartitionSet) {
        let answers = self.readable(ctx);
        if answers.covers(set) {
            return (set.clone(), PartitionSet::new());
        }
        let elsewhere = set.without(&answers);
        (set.without(&elsewhere), elsewhere)
    }

    /// Whether rows and indexes here show everything of these partitions that was acknowledged through this member, and
    /// what the request says.
    pub(super) fn shows_enough(&self, ctx: &RequestContext, set: &PartitionSet) -> bool {
        set.iter().all(|partition| self.shows_enough_of(ctx, partition))
    }

    /// The same for one.
    pub(super) fn shows_enough_of(&self, ctx: &RequestContext, partition: PartitionId) -> bool {
        self.parts.hosts.applied(partition) >= self.floors.get(partition).max(ctx.told(partition))
    }

    /// Those partitions of a set that show here what the request says, and at least these versions, waiting a moment for
    /// them; and the others.
    pub(super) async fn reach(
        &self,
        ctx: &RequestContext,
        set: &PartitionSet,
        floor: impl Fn(PartitionId) -> Version,
    ) -> (PartitionSet, PartitionSet) {
        let hosts = &self.parts.hosts;
        let untold: PartitionSet = match ctx.at_least {
            Some(_) => {
                set.iter().filter(|partition| hosts.applied(*partition) < ctx.told(*partition)).collect()
            }
            None => PartitionSet::new(),
        };
        let below = |partition| Some((partition, floor(partition))).filter(|(p, f)| hosts.applied(*p) < *f);
        let below: Vec<(PartitionId, Version)> = set.without(&untold).iter().filter_map(below).collect();
        if below.is_empty() {
            return (set.without(&untold), untold);
        }
        let by = ctx.deadline.min(Instant::now() + REACH);
        let wait = |(partition, version)| async move {
            let Some(owner) = hosts.get(partition) else { return Some(partition) };
            let shows = timeout_at(by, owner.reach(version)).await.unwrap_or(false);
            (!shows).then_some(partition)
        };
        let behind: PartitionSet =
            join_all(below.into_iter().map(wait)).await.into_iter().flatten().chain(untold.iter()).collect();
        (set.without(&behind), behind)
    }
}
