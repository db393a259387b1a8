//! Rows in memory: dense slots in chunks that never move.
//!
//! ```text
//! Rows ── full blocks ── block ── chunk (64 slots)     shared by every view
//!      ├─ block being filled ──── chunk …              its list is copied when a chunk is full
//!      └─ open chunk                                   copied by every batch that appends
//! ```
//!
//! A [`Rows`] is a value: a clone costs three `Arc`s and sees its own length for ever. Appending
//! copies at most one chunk, and one list of chunks per 64 rows. Nothing that a clone can see
//! changes, but for one thing: a slot dies. Every slot has the number of the operation that killed
//! it, shared by all copies of its chunk, so a view made at operation `n` still sees a row that
//! died at `n + 1`, and never sees both a row and the one that replaced it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::Value;

use crate::types::{EntryId, Metadata, PartitionId, Version};

/// Slots of a chunk: one bit each in a word.
pub(super) const CHUNK: usize = 64;
/// Chunks of a block.
const BLOCK: usize = 256;
/// Of a slot that lives.
const NEVER: u64 = u64::MAX;

/// A row without its vector.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub id: EntryId,
    pub partition: PartitionId,
    pub version: Version,
    pub metadata: Metadata,
}

/// Up to 64 rows.
pub(super) struct Chunk {
    rows: Vec<Row>,
    /// Only of rows that have one, one after the other.
    vectors: Vec<f32>,
    /// A bit per row: it has a vector.
    with_vector: u64,
    /// Per row: the operation that killed it. Shared by the copies of a chunk.
    died: Arc<[AtomicU64; CHUNK]>,
}

impl Chunk {
    fn new() -> Self {
        let died = Arc::new([const { AtomicU64::new(NEVER) }; CHUNK]);
        Self { rows: Vec::new(), vectors: Vec::new(), with_vector: 0, died }
    }

    fn copy(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            vectors: self.vectors.clone(),
            with_vector: self.with_vector,
            died: Arc::clone(&self.died),
        }
    }

    fn push(&mut self, row: Row, vector: Option<&[f32]>) {
        if let Some(vector) = vector {
            self.with_vector |= 1 << self.rows.len();
            self.vectors.extend_from_slice(vector);
        }
        self.rows.push(row);
    }

    /// The row at a place of this chunk.
    pub fn row(&self, at: usize) -> &Row {
        &self.rows[at]
    }

    /// Bits of the rows that have a vector.
    pub fn with_vector(&self) -> u64 {
        self.with_vector
    }

    /// The vector of a row that has one.
    pub fn vector(&self, at: usize, dimension: usize) -> &[f32] {
        let before = (self.with_vector & !(u64::MAX << at)).count_ones() as usize;
        &self.vectors[before * dimension..(before + 1) * dimension]
    }

    /// Bits of the rows that live in a view of operation `now`.
    pub fn alive(&self, now: u64) -> u64 {
        // Relaxed is enough: a view that must see a death was published after it.
        let bit = |(at, died): (usize, &AtomicU64)| u64::from(died.load(Relaxed) > now) << at;
        self.died.iter().take(self.rows.len()).enumerate().map(bit).fold(0, |bits, bit| bits | bit)
    }

    fn is_alive(&self, at: usize, now: u64) -> bool {
        self.died[at].load(Relaxed) > now
    }
}

/// Memory of rows, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowBytes {
    pub vectors: u64,
    pub ids: u64,
    pub metadata: u64,
}

/// All rows of an index, dead ones included.
#[derive(Clone)]
pub(super) struct Rows {
    dimension: usize,
    full: Arc<Vec<Arc<Vec<Arc<Chunk>>>>>,
    filling: Arc<Vec<Arc<Chunk>>>,
    open: Option<Arc<Chunk>>,
    len: u32,
    bytes: RowBytes,
}

impl Rows {
    pub fn new(dimension: usize) -> Self {
        Self {
            dimension,
            full: Arc::default(),
            filling: Arc::default(),
            open: None,
            len: 0,
            bytes: RowBytes::default(),
        }
    }

    /// Slots, dead ones included.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Rows with a vector, dead ones included.
    pub fn vectors(&self) -> u64 {
        self.bytes.vectors / (self.dimension * size_of::<f32>()) as u64
    }

    pub fn bytes(&self) -> RowBytes {
        self.bytes
    }

    /// Chunks, the open one included.
    pub fn chunks(&self) -> usize {
        (self.len as usize).div_ceil(CHUNK)
    }

    pub fn chunk(&self, index: usize) -> &Chunk {
        let (block, at) = (index / BLOCK, index % BLOCK);
        if let Some(block) = self.full.get(block) {
            return &block[at];
        }
        match (self.filling.get(at), &self.open) {
            (Some(chunk), _) => chunk,
            (None, Some(open)) => open,
            (None, None) => unreachable!("chunk {index} of {}", self.chunks()),
        }
    }

    /// The chunk of a slot, and the place in it.
    fn place(&self, slot: u32) -> (&Chunk, usize) {
        let slot = slot as usize;
        (self.chunk(slot / CHUNK), slot % CHUNK)
    }

    pub fn row(&self, slot: u32) -> &Row {
        let (chunk, at) = self.place(slot);
        chunk.row(at)
    }

