//! The indexes of this member, one per collection.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{CollectionIndex, IndexError, IndexLimits};
use crate::types::{CollectionConfig, CollectionId};

/// Finds the index of a collection; makes it at the first use.
pub struct Registry {
    limits: IndexLimits,
    indexes: RwLock<HashMap<CollectionId, Arc<CollectionIndex>>>,
}

impl Registry {
    /// No indexes yet; each will have these limits.
    pub fn new(limits: IndexLimits) -> Self {
        Self { limits, indexes: RwLock::default() }
    }

    /// The index of a collection, if it has one yet.
    pub fn get(&self, id: CollectionId) -> Option<Arc<CollectionIndex>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
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
        let index = Arc::new(CollectionIndex::new(config, self.limits.clone())?);
        indexes.insert(id, Arc::clone(&index));
        Ok(index)
    }

    /// Forgets the index of a dropped collection; its memory goes when the last search ends.
    pub fn remove(&self, id: CollectionId) {
        let index = self.indexes.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // Dropped here, outside the lock: it waits for its builder.
        drop(index);
    }
}
