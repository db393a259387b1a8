//! Where each id is: a hash table of slot numbers, with the ids where they are anyway, in the rows.
//!
//! Five to eleven bytes per row instead of a second copy of every id.

use std::hash::{BuildHasher, RandomState};

use hashbrown::{HashTable, hash_table::Entry};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::rows::Rows;

/// The live slot of each id.
pub(super) struct Slots {
    table: HashTable<u32>,
    /// Chosen anew in every process, so that nobody can prepare ids that collide.
    seed: u64,
}

impl Slots {
    pub fn new() -> Self {
        Self { table: HashTable::new(), seed: RandomState::new().hash_one(0) }
    }

    /// Makes room for so many ids; none may be there yet.
    pub fn reserve(&mut self, ids: usize) {
        self.table = HashTable::with_capacity(ids);
    }

    /// The id of a row is in this slot from now on; returns the slot it was in before.
    pub fn put(&mut self, rows: &Rows, slot: u32) -> Option<u32> {
        let (id, seed) = (rows.id(slot), self.seed);
        let same = |other: &u32| rows.id(*other) == id;
        match self.table.entry(hash(seed, id), same, |slot| hash(seed, rows.id(*slot))) {
            Entry::Occupied(mut known) => Some(std::mem::replace(known.get_mut(), slot)),
            Entry::Vacant(free) => {
                free.insert(slot);
                None
            }
        }
    }

    /// The slot of an id.
    pub fn get(&self, rows: &Rows, id: &str) -> Option<u32> {
        self.table.find(hash(self.seed, id), |slot| rows.id(*slot) == id).copied()
    }

    /// Forgets an id; returns the slot it was in.
    pub fn remove(&mut self, rows: &Rows, id: &str) -> Option<u32> {
        let known = self.table.find_entry(hash(self.seed, id), |slot| rows.id(*slot) == id).ok()?;
        Some(known.remove().0)
    }

    /// Keeps the slots that pass a test.
    pub fn retain(&mut self, mut stays: impl FnMut(u32) -> bool) {
        self.table.retain(|slot| stays(*slot));
    }

    /// Slots get other numbers, in other rows.
    pub fn renumber(&mut self, rows: &Rows, number: impl Fn(u32) -> u32) {
        self.table.iter_mut().for_each(|slot| *slot = number(*slot));
        if self.table.capacity() > 4 * self.table.len() {
            let seed = self.seed;
            self.table.shrink_to(self.table.len(), |slot| hash(seed, rows.id(*slot)));
        }
    }

    pub fn bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

fn hash(seed: u64, id: &str) -> u64 {
    xxh3_64_with_seed(id.as_bytes(), seed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            chunk::Row,
            packed::{Packed, Shapes},
        },
        *,
    };
    use crate::types::{Metadata, PartitionId, Version};

    #[test]
    fn an_id_is_in_one_slot() {
        let mut rows = Rows::new(1, 0);
        let metadata = Shapes::new().pack(&Metadata::new(json!({})).unwrap());
        let ids: Vec<String> = (0..3_000).map(|n| (n % 1_000).to_string()).collect();
        let metadata = Packed { shape: &metadata.0, values: &metadata.1 };
        let row = |id| Row { id, partition: PartitionId(0), version: Version::default(), metadata };
        rows.append(ids.iter().map(|id| (row(id), None)));
        let mut slots = Slots::new();
        for slot in 0..3_000 {
            assert_eq!(slots.put(&rows, slot), slot.checked_sub(1_000));
            assert_eq!(slots.get(&rows, rows.id(slot)), Some(slot));
        }
        assert!(slots.bytes() < 16 << 10);
        assert_eq!((slots.remove(&rows, "7"), slots.remove(&rows, "7")), (Some(2_007), None));
        assert_eq!(slots.get(&rows, "7"), None);
        slots.renumber(&rows, |slot| slot - 1_000);
        assert_eq!(slots.remove(&rows, "8"), Some(1_008));
        slots.retain(|slot| slot % 1_000 < 10);
        slots.renumber(&rows, |slot| slot);
        assert!(slots.bytes() < 1 << 10);
        assert_eq!((slots.remove(&rows, "9"), slots.remove(&rows, "10")), (Some(1_009), None));
    }
}
