//! Rows in memory: dense slots in chunks that never move.
//!
//! ```text
//! Rows ── full blocks ── block ── chunk (64 slots)     shared by every view; see `full_block`
//!      ├─ block being filled ──── chunk …              its list is copied when a chunk is full
//!      └─ open chunk                                   copied by every batch that appends
//! ```
//!
//! A [`Rows`] is a value: a clone costs some `Arc`s and sees its own length for ever. Appending
//! copies at most one chunk, and one list of chunks per 64 rows. Nothing that a clone can see
//! changes, but for one thing: a slot dies. Every slot has the number of the operation that killed
//! it, shared by all copies of its chunk, so a view made at operation `n` still sees a row that
//! died at `n + 1`, and never sees both a row and the one that replaced it.
//!
//! Beside the rows are the indexes of their metadata, a segment per block; see `fields`, and `selections` for what
//! they answered.

use std::{
    hash::{BuildHasher, RandomState},
    slice,
    sync::Arc,
};

use super::{
    checkpoint::Block,
    chunk::{CHUNK, Chunk, Row, RowBytes, Vectors},
    distance::prefetch,
    fields::{Fields, Found, PLACES, SealedFields, Texts},
    full_block::FullBlock,
    packed::Parsed,
    region::Region,
    selections::Selections,
};
use crate::types::Filter;

/// Chunks of a block.
pub(super) const BLOCK: usize = PLACES / CHUNK;

/// All rows of an index, dead ones included.
#[derive(Clone)]
pub(super) struct Rows {
    dimension: usize,
    /// These slots, and no others, got their numbers together.
    lineage: u64,
    full: Arc<Vec<Arc<FullBlock>>>,
    /// So many full blocks are in mapped files.
    mapped: usize,
    filling: Arc<Vec<Arc<Chunk>>>,
    /// For the vectors of the block that is being filled.
    region: Option<Arc<Region>>,
    open: Option<Arc<Chunk>>,
    len: u32,
    /// Of all chunks but the open one.
    bytes: RowBytes,
    fields: Fields,
    selections: Arc<Selections>,
}

impl Rows {
    /// No rows yet; `field_bytes` per row is what indexes of metadata may take.
    pub fn new(dimension: usize, field_bytes: usize) -> Self {
        Self {
            dimension,
            lineage: RandomState::new().hash_one(0),
            full: Arc::default(),
            mapped: 0,
            filling: Arc::default(),
            region: None,
            open: None,
            len: 0,
            bytes: RowBytes::default(),
            fields: Fields::new(field_bytes),
            selections: Arc::default(),
        }
    }

    /// Slots, dead ones included.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Rows with a vector, dead ones included.
    pub fn points(&self) -> u64 {
        self.bytes().points
    }

    pub fn bytes(&self) -> RowBytes {
        self.bytes.plus(self.open.as_ref().map(|chunk| chunk.bytes()).unwrap_or_default())
    }

    /// Memory of the indexes of metadata.
    pub fn field_bytes(&self) -> u64 {
        self.fields.bytes()
    }

    /// What filters chose of full blocks.
    pub fn selections(&self) -> &Selections {
        &self.selections
    }

    /// Blocks that are full.
    pub fn full_blocks(&self) -> usize {
        self.full.len()
    }

    /// Chunks, the open one included.
    pub fn chunks(&self) -> usize {
        (self.len as usize).div_ceil(CHUNK)
    }

    pub fn chunk(&self, index: usize) -> &Chunk {
        let (block, at) = (index / BLOCK, index % BLOCK);
        if let Some(block) = self.full.get(block) {
            return &block.chunks()[at];
        }
        match (self.filling.get(at), &self.open) {
            (Some(chunk), _) => chunk,
            (None, Some(open)) => open,
            (None, None) => unreachable!("chunk {index} of {}", self.chunks()),
        }
    }

    /// What tells these slots from those before and after a compaction.
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// Blocks, the one that is being filled included.
    pub fn blocks(&self) -> usize {
        (self.len as usize).div_ceil(PLACES)
    }

