//! Which partition an id belongs to: fixed for the life of a grid.

use xxhash_rust::xxh3::xxh3_64;

use crate::types::{EntryId, PartitionId};

/// `xxh3_64(id) mod partitions`.
pub fn partition_of(id: &EntryId, partitions: u16) -> PartitionId {
    let hash = xxh3_64(id.as_str().as_bytes());
    PartitionId((hash % u64::from(partitions.max(1))) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_partition_for_ever() {
        // Written down once: a change of the hash would lose every stored row.
        let at = |id: &str| partition_of(&EntryId::new(id).unwrap(), 271).0;
        assert_eq!([at("a"), at("noun-00001740"), at("ü\n\0")], PINNED);
    }

    const PINNED: [u16; 3] = [192, 184, 36];

    #[test]
    fn sequential_ids_spread_evenly() {
        let mut counts = [0u32; 271];
        for i in 0..271_000 {
            let id = EntryId::new(&format!("doc-{i:06}")).unwrap();
            counts[usize::from(partition_of(&id, 271).0)] += 1;
        }
        // A thousand each, give or take: six standard deviations are about 190.
        assert!(counts.iter().all(|&n| (810..1190).contains(&n)), "{counts:?}");
    }
}
