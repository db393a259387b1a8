//! The database of the control plane, and whose it is.

use std::{ops::ControlFlow, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Entry, LogId};
use crate::storage::{
    Batch, Engine, Family, StorageError,
    keys::{
        control::{CONTROL_FORMAT, Owner, entry_key, open, owner_key, purged_key, seal, snapshot_key},
        member::Identity,
    },
};

/// Why the control plane of this data directory cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not know what this member voted for and agreed to.
    #[error(
        "this member's control store is damaged or lost ({0}). A member must not forget its votes, so it cannot \
         come back under its id. Restore the folder `control` of the data directory as it was when the daemon \
         last ran, or start with an empty --data-dir and --seeds to join as a new member, then remove the old one"
    )]
    Damaged(String),
    /// The database of another member.
    #[error("the folder `control` of the data directory belongs to {0}: do not mix data directories")]
    Foreign(String),
    /// Made by a later version.
    #[error("the control store has format {0}, this vecgridd reads format {CONTROL_FORMAT}: use a newer one")]
    Newer(u32),
    /// The daemon was told to stop before its grid was known.
    #[error("stopped before the other members told what the grid agreed on")]
    Stopped,
    /// It gave everything away and left, or was removed.
    #[error(
        "this member has left its grid for good, and ids are not used again: to join as a new member, start it with an \
         empty --data-dir and --seeds"
    )]
    HasLeft,
    /// It gave up its grid for another one, and was stopped before it had forgotten it.
    #[error("this member has given up its grid, which held nothing, for another one of its name at {0}")]
    Dissolved(String),
    /// The disk, or the database.
    #[error("the control store cannot be used: {0}")]
    Storage(#[from] StorageError),
}

impl StartError {
    /// Why a database could not be opened: damage, or something that can be mended (a full disk, permissions).
    pub fn of_open(error: StorageError) -> Self {
        let text = error.to_string();
        let damage = ["Corruption", "No such file"].iter().any(|sign| text.contains(sign));
        if damage { Self::Damaged(text) } else { Self::Storage(error) }
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct ControlStore {
    pub(super) engine: Arc<dyn Engine>,
}

impl ControlStore {
    /// Over an open database.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine }
    }

    /// Whose it is; `None` when it is empty.
    pub fn owner(&self) -> Result<Option<Owner>, StartError> {
        let damaged = |e: StorageError| StartError::Damaged(e.to_string());
        let Some(bytes) = self.engine.get(Family::Member, &owner_key()).map_err(damaged)? else {
            let mut anything = false;
            self.scan(|_, _| {
                anything = true;
                Ok(ControlFlow::Break(()))
            })?;
            return if anything {
                Err(StartError::Damaged("it has a log but no owner".into()))
            } else {
                Ok(None)
            };
        };
        let owner: Owner = open("the owner of the control store", &bytes).map_err(damaged)?;
        if owner.format > CONTROL_FORMAT { Err(StartError::Newer(owner.format)) } else { Ok(Some(owner)) }
    }

    /// Takes an empty database for a member of a grid.
    pub fn take(&self, identity: &Identity, grid: &str, founder: bool) -> Result<(), StartError> {
        let owner = Owner {
            format: CONTROL_FORMAT,
            member: identity.member.clone(),
            store: identity.store.clone(),
            grid: grid.to_owned(),
            founder,
            incarnation: 0,
        };
        Ok(self.write(&[(owner_key(), seal(&owner)?)])?)
    }

    /// The daemon starts once more: checks everything, and counts the start.
    pub fn start(&self, identity: &Identity) -> Result<Owner, StartError> {
        let Some(mut owner) = self.owner()? else {
            return Err(StartError::Damaged("it is empty".into()));
        };
        if (&owner.member, &owner.store) != (&identity.member, &identity.store) {
            return Err(StartError::Foreign(format!("member {} with disk {}", owner.member, owner.store)));
        }
        self.check()?;
        owner.incarnation += 1;
        self.write(&[(owner_key(), seal(&owner)?)])?;
        Ok(owner)
    }

    /// Reads the whole log: damage is found here, and not when a majority needs this member.
    pub(super) fn check(&self) -> Result<(), StartError> {
        let damaged = |e: StorageError| StartError::Damaged(e.to_string());
        let purged: Option<LogId> = self.read("the purged entry", &purged_key()).map_err(damaged)?;
        let snapshot = self.engine.get(Family::Member, &snapshot_key()).map_err(damaged)?;
        if purged.is_some() && snapshot.is_none() {
            return Err(StartError::Damaged("its log is cut and it has no snapshot".into()));
        }
        let mut next = purged.map_or(0, |id| id.index + 1);
        self.scan(|key, bytes| {
            let entry: Entry = open("an entry of the control log", bytes)?;
            if key != entry_key(next) || entry.log_id.index != next {
                return Err(StorageError::corrupt("the control log", format!("entry {next} is missing")));
            }
            next += 1;
            Ok(ControlFlow::Continue(()))
        })
        .map_err(damaged)
    }

    pub(super) fn scan(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StorageError>,
    ) -> Result<(), StorageError> {
        self.engine.scan(Family::Oplog, &entry_key(0), &entry_key(u64::MAX), &mut visit)
    }

    /// Reads a record.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        what: &str,
        key: &[u8],
    ) -> Result<Option<T>, StorageError> {
        self.engine.get(Family::Member, key)?.map(|bytes| open(what, &bytes)).transpose()
    }

    /// Writes records, and returns when they are on disk.
    pub(super) fn write(&self, records: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        for (key, value) in records {
            batch.put(Family::Member, key.clone(), value.clone());
        }
        self.engine.commit(&batch, true)
    }

    /// Commits on a thread that may wait for the disk.
    pub(super) async fn commit(&self, batch: Batch, sync: bool) -> Result<(), StorageError> {
        let engine = Arc::clone(&self.engine);
        let commit = move || engine.commit(&batch, sync);
        match tokio::task::spawn_blocking(commit).await {
            Ok(result) => result,
            Err(error) => Err(StorageError::Io(error.to_string())),
        }
    }

    /// Puts one record, on a thread that may wait for the disk.
    pub(super) async fn put(
        &self,
        key: Vec<u8>,
        record: &impl Serialize,
        sync: bool,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        batch.put(Family::Member, key, seal(record)?);
        self.commit(batch, sync).await
    }
}