    /// Whether a block is full where there are so many rows.
    pub fn is_full(rows: u32, block: usize) -> bool {
        (block + 1) * PLACES <= rows as usize
    }

    /// The chunks of a block.
    pub fn block(&self, block: usize) -> impl Iterator<Item = &Chunk> + Clone {
        let end = self.chunks().min((block + 1) * BLOCK);
        (block * BLOCK..end).map(|index| self.chunk(index))
    }

    /// The indexes of metadata of a full block.
    pub fn sealed_fields(&self, block: usize) -> Option<&SealedFields> {
        Self::is_full(self.len, block).then(|| self.fields.sealed(block)).flatten()
    }

    /// The first full block whose vectors are in memory.
    pub fn first_unmapped(&self) -> Option<usize> {
        (self.mapped < self.full.len()).then_some(self.mapped)
    }

    /// The first full block whose vectors are in memory has the same rows elsewhere from now on.
    pub fn map(&mut self, chunks: Vec<Chunk>) {
        let block = self.mapped;
        let more = chunks.iter().map(Chunk::bytes).fold(self.bytes, RowBytes::plus);
        let less = self.block(block).map(Chunk::bytes).fold(RowBytes::default(), RowBytes::plus);
        self.bytes = more.minus(less);
        if let Some(full) = Arc::make_mut(&mut self.full).get_mut(block) {
            *full = Arc::new(full.moved(chunks.into_iter().map(Arc::new).collect()));
            self.mapped += 1;
        }
    }

    /// The rows of these blocks, all full but for the last, instead of none.
    pub fn restored(self, lineage: u64, blocks: Vec<Block>) -> Self {
        let mut this = Self { lineage, ..self };
        let (mut full, mut fields, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for block in blocks {
            match block.fields {
                Some(sealed) => {
                    this.len += block.chunks.iter().map(|chunk| chunk.len() as u32).sum::<u32>();
                    let bytes = block.chunks.iter().map(Chunk::bytes);
                    this.bytes = bytes.fold(this.bytes, RowBytes::plus);
                    this.mapped += usize::from(block.chunks.iter().all(Chunk::is_mapped));
                    full.push(Arc::new(FullBlock::new(block.chunks.into_iter().map(Arc::new).collect())));
                    fields.push(sealed);
                }
                None => rest.extend(block.chunks),
            }
        }
        this.full = Arc::new(full);
        this.fields = this.fields.restored(fields);
        let dimension = this.dimension;
        let rest = rest.iter().flat_map(|chunk| {
            (0..chunk.len()).map(move |at| {
                let vector = chunk.with_vector() >> at & 1 == 1;
                (chunk.row(at), vector.then(|| chunk.vector(at, dimension)))
            })
        });
        this.append(rest);
        this
    }

    /// The chunk of a slot, and the place in it.
    fn place(&self, slot: u32) -> (&Chunk, usize) {
        let slot = slot as usize;
        (self.chunk(slot / CHUNK), slot % CHUNK)
    }

    pub fn row(&self, slot: u32) -> Row<'_> {
        let (chunk, at) = self.place(slot);
        chunk.row(at)
    }

    /// An id is behind three reads that wait for each other: asks for the first, the chunk of a slot, …
    #[inline]
    pub fn prefetch_chunk(&self, slot: u32) {
        prefetch(slice::from_ref(self.chunk(slot as usize / CHUNK)));
    }

    /// … and for the second.
    #[inline]
    pub fn prefetch_head(&self, slot: u32) {
        let (chunk, at) = self.place(slot);
        prefetch(&chunk.heads()[at..=at]);
    }

    pub fn id(&self, slot: u32) -> &str {
        let (chunk, at) = self.place(slot);
        chunk.id(at)
    }

