//! The state of a grid of one member from before there was a consensus: JSON in the row store.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{
    storage::StorageError,
    types::{ClusterView, Collection, CollectionId, CollectionName, Member, Placement},
};

/// What such a daemon wrote.
#[derive(Deserialize)]
struct Old {
    version: u64,
    grid: String,
    table: Vec<Placement>,
    next_collection: u32,
    collections: BTreeMap<CollectionName, Collection>,
    purging: BTreeSet<CollectionId>,
}

/// That state as the first one of a log: same collections and table, and its only member as founder.
///
/// # Errors
/// When the bytes are damaged.
pub fn carried_over(bytes: &[u8], id: &str, founder: Member) -> Result<ClusterView, StorageError> {
    let old: Old =
        serde_json::from_slice(bytes).map_err(|e| StorageError::corrupt("the control state", e))?;
    let holder = BTreeSet::from([founder.id.clone()]);
    Ok(ClusterView {
        version: old.version.max(1),
        table: old.table,
        next_collection: old.next_collection,
        collections: old.collections,
        purging: old.purging.into_iter().map(|id| (id, holder.clone())).collect(),
        ..ClusterView::found(id, &old.grid, 0, founder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberId;

    #[test]
    fn what_an_earlier_daemon_wrote_is_read() {
        // As version 0.1.0 wrote it.
        let bytes = br#"{"version":4,"grid":"default",
            "table":[{"epoch":1,"primary":"m","in_sync":["m"]},{"epoch":1,"primary":"m","in_sync":["m"]}],
            "next_collection":3,
            "collections":{"c":{"id":1,"config":{"name":"c","dimension":3,"metric":"cosine","index":{"engine":"native",
                "m":16,"ef_construction":200,"ef":null,"target_recall":0.99,"vectors":"memory"},"durability":"sync"}}},
            "purging":[2]}"#;
        let me = MemberId("m".to_owned());
        let view = carried_over(bytes, "id", Member::new(me.clone(), "disk", "name")).unwrap();
        assert_eq!((view.version(), view.id(), view.grid(), view.partitions()), (4, "id", "default", 2));
        assert_eq!(view.collections().map(|c| c.id.0).collect::<Vec<_>>(), [1]);
        assert_eq!(view.purging_at(&me).map(|id| id.0).collect::<Vec<_>>(), [2]);
        assert_eq!((view.next_collection, view.hosted(&me).len(), view.members().count()), (3, 2, 1));
        assert!(carried_over(b"{", "id", Member::new(me, "", "")).is_err());
    }
}
