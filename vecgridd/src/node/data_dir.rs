//! The folder that holds everything, and who it says we are.

use std::{
    fs::{File, TryLockError},
    io,
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

/// While this file is there, the rest is of no use: a grid that held nothing was given up.
const GIVEN_UP: &str = "given-up";

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
            Ok(()) => {
                let taken = Self { path: path.to_owned(), _lock: lock };
                taken.finish_giving_up().with_context(cannot)?;
                Ok(taken)
            }
            Err(TryLockError::WouldBlock) => bail!(
                "another vecgridd is using the data directory {}: stop it first, or pass another --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(cannot),
        }
    }

    /// Forgets everything: the member that was here has given up its grid, which held nothing. The next start is that
    /// of a fresh member. Whoever is interrupted goes on at the next start: from when the mark is on the disk, nothing
    /// that is here counts any more. All stores must be closed.
    pub fn give_up(&self) -> anyhow::Result<()> {
        let mark = File::create(self.path.join(GIVEN_UP)).and_then(|mark| mark.sync_all());
        mark.and_then(|()| self.sync()).context("cannot mark the data directory as given up")?;
        self.finish_giving_up().context("cannot empty the data directory of a grid that was given up")
    }

    fn finish_giving_up(&self) -> io::Result<()> {
        let mark = self.path.join(GIVEN_UP);
        if !mark.try_exists()? {
            return Ok(());
        }
        for folder in [self.rows(), self.control(), self.index()] {
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.sync()?;
        std::fs::remove_file(mark)?;
        self.sync()
    }

    /// What was made and removed here is so after a power cut.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
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
