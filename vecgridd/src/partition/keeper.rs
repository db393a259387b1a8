//! Which partitions have an owner here: those that this member holds or is to hold, by the table.
//!
//! A copy that is not wanted here any more goes when nothing can count it any more; until then it stays. So does one that
//! is quarantined, which a copy of another member takes the place of: first it must not count, and this member says so
//! to the grid, if another copy has everything, too.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;

use super::{OwnerParts, owner::spawn, recover, recover::has_copy};
use crate::{
    index::PartitionSet,
    migration::Proposal,
    storage::{Engine, StorageError},
    task::Tasks,
    types::{ClusterView, MemberId, PartitionId},
};

/// After something could not be done.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the table until the daemon stops. `here`: the partitions that have owners already.
pub async fn keep(tasks: Tasks, parts: OwnerParts, me: MemberId, mut here: BTreeSet<PartitionId>) {
    let mut view = parts.view.clone();
    let stop = tasks.token();
    loop {
        let now = Arc::clone(&view.borrow_and_update());
        let wanted = |partition: &PartitionId| is_here(&now, &me, *partition);
        let all = || (0..now.partitions()).map(PartitionId);
        let missing: Vec<PartitionId> = all().filter(|p| wanted(p) && !here.contains(p)).collect();
        let mut undone = false;
        if !missing.is_empty() {
            match begin(&tasks, &parts, &now, &me, missing.clone()).await {
                Ok(begun) => {
                    undone |= begun.len() < missing.len();
                    here.extend(begun);
                }
                Err(error) => {
                    undone = true;
                    tracing::error!(%error, "copies of partitions cannot be made here: tried again");
                }
            }
        }
        let quarantined = parts.hosts.quarantined();
        undone |= discharge(&parts, &now, &me, &quarantined).await;
        let in_sync = |p: &PartitionId| now.partition(*p).in_sync.contains(&me);
        let useless = |p: &PartitionId| quarantined.contains(*p) && !in_sync(p);
        let surplus: Vec<PartitionId> = here.iter().copied().filter(|p| !wanted(p) || useless(p)).collect();
        undone |= surplus.iter().any(wanted);
        for partition in surplus {
            let Some(owner) = parts.hosts.get(partition) else { continue };
            if owner.leave().await {
                parts.hosts.remove(partition);
                here.remove(&partition);
            } else {
                undone = true;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN), if undone => {}
            changed = view.changed() => if changed.is_err() { return },
            () = parts.hosts.until_quarantined_but(&quarantined) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Asks the grid not to count these copies where others are in sync; whether there were any.
async fn discharge(
    parts: &OwnerParts,
    view: &ClusterView,
    me: &MemberId,
    quarantined: &PartitionSet,
) -> bool {
    let proposals = quarantined.iter().filter_map(|partition| {
        let expected = view.partition(partition).clone();
        let next = view.placement_without(partition, me)?;
        Some(parts.outside.propose(partition, Proposal { expected, next }))
    });
    // A table that has changed meanwhile is looked at again.
    !join_all(proposals).await.is_empty()
}

/// Whether this member is to have a copy of a partition: it is in sync, or is to be.
pub fn is_here(view: &ClusterView, me: &MemberId, partition: PartitionId) -> bool {
    view.partition(partition).in_sync.contains(me) || view.is_wanted_at(me, partition)
}

/// The partitions of which there is to be a copy here, or is one on the disk.
///
/// # Errors
/// When the store cannot be read.
pub fn copies_here(
    engine: &dyn Engine,
    view: &ClusterView,
    me: &MemberId,
) -> Result<Vec<PartitionId>, StorageError> {
    let mut here: BTreeSet<PartitionId> =
        (0..view.partitions()).map(PartitionId).filter(|partition| is_here(view, me, *partition)).collect();
    for partition in engine.partitions() {
        if partition.0 < view.partitions() && has_copy(engine, partition)? {
            here.insert(partition);
        }
    }
    Ok(here.into_iter().collect())
}

async fn begin(
    tasks: &Tasks,
    parts: &OwnerParts,
    view: &Arc<ClusterView>,
    me: &MemberId,
    partitions: Vec<PartitionId>,
) -> Result<Vec<PartitionId>, StorageError> {
    let (engine, view, me) = (Arc::clone(&parts.engine), Arc::clone(view), me.clone());
    let retention = parts.retention;
    let recovered = move || {
        engine.create_partitions(&partitions)?;
        let one = |partition| match recover(&*engine, &view, &me, partition, retention) {
            Ok(recovered) => Some(recovered),
            Err(error) => {
                tracing::error!(%partition, %error, "a copy cannot be used");
                None
            }
        };
        Ok(partitions.into_iter().filter_map(one).collect::<Vec<_>>())
    };
    let joined = tokio::task::spawn_blocking(recovered).await;
    let recovered: Result<_, StorageError> = joined.map_err(|e| StorageError::Io(e.to_string()))?;
    let mut begun = Vec::new();
    for recovered in recovered? {
        let partition = recovered.state.partition();
        parts.hosts.add(partition, spawn(tasks, recovered, parts));
        begun.push(partition);
    }
    Ok(begun)
}
