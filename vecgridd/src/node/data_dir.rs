//! The folder that holds everything, and who it says we are.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    storage::{
        Batch, Engine, Family,
        keys::{
            FORMAT_VERSION, OLDEST_FORMAT,
            member::{Identity, format_key, identity_key},
        },
    },
    types::MemberId,
};

/// A data directory that this process alone may use.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if need be, and locks it until this is dropped.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use the data directory {}", path.display());
        std::fs::create_dir_all(path).with_context(cannot)?;
        let lock = File::options().create(true).append(true).open(path.join("LOCK")).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another vecgridd is using the data directory {}: stop it first, or pass another --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(cannot),
        }
    }

    /// Where the row store lives.
    pub fn rows(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// Where the control plane keeps its votes and its log.
    pub fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    /// Where indexes are saved.
    pub fn index(&self) -> PathBuf {
        self.path.join("index")
    }
}

/// Who this directory says we are; a fresh one gets an identity if a grid may be created or found.
pub fn identity(engine: &dyn Engine, may_be_new: bool) -> anyhow::Result<Identity> {
    if let Some(bytes) = engine.get(Family::Member, &format_key())? {
        let found = <[u8; 4]>::try_from(bytes.as_slice()).map(u32::from_be_bytes).unwrap_or(0);
        if !(OLDEST_FORMAT..=FORMAT_VERSION).contains(&found) {
            bail!(
                "the data directory has format {found}, this vecgridd reads formats {OLDEST_FORMAT} to \
                 {FORMAT_VERSION}"
            );
        }
        if found < FORMAT_VERSION {
            // Before anything of the new format is in it: an older daemon would not keep that up to date.
            let mut batch = Batch::default();
            batch.put(Family::Member, format_key(), FORMAT_VERSION.to_be_bytes().to_vec());
            engine.commit(&batch, true)?;
            tracing::info!(from = found, to = FORMAT_VERSION, "the data directory gets a new format");
        }
        let bytes =
            engine.get(Family::Member, &identity_key())?.context("the data directory has no identity")?;
        return serde_json::from_slice(&bytes).context("the identity in the data directory is damaged");
    }
    if !may_be_new {
        bail!(
            "the data directory is empty: pass --bootstrap to create a new grid in it, or --seeds with addresses of \
             members, or --discovery mdns, to join theirs"
        );
    }
    let identity = Identity {
        member: MemberId(uuid::Uuid::new_v4().to_string()),
        store: uuid::Uuid::new_v4().to_string(),
    };
    let mut batch = Batch::default();
    batch.put(Family::Member, format_key(), FORMAT_VERSION.to_be_bytes().to_vec());
    batch.put(Family::Member, identity_key(), serde_json::to_vec(&identity)?);
    engine.commit(&batch, true)?;
    Ok(identity)
}
