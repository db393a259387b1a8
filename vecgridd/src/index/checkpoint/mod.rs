//! The index on disk, so that a start neither reads all rows nor builds a graph.
//!
//! ```text
//! <data>/index/<collection>/checkpoint                 manifest, deaths, graph
//!                           <lineage>-<block>-<rows>   rows of a block, named by the manifest
//! ```
//!
//! What it promises: what [`Store::load`] gives is an index as it was at one moment, with, per
//! partition, the version of the last write that it shows; or a reason why there is none. It never gives
//! anything that is not, byte for byte, what was saved for this very collection in this data directory.
//!
//! How: only the builder changes the graph, so the graph stands still while the builder writes it; rows
//! and deaths are those of a view, which never changes. So nobody waits for a checkpoint, but for rows
//! that would be linked meanwhile: they stay in the tail a bit longer. The file `checkpoint` takes the place
//! of the one before when it and all blocks that it names are on disk, and everything it does not
//! name is removed then. A block's name is made of its rows' lineage (new after each compaction), its
//! number and how many rows it has, which says what is in it; the manifest has a hash of each besides.
//!
//! Whether what was loaded is level with the rows is not decided here: see `partition/level.rs`.
//!
//! A collection with its vectors on disk has each block in a file as soon as it is full, and reads vectors
//! and texts there from then on ([`Store::move_block`]); checkpoints name the same files.
//!
//! What it leaves out: graphs of other engines than `native`, whose collections are read from the rows.

mod block;
mod file;
mod map;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use self::file::{Written, sync_folder};
pub(super) use self::{
    block::Block,
    file::{Sections, Writer},
    map::Span,
};
use super::{
    chunk::Chunk,
    engine::{Engine, EngineOptions, RestoreEngine},
    packed::Shapes,
    rows::Rows,
    view::{Shape, View},
};
use crate::types::{CollectionConfig, PartitionId, Version};

/// Counted up when files here mean something else than before.
const FORMAT: u32 = 1;
/// The file that names the others.
const CHECKPOINT: &str = "checkpoint";

/// Why a checkpoint is not used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Its bytes are not those that were written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It was made for another collection or by another version.
    #[error("it was made for something else: {0}")]
    Foreign(String),
    /// It shows writes that the rows do not have: the rows are older, as after a restored backup.
    #[error("it is ahead of the rows: it has {partition} up to {stamp}, the rows end at {applied}")]
    Ahead {
        /// Where.
        partition: PartitionId,
        /// In the index.
        stamp: Version,
        /// In the rows.
        applied: Version,
    },
}

impl Refusal {
    /// For metrics: one of [`REASONS`](Self::REASONS).
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "damaged",
            Self::Foreign(_) => "foreign",
            Self::Ahead { .. } => "ahead",
        }
    }

    /// All reasons.
    pub const REASONS: [&'static str; 3] = ["damaged", "foreign", "ahead"];
}

/// The last write of each partition that an index shows.
pub(super) type Stamps = HashMap<PartitionId, Version>;

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Which collection of which data directory.
    tag: String,
    config: CollectionConfig,
    /// Seconds since 1970, for people.
    made: u64,
    lineage: u64,
    blocks: Vec<BlockName>,
    /// Rows in all blocks together.
    rows: u32,
    stamps: Vec<(u16, u64, u64)>,
    /// How far the graph has come; `None` when there is none.
    linked: Option<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
struct BlockName {
    name: String,
    bytes: u64,
    hash: u64,
}

/// What a checkpoint did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved {
    /// Of all files that it needs, those of earlier ones included.
    pub bytes: u64,
    pub took: Duration,
    pub at: SystemTime,
}

/// An index as it was.
pub(super) struct Loaded {
    pub rows: Rows,
    pub shapes: Shapes,
    /// A word of bits per chunk: dead rows.
    pub dead: Vec<u64>,
    pub stamps: Stamps,
    pub linked: Option<(Arc<dyn Engine>, u32)>,
    pub saved: Saved,
}

/// The folder of one collection's index. Only one thread at a time may have it.
pub(super) struct Store {
    folder: PathBuf,
    tag: String,
    config: CollectionConfig,
    /// Blocks that are on disk.
    written: HashMap<String, Written>,
}

impl Store {
    pub fn new(folder: PathBuf, tag: String, config: CollectionConfig) -> Self {
        Self { folder, tag, config, written: HashMap::new() }
    }

    /// Saves what a view shows. The graph of the view must stand still.
    pub fn save(&mut self, view: &View, stamps: &Stamps) -> io::Result<Saved> {
        let (started, at) = (Instant::now(), SystemTime::now());
        fs::create_dir_all(&self.folder)?;
        let rows = &view.rows;
        let blocks = (0..rows.blocks()).map(|block| self.save_block(rows, block));
        let blocks = blocks.collect::<io::Result<Vec<_>>>()?;
        let mut file = Writer::create(&self.folder.join(CHECKPOINT))?;
        file.section("dead", |out| {
            let mut chunks = (0..rows.chunks()).map(|index| rows.chunk(index));
            chunks.try_for_each(|chunk| {
                let rows = u64::MAX >> (64 - chunk.len());
                out.write_all(&(rows & !chunk.alive(view.at)).to_le_bytes())
            })
        })?;
        let linked = match &view.linked {
            Some(linked) => linked.engine.save(&mut file)?.then_some(linked.until),
            None => None,
        };
        let mut stamps: Vec<_> = stamps.iter().map(|(p, v)| (p.0, v.epoch, v.sequence)).collect();
        stamps.sort_unstable();
        let manifest = Manifest {
            format: FORMAT,
            tag: self.tag.clone(),
            config: self.config.clone(),
            made: at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            lineage: rows.lineage(),
            rows: rows.len(),
            stamps,
            linked,
            blocks: blocks.clone(),
        };
        file.json("manifest", &manifest)?;
        let own = file.finish()?.bytes;
        self.clean(&blocks);
        let bytes = own + blocks.iter().map(|block| block.bytes).sum::<u64>();
        Ok(Saved { bytes, took: started.elapsed(), at })
    }