    /// Of every vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    pub fn vector(&self, slot: u32) -> Option<&[f32]> {
        let block = self.full.get(slot as usize / PLACES);
        if let Some(vector) = block.and_then(|block| block.vector(slot as usize % PLACES, self.dimension)) {
            return Some(vector);
        }
        let (chunk, at) = self.place(slot);
        (chunk.with_vector() >> at & 1 == 1).then(|| chunk.vector(at, self.dimension))
    }

    /// Bits of the rows of a chunk that live in a view of operation `now`.
    #[inline]
    pub fn alive(&self, chunk: usize, now: u64) -> u64 {
        match self.full.get(chunk / BLOCK) {
            Some(block) => block.alive(chunk % BLOCK, now),
            None => self.chunk(chunk).alive(now),
        }
    }

    /// Bits of the rows of a chunk that have a vector.
    #[inline]
    pub fn with_vector(&self, chunk: usize) -> u64 {
        match self.full.get(chunk / BLOCK) {
            Some(block) => block.with_vector(chunk % BLOCK),
            None => self.chunk(chunk).with_vector(),
        }
    }

    /// Whether a slot lives in a view of operation `now`.
    pub fn is_alive(&self, slot: u32, now: u64) -> bool {
        let (chunk, at) = (slot as usize / CHUNK, slot as usize % CHUNK);
        match self.full.get(chunk / BLOCK) {
            Some(block) => block.is_alive(chunk % BLOCK, at, now),
            None => self.chunk(chunk).is_alive(at, now),
        }
    }

    /// Whether nothing killed the slot yet, as of this very moment.
    pub fn is_untouched(&self, slot: u32) -> bool {
        // Operations are counted from 0 and never reach the last number.
        self.is_alive(slot, u64::MAX - 1)
    }

    /// A slot dies for every view from operation `now` on.
    pub fn kill(&self, slot: u32, now: u64) {
        let (chunk, at) = (slot as usize / CHUNK, slot as usize % CHUNK);
        match self.full.get(chunk / BLOCK) {
            Some(block) => block.kill(chunk % BLOCK, at, now),
            None => self.chunk(chunk).kill(at, now),
        }
    }

    /// Which rows of a block match; what is behind the last row says nothing.
    pub fn select(&self, block: usize, filter: &Filter) -> Found {
        self.fields.select(block, filter, &self.texts(block))
    }

    /// The strings of a block.
    pub fn texts(&self, block: usize) -> BlockTexts<'_> {
        BlockTexts { rows: self, block }
    }

    /// Adds rows at the end.
    pub fn append<'a>(&mut self, rows: impl Iterator<Item = (Row<'a>, Option<&'a [f32]>)>) {
        // A chunk that no view holds need not be copied.
        let open = self.open.take();
        let mut open = open.map(|open| Arc::try_unwrap(open).unwrap_or_else(|shared| shared.copy()));
        let mut indexed = open.as_ref().map_or(0, Chunk::len);
        for (row, vector) in rows {
            let mut chunk = match open.take() {
                Some(chunk) => chunk,
                None => self.new_chunk(),
            };
            chunk.push(row, vector);
            self.len += 1;
            if chunk.len() == CHUNK {
                self.index(&chunk, indexed);
                indexed = 0;
                self.seal(chunk);
            } else {
                open = Some(chunk);
            }
        }
        if let Some(chunk) = open {
            self.index(&chunk, indexed);
            self.open = Some(Arc::new(chunk));
        }
    }

    fn new_chunk(&mut self) -> Chunk {
        if self.filling.is_empty() {
            self.region = Region::new(self.dimension).ok().map(Arc::new);
        }
        // Without address space for a region, one allocation after the other may still succeed.
        Chunk::new(self.region.as_ref().map_or_else(|| Vectors::Own(Vec::new()), Vectors::behind))
    }

    /// Adds the rows of the open chunk, from a place on, to the indexes of metadata.
    fn index(&self, chunk: &Chunk, from: usize) {
        let first = (self.filling.len() * CHUNK + from) as u16;
        self.fields.append(first, (from..chunk.len()).map(|at| chunk.row(at).metadata));
    }

    fn seal(&mut self, mut chunk: Chunk) {
        chunk.seal();
        self.bytes = self.bytes.plus(chunk.bytes());
        let filling = Arc::make_mut(&mut self.filling);
        filling.push(Arc::new(chunk));
        if filling.len() == BLOCK {
            let chunks = std::mem::take(&mut self.filling);
            let chunks = Arc::try_unwrap(chunks).unwrap_or_else(|shared| shared.to_vec());
            Arc::make_mut(&mut self.full).push(Arc::new(FullBlock::new(chunks)));
            self.fields.seal();
        }
    }
}