    pub fn vector(&self, slot: u32) -> Option<&[f32]> {
        let (chunk, at) = self.place(slot);
        (chunk.with_vector >> at & 1 == 1).then(|| chunk.vector(at, self.dimension))
    }

    /// Whether a slot lives in a view of operation `now`.
    pub fn is_alive(&self, slot: u32, now: u64) -> bool {
        let (chunk, at) = self.place(slot);
        chunk.is_alive(at, now)
    }

    /// Whether nothing killed the slot yet, as of this very moment.
    pub fn is_untouched(&self, slot: u32) -> bool {
        // Operations are counted from 0 and never reach the last number.
        self.is_alive(slot, NEVER - 1)
    }

    /// A slot dies for every view from operation `now` on.
    pub fn kill(&self, slot: u32, now: u64) {
        let (chunk, at) = self.place(slot);
        chunk.died[at].store(now, Relaxed);
    }

    /// Adds rows at the end.
    pub fn append<'a>(&mut self, rows: impl Iterator<Item = (Row, Option<&'a [f32]>)>) {
        let mut chunk = match self.open.take() {
            // A chunk that no view holds need not be copied.
            Some(open) => Arc::try_unwrap(open).unwrap_or_else(|shared| shared.copy()),
            None => Chunk::new(),
        };
        for (row, vector) in rows {
            self.bytes.ids += (row.id.as_str().len() + ROW_BYTES) as u64;
            self.bytes.metadata += metadata_bytes(&row.metadata);
            self.bytes.vectors += vector.map_or(0, |vector| size_of_val(vector) as u64);
            chunk.push(row, vector);
            self.len += 1;
            if chunk.rows.len() == CHUNK {
                self.seal(std::mem::replace(&mut chunk, Chunk::new()));
            }
        }
        if !chunk.rows.is_empty() {
            self.open = Some(Arc::new(chunk));
        }
    }

    fn seal(&mut self, mut chunk: Chunk) {
        chunk.rows.shrink_to_fit();
        chunk.vectors.shrink_to_fit();
        let filling = Arc::make_mut(&mut self.filling);
        filling.push(Arc::new(chunk));
        if filling.len() == BLOCK {
            Arc::make_mut(&mut self.full).push(std::mem::take(&mut self.filling));
        }
    }
}

/// The row itself, its place in the map from ids (with the spare room of a hash table), and the
/// head of the allocation of its id.
const ROW_BYTES: usize = size_of::<Row>() + 2 * (size_of::<EntryId>() + 8) + 16;

/// The heap behind metadata: a fair guess, since `BTreeMap` does not tell.
fn metadata_bytes(metadata: &Metadata) -> u64 {
    fn of(value: &Value) -> usize {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(|value| size_of::<Value>() + of(value)).sum(),
            Value::Object(members) => {
                members.iter().map(|(name, value)| ENTRY + name.len() + of(value)).sum()
            }
        }
    }
    /// Key and value in a node that is two thirds full.
    const ENTRY: usize = (size_of::<String>() + size_of::<Value>()) * 3 / 2;
    let members = metadata.fields().iter();
    members.map(|(name, value)| (ENTRY + name.len() + of(value)) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32) -> Row {
        Row {
            id: EntryId::new(&number.to_string()).unwrap(),
            partition: PartitionId(0),
            version: Version::default(),
            metadata: Metadata::default(),
        }
    }

    fn vector(number: u32) -> Option<[f32; 2]> {
        (!number.is_multiple_of(3)).then_some([number as f32, -(number as f32)])
    }

    #[test]
    fn rows_are_found_where_they_were_put_and_old_values_keep_their_length() {
        let count = (BLOCK * CHUNK + 3 * CHUNK + 5) as u32;
        let mut rows = Rows::new(2);
        let mut old = Vec::new();
        while rows.len() < count {
            old.push(rows.clone());
            let batch = rows.len()..count.min(rows.len() + 1 + rows.len() % 97);
            let vectors: Vec<_> = batch.clone().map(vector).collect();
            rows.append(batch.map(row).zip(&vectors).map(|(row, v)| (row, v.as_ref().map(|v| &v[..]))));
        }
        old.push(rows.clone());
        for rows in old {
            for slot in (0..rows.len()).step_by(7) {
                assert_eq!(rows.row(slot).id.as_str(), slot.to_string());
                assert_eq!(rows.vector(slot), vector(slot).as_ref().map(|v| &v[..]));
            }
            let counted: u32 = (0..rows.chunks()).map(|c| rows.chunk(c).alive(0).count_ones()).sum();
            assert_eq!(counted, rows.len());
        }
    }

    #[test]
    fn a_death_reaches_copies_of_the_chunk_and_not_older_views() {
        let mut rows = Rows::new(2);
        rows.append((0..3).map(|n| (row(n), None)));
        let before = rows.clone();
        rows.append((3..5).map(|n| (row(n), None)));
        rows.kill(1, 8);
        for rows in [&before, &rows] {
            assert!(rows.is_alive(1, 7) && !rows.is_alive(1, 8) && !rows.is_untouched(1));
            assert!(rows.is_untouched(0));
        }
        assert_eq!(before.chunk(0).alive(8), 0b101);
        rows.append((5..70).map(|n| (row(n), None)));
        assert_eq!(rows.chunk(0).alive(8), !0b10);
        assert_eq!(rows.chunk(1).alive(8), 0b11_1111);
    }
}