    /// Writes the first block that is not in a file yet; gives it with vectors and texts in that file.
    pub fn move_block(&mut self, rows: &Rows, block: usize) -> io::Result<Vec<Chunk>> {
        fs::create_dir_all(&self.folder)?;
        let name = self.save_block(rows, block)?.name;
        let mapped = Sections::open(&self.folder.join(name));
        mapped.and_then(|file| block::map(&file, rows.block(block))).map_err(io::Error::other)
    }

    fn save_block(&mut self, rows: &Rows, block: usize) -> io::Result<BlockName> {
        let chunks = rows.block(block);
        let count: usize = chunks.clone().map(|chunk| chunk.len()).sum();
        let name = format!("{:016x}-{block:06}-{count:05}", rows.lineage());
        let written = match self.written.get(&name) {
            Some(written) => *written,
            None => block::write(&self.folder.join(&name), chunks, rows.sealed_fields(block))?,
        };
        self.written.insert(name.clone(), written);
        Ok(BlockName { name, bytes: written.bytes, hash: written.hash })
    }

    /// Removes all files but the checkpoint and the blocks that it names.
    fn clean(&mut self, blocks: &[BlockName]) {
        let named = |name: &str| name == CHECKPOINT || blocks.iter().any(|block| block.name == name);
        self.written.retain(|name, _| named(name));
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            if !file.file_name().to_str().is_some_and(named)
                && let Err(error) = fs::remove_file(file.path())
            {
                tracing::warn!(file = %file.path().display(), %error, "an old part of a checkpoint stays");
            }
        }
    }

    /// The index as it was saved last; `None` when it never was.
    pub fn load(
        &mut self,
        shape: &Shape,
        options: &EngineOptions,
        restore: RestoreEngine,
    ) -> Result<Option<Loaded>, Refusal> {
        let started = Instant::now();
        let path = self.folder.join(CHECKPOINT);
        if !path.exists() {
            return Ok(None);
        }
        let file = Sections::open(&path)?;
        let manifest: Manifest = file.json("manifest")?;
        if manifest.format != FORMAT {
            return Err(Refusal::Foreign(format!("it has format {}, not {FORMAT}", manifest.format)));
        }
        if manifest.tag != self.tag || manifest.config != self.config {
            return Err(Refusal::Foreign(format!("it is of collection {}", manifest.config.name.as_str())));
        }
        let linked = match manifest.linked {
            Some(until) if until <= manifest.rows => Some((restore(options, &file)?, until)),
            Some(_) => return Err(Refusal::Damaged("the graph has more rows than there are".to_owned())),
            None => None,
        };
        let mut shapes = Shapes::new();
        let mut blocks = Vec::with_capacity(manifest.blocks.len());
        for (at, block) in manifest.blocks.iter().enumerate() {
            let sections = Sections::open(&self.folder.join(&block.name))?;
            if sections.hash() != block.hash {
                return Err(Refusal::Damaged(format!("{} is not the one that was saved", block.name)));
            }
            let full = Rows::is_full(manifest.rows, at);
            // Rows of the last block are copied anyway.
            let mapped = shape.mapped || !full;
            blocks.push(block::read(&sections, shape.dimension, &mut shapes, full, mapped)?);
            self.written
                .insert(block.name.clone(), Written { bytes: sections.bytes(), hash: sections.hash() });
        }
        let rows = shape.no_rows().restored(manifest.lineage, blocks);
        let (dead, rest) = file.section("dead").map(|span| words(span.bytes()))?;
        if rows.len() != manifest.rows || dead.len() != rows.chunks() || rest > 0 {
            return Err(Refusal::Damaged("it has more or fewer rows than it says".to_owned()));
        }
        let stamp = |&(partition, epoch, sequence): &(u16, u64, u64)| {
            (PartitionId(partition), Version { epoch, sequence })
        };
        let bytes = file.bytes() + manifest.blocks.iter().map(|block| block.bytes).sum::<u64>();
        Ok(Some(Loaded {
            rows,
            shapes,
            dead,
            stamps: manifest.stamps.iter().map(stamp).collect(),
            linked,
            saved: Saved {
                bytes,
                took: started.elapsed(),
                at: UNIX_EPOCH + Duration::from_secs(manifest.made),
            },
        }))
    }
}

/// Words, and how many bytes are left.
fn words(bytes: &[u8]) -> (Vec<u64>, usize) {
    let (words, rest) = bytes.as_chunks::<8>();
    (words.iter().map(|word| u64::from_le_bytes(*word)).collect(), rest.len())
}

/// Removes the folder of a collection's index. When this returns, it stays away.
pub(super) fn discard(folder: &Path) {
    let removed = match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        tracing::error!(folder = %folder.display(), %error, "a checkpoint cannot be removed: remove it by hand");
    }
}