/// The strings of one block.
pub(super) struct BlockTexts<'a> {
    rows: &'a Rows,
    block: usize,
}

impl Texts for BlockTexts<'_> {
    fn text(&self, field: &str, place: u16) -> Option<String> {
        let row = self.rows.row((self.block * PLACES) as u32 + u32::from(place)).metadata;
        match (row.get(field), field.split_once('.')) {
            (Some(json), _) => string(json),
            (None, Some((first, rest))) => {
                let value: serde_json::Value = serde_json::from_str(row.get(first)?).ok()?;
                let found = rest.split('.').try_fold(&value, |value, part| value.as_object()?.get(part))?;
                found.as_str().map(str::to_owned)
            }
            (None, None) => None,
        }
    }
}

fn string(json: &str) -> Option<String> {
    match Parsed::of(json)? {
        Parsed::Text(text) => Some(text.into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::packed::{Packed, Shapes},
        *,
    };
    use crate::types::{Metadata, PartitionId, Version};

    /// Adds rows with these numbers as ids.
    fn append(rows: &mut Rows, numbers: std::ops::Range<u32>, vector: fn(u32) -> Option<[f32; 2]>) {
        let (shape, values) = Shapes::new().pack(&Metadata::new(json!({"n": 1})).unwrap());
        let metadata = Packed { shape: &shape, values: &values };
        let (partition, version) = (PartitionId(0), Version::default());
        let owned: Vec<_> = numbers.map(|n| (n.to_string(), vector(n))).collect();
        let row = |id| Row { id, partition, version, metadata };
        rows.append(owned.iter().map(|(id, vector)| (row(id), vector.as_ref().map(|v| &v[..]))));
    }

    fn vector(number: u32) -> Option<[f32; 2]> {
        (!number.is_multiple_of(3)).then_some([number as f32, -(number as f32)])
    }

    #[test]
    fn rows_are_found_where_they_were_put_and_old_values_keep_their_length() {
        let count = (BLOCK * CHUNK + 3 * CHUNK + 5) as u32;
        let mut rows = Rows::new(2, 64);
        let mut old = Vec::new();
        while rows.len() < count {
            old.push(rows.clone());
            let batch = rows.len()..count.min(rows.len() + 1 + rows.len() % 97);
            append(&mut rows, batch, vector);
        }
        old.push(rows.clone());
        for rows in old {
            for slot in (0..rows.len()).step_by(7) {
                assert_eq!(rows.id(slot), slot.to_string());
                assert_eq!(rows.vector(slot), vector(slot).as_ref().map(|v| &v[..]));
            }
            let counted: u32 = (0..rows.chunks()).map(|c| rows.alive(c, 0).count_ones()).sum();
            assert_eq!(counted, rows.len());
        }
    }

    #[test]
    fn a_death_reaches_copies_of_the_chunk_and_not_older_views() {
        let mut rows = Rows::new(2, 64);
        append(&mut rows, 0..3, |_| None);
        let before = rows.clone();
        append(&mut rows, 3..5, |_| None);
        rows.kill(1, 8);
        for rows in [&before, &rows] {
            assert!(rows.is_alive(1, 7) && !rows.is_alive(1, 8) && !rows.is_untouched(1));
            assert!(rows.is_untouched(0));
        }
        assert_eq!(before.chunk(0).alive(8), 0b101);
        append(&mut rows, 5..70, |_| None);
        assert_eq!(rows.chunk(0).alive(8), !0b10);
        assert_eq!(rows.chunk(1).alive(8), 0b11_1111);
    }
}
