//! Links of another member's graph, over the wire.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;
use vecgrid_proto::peer as wire;

use super::wire::part_of;
use crate::{
    index::{Donor, GraphLinks, are_alike},
    peer::Pool,
    types::{ClusterView, CollectionId, MemberId, PartitionId},
};

/// How long each part of the links may take: a builder waits for it, and links nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the member whose copies are most like those of this one.
pub struct Links {
    me: MemberId,
    pool: Pool,
    view: watch::Receiver<Arc<ClusterView>>,
    /// Serves the calls of builders, which are threads.
    runtime: Handle,
    stop: CancellationToken,
}

impl Links {
    /// Speaks to the members that this pool knows, until it is stopped. Called within a runtime.
    pub fn new(
        me: MemberId,
        pool: Pool,
        view: watch::Receiver<Arc<ClusterView>>,
        stop: CancellationToken,
    ) -> Self {
        Self { me, pool, view, runtime: Handle::current(), stop }
    }
}

impl Donor for Links {
    fn ask(&self, collection: CollectionId, rows: u64) -> Option<GraphLinks> {
        let from = most_alike(&self.view.borrow(), &self.me)?;
        let message = wire::LinksRequest { collection: collection.0, rows };
        let (mut links, mut comes) = (GraphLinks::default(), None);
        let take = |part: wire::LinksPart| match comes {
            None => *comes.insert(are_alike(rows, part.rows)),
            Some(_) => links.push(part_of(part)),
        };
        let asked = self.stop.run_until_cancelled(self.pool.links(&from, message, PATIENCE, take));
        match self.runtime.block_on(asked)? {
            Ok(()) => (comes == Some(true)).then_some(links),
            Err(error) => {
                tracing::debug!(member = %from, %error, "no links came");
                None
            }
        }
    }
}

/// The member with a graph over nearly the same partitions, as far as the table tells: those in sync there against those
/// that are here, or are on their way.
fn most_alike(view: &ClusterView, me: &MemberId) -> Option<MemberId> {
    let partitions = || (0..view.partitions()).map(PartitionId);
    let has =
        |member: &MemberId, partition: &PartitionId| view.partition(*partition).in_sync.contains(member);
    let ours = |partition: &PartitionId| has(me, partition) || view.is_wanted_at(me, *partition);
    let all = partitions().filter(ours).count() as u64;
    let others = view.members().filter(|member| member.id != *me && member.is_alive());
    let shared = others.map(|other| {
        let theirs = partitions().filter(|partition| has(&other.id, partition)).count() as u64;
        let both =
            partitions().filter(|partition| has(&other.id, partition) && ours(partition)).count() as u64;
        (both, theirs, &other.id)
    });
    let alike =
        shared.filter(|(both, theirs, _)| *both > 0 && are_alike(*both, all) && are_alike(*both, *theirs));
    alike.max_by_key(|(both, ..)| *both).map(|(.., id)| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Member, Placement};

    /// A grid whose members hold these partitions.
    fn grid(holders: &[&[&str]]) -> ClusterView {
        let id = |name: &&str| MemberId((*name).to_owned());
        let mut view = ClusterView::bootstrap("g", holders.len() as u16, &MemberId("a".to_owned()));
        for name in ["b", "c"] {
            view.members.insert(id(&name), Member::new(id(&name), name, ""));
        }
        for (placement, names) in view.table.iter_mut().zip(holders) {
            let in_sync: Vec<_> = names.iter().map(id).collect();
            *placement = Placement { epoch: 1, primary: in_sync[0].clone(), in_sync };
        }
        view
    }

    #[test]
    fn the_most_alike_member_has_nearly_the_same_partitions() {
        let me = MemberId("a".to_owned());
        let of = |holders: &[&[&str]]| most_alike(&grid(holders), &me).map(|id| id.0);
        assert_eq!(of(&[&["a", "b"], &["b", "a"], &["a", "b", "c"]]).as_deref(), Some("b"));
        assert_eq!(of(&[&["a", "b", "c"], &["c", "a"]]).as_deref(), Some("c"));
        assert_eq!(of(&[&["a", "b"], &["b", "c"], &["c", "a"]]), None, "a third of each is elsewhere");
        assert_eq!(of(&[&["a"], &["a"]]), None, "alone");
        assert_eq!(of(&[&["b"], &["c"]]), None, "nothing here");
    }
}
