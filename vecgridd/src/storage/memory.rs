//! A store in memory, for tests: what was not synced is lost by [`MemoryEngine::crash`].

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::engine::{Batch, Engine, Family, StorageError, Usage, Visit, Write};
use crate::types::PartitionId;

type Families = BTreeMap<Family, BTreeMap<Vec<u8>, Vec<u8>>>;

#[derive(Default)]
struct Inner {
    visible: Families,
    durable: Families,
    fail_syncs: bool,
    /// Syncs do not return.
    slow: bool,
    /// So many wait for that to end.
    waiting: usize,
    /// Nothing more becomes durable.
    powerless: bool,
    commits: u64,
    gets: u64,
}

/// See the module.
pub struct MemoryEngine {
    inner: Mutex<Inner>,
    fast: Condvar,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        let families: Families = [Family::Member, Family::Oplog].map(|f| (f, BTreeMap::new())).into();
        let inner = Inner { visible: families.clone(), durable: families, ..Inner::default() };
        Self { inner: Mutex::new(inner), fast: Condvar::new() }
    }
}

impl MemoryEngine {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A power cut: only what was synced is left.
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.visible = inner.durable.clone();
        inner.powerless = false;
    }

    /// From now until [`MemoryEngine::crash`] nothing more becomes durable, whatever is said about it.
    pub fn cut_power(&self) {
        self.lock().powerless = true;
    }

    /// From now on syncs do not return, or those that wait do.
    pub fn hold_syncs(&self, hold: bool) {
        self.lock().slow = hold;
        self.fast.notify_all();
    }

    /// How many batches were written, empty ones included.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// How many values were asked for.
    pub fn gets(&self) -> u64 {
        self.lock().gets
    }

    /// How many syncs wait.
    pub fn waiting_syncs(&self) -> usize {
        self.lock().waiting
    }

    /// From now on every fsync fails.
    pub fn fail_syncs(&self) {
        self.lock().fail_syncs = true;
    }
}

fn family(families: &Families, family: Family) -> Result<&BTreeMap<Vec<u8>, Vec<u8>>, StorageError> {
    families.get(&family).ok_or_else(|| StorageError::Io(format!("no family {family:?}")))
}

impl Engine for MemoryEngine {
    fn commit(&self, batch: &Batch, sync: bool) -> Result<(), StorageError> {
        let mut inner = self.lock();
        inner.waiting += 1;
        while sync && inner.slow {
            inner = self.fast.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.waiting -= 1;
        if inner.fail_syncs {
            return Err(StorageError::Io("planned fsync failure".into()));
        }
        let mut next = inner.visible.clone();
        for write in &batch.writes {
            let name = match write {
                Write::Put { family, .. }
                | Write::Delete { family, .. }
                | Write::DeleteRange { family, .. } => family,
            };
            let keys = next.get_mut(name).ok_or_else(|| StorageError::Io(format!("no family {name:?}")))?;
            match write {
                Write::Put { key, value, .. } => {
                    keys.insert(key.clone(), value.clone());
                }
                Write::Delete { key, .. } => {
                    keys.remove(key);
                }
                Write::DeleteRange { from, to, .. } => keys.retain(|key, _| key < from || key >= to),
            }
        }
        inner.visible = next;
        inner.commits += 1;
        if sync && !inner.powerless {
            inner.durable = inner.visible.clone();
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.commit(&Batch::default(), true)
    }

    fn get(&self, name: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let mut inner = self.lock();
        inner.gets += 1;
        Ok(family(&inner.visible, name)?.get(key).cloned())
    }

    fn scan(&self, name: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        let keys = family(&self.lock().visible, name)?.clone();
        for (key, value) in keys.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            if let ControlFlow::Break(()) = visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn create_partitions(&self, partitions: &[PartitionId]) -> Result<(), StorageError> {
        let mut inner = self.lock();
        for &partition in partitions {
            inner.visible.entry(Family::Partition(partition)).or_default();
            inner.durable.entry(Family::Partition(partition)).or_default();
        }
        Ok(())
    }

    fn partitions(&self) -> Vec<PartitionId> {
        let hosted = |family: &Family| match family {
            Family::Partition(partition) => Some(*partition),
            Family::Member | Family::Oplog => None,
        };
        self.lock().visible.keys().filter_map(hosted).collect()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}
