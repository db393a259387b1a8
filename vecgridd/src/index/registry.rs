//! The indexes of this member, one per collection.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use super::{
    CollectionIndex, IndexError, IndexLimits, Refusal,
    checkpoint::{Store, discard},
    collection_index::{RestoreError, Surroundings},
    donor::{Donor, Elsewhere},
};
use crate::types::{CollectionConfig, CollectionId, VectorPlace};

/// Where indexes are saved.
#[derive(Debug, Clone)]
pub struct IndexFolder {
    /// A folder per collection is made in it.
    pub path: PathBuf,
    /// Names the rows that the indexes are made from: those of other rows are not read.
    pub store: String,
}

/// Finds the index of a collection; makes it at the first use.
pub struct Registry {
    limits: IndexLimits,
    folder: Option<IndexFolder>,
    indexes: RwLock<HashMap<CollectionId, Arc<CollectionIndex>>>,
    loads: RwLock<Loads>,
    donor: Arc<OnceLock<Arc<dyn Donor>>>,
}

/// What became of saved indexes at the start.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    /// Used.
    pub good: u64,
    /// Not used, by reason.
    pub refused: HashMap<&'static str, u64>,
}

impl Registry {
    /// No indexes yet; each will have these limits, and be saved in this folder.
    pub fn new(limits: IndexLimits, folder: Option<IndexFolder>) -> Self {
        let (indexes, loads) = (RwLock::default(), RwLock::default());
        Self { limits, folder, indexes, loads, donor: Arc::default() }
    }

    /// From now on builders may ask other members for links; once.
    pub fn ask_others(&self, donor: Arc<dyn Donor>) {
        let _ = self.donor.set(donor);
    }

    /// The index of a collection, if it has one yet.
    pub fn get(&self, id: CollectionId) -> Option<Arc<CollectionIndex>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All indexes that there are.
    pub fn all(&self) -> Vec<Arc<CollectionIndex>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The index of a collection.
    ///
    /// # Errors
    /// When the operating system gives no thread for its builder.
    pub fn get_or_create(
        &self,
        id: CollectionId,
        config: &CollectionConfig,
    ) -> Result<Arc<CollectionIndex>, IndexError> {
        if let Some(index) = self.get(id) {
            return Ok(index);
        }
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = indexes.get(&id) {
            return Ok(Arc::clone(index));
        }
        let around = self.around(id, self.store(id, config));
        let index = Arc::new(CollectionIndex::within(config, self.limits.clone(), around)?);
        indexes.insert(id, Arc::clone(&index));
        Ok(index)
    }

    /// The index of a collection as it was saved last, if it was, and if `usable` agrees; it may lack
    /// what came later. One that is refused is removed: it might look good after some more writes.
    ///
    /// # Errors
    /// When the operating system gives no thread for its builder.
    pub fn restore(
        &self,
        id: CollectionId,
        config: &CollectionConfig,
        usable: impl FnOnce(&CollectionIndex) -> Result<(), Refusal>,
    ) -> Result<Option<Arc<CollectionIndex>>, IndexError> {
        let store = self.limits.checkpoint_pause.and_then(|_| self.store(id, config));
        let restored = match CollectionIndex::restore(config, self.limits.clone(), self.around(id, store)) {
            Ok(None) => return Ok(None),
            Ok(Some(index)) => usable(&index).map(|()| index),
            Err(RestoreError::Refused(refusal)) => Err(refusal),
            Err(RestoreError::Index(error)) => return Err(error),
        };
        let mut loads = self.loads.write().unwrap_or_else(PoisonError::into_inner);
        match restored {
            Ok(index) => {
                loads.good += 1;
                let index = Arc::new(index);
                let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
                indexes.insert(id, Arc::clone(&index));
                Ok(Some(index))
            }
            Err(refusal) => {
                let collection = config.name.as_str();
                tracing::warn!(collection, %refusal, "the checkpoint is not used: the index is built from the rows");
                *loads.refused.entry(refusal.reason()).or_default() += 1;
                self.discard(id);
                Ok(None)
            }
        }
    }

    /// What became of saved indexes so far.
    pub fn loads(&self) -> Loads {
        self.loads.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes what was saved of collections that are gone; of all of them, when none are to be saved.
    pub fn sweep(&self, exists: impl Fn(CollectionId) -> bool) {
        let Some(folder) = &self.folder else { return };
        let saves = self.limits.checkpoint_pause.is_some();
        for entry in fs::read_dir(&folder.path).into_iter().flatten().flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(CollectionId);
            if let Some(id) = id
                && !(saves && exists(id))
            {
                self.discard(id);
            }
        }
    }

    /// Forgets the index of a dropped collection; its memory goes when the last search ends.
    pub fn remove(&self, id: CollectionId) {
        let index = self.indexes.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // Dropped here, outside the lock: it waits for its builder.
        drop(index);
        self.discard(id);
    }

    /// Saves what changed since it was saved last, and forgets all indexes. When this returns, those that
    /// nobody else holds are on disk, and their builders have ended.
    pub fn close(&self) {
        let indexes = std::mem::take(&mut *self.indexes.write().unwrap_or_else(PoisonError::into_inner));
        indexes.values().for_each(|index| index.save_at_end());
        drop(indexes);
    }

    fn around(&self, id: CollectionId, store: Option<Store>) -> Surroundings {
        Surroundings { store, elsewhere: Some(Elsewhere::new(id, Arc::clone(&self.donor))) }
    }

    fn place(&self, id: CollectionId) -> Option<(PathBuf, &IndexFolder)> {
        self.folder.as_ref().map(|folder| (folder.path.join(id.0.to_string()), folder))
    }

    fn store(&self, id: CollectionId, config: &CollectionConfig) -> Option<Store> {
        if self.limits.checkpoint_pause.is_none() && config.index.vectors == VectorPlace::Memory {
            return None;
        }
        let (path, folder) = self.place(id)?;
        Some(Store::new(path, format!("{}/{}", folder.store, id.0), config.clone()))
    }

    fn discard(&self, id: CollectionId) {
        if let Some((path, _)) = self.place(id) {
            discard(&path);
        }
    }
}
