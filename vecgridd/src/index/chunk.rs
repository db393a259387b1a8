//! 64 rows, where they lie in memory.
//!
//! While a chunk is being filled each batch may copy it, so its rows' texts are pieces that copies
//! share. A full chunk never changes: its texts become one. Apart from that rows are laid out by
//! what is read together: a scan reads vectors, a selection reads heads, an answer reads texts.
//! Vectors are in the region of their block; see `region`. Vectors and texts of a full chunk may lie in a
//! mapped file instead; see `checkpoint/block`.

use std::{borrow::Cow, sync::Arc};

use super::{
    checkpoint::Span,
    deaths::Deaths,
    packed::{HEAP, Packed, Shape},
    region::Region,
};
use crate::types::{PartitionId, Version};

/// Slots of a chunk: one bit each in a word.
pub(super) const CHUNK: usize = 64;
/// Bits for the length of an id; the rest is for one of 64 shapes.
const ID_BITS: u32 = 10;

/// A row without its vector, where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub id: &'a str,
    pub partition: PartitionId,
    pub version: Version,
    pub metadata: Packed<'a>,
}

/// Memory of rows, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RowBytes {
    pub vectors: u64,
    pub ids: u64,
    pub metadata: u64,
    /// Of vectors and texts in mapped files, which is nobody's memory.
    pub mapped: u64,
    /// Rows with a vector, wherever it is.
    pub points: u64,
}

impl RowBytes {
    pub fn plus(self, other: Self) -> Self {
        Self {
            vectors: self.vectors + other.vectors,
            ids: self.ids + other.ids,
            metadata: self.metadata + other.metadata,
            mapped: self.mapped + other.mapped,
            points: self.points + other.points,
        }
    }

    pub fn minus(self, other: Self) -> Self {
        Self {
            vectors: self.vectors - other.vectors,
            ids: self.ids - other.ids,
            metadata: self.metadata - other.metadata,
            mapped: self.mapped - other.mapped,
            points: self.points - other.points,
        }
    }
}

/// What is read of a row most often.
#[derive(Clone, Copy)]
pub(super) struct Head {
    version: Version,
    /// Of the row's text, in the text of a full chunk.
    end: u32,
    partition: PartitionId,
    /// Bytes of the id, and which shape.
    id_and_shape: u16,
}

impl Head {
    /// Bytes of its stored form.
    pub const BYTES: usize = 24;

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.version.epoch.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.version.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.end.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.partition.0.to_le_bytes());
        bytes[22..].copy_from_slice(&self.id_and_shape.to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
        let epoch = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let [a, b, c, d, e, f, g, h, rest @ ..] = rest;
        let sequence = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let [a, b, c, d, e, f, g, h] = rest;
        Self {
            version: Version { epoch, sequence },
            end: u32::from_le_bytes([a, b, c, d]),
            partition: PartitionId(u16::from_le_bytes([e, f])),
            id_and_shape: u16::from_le_bytes([g, h]),
        }
    }

    fn id_bytes(self) -> usize {
        usize::from(self.id_and_shape & ((1 << ID_BITS) - 1))
    }

    fn shape(self) -> usize {
        usize::from(self.id_and_shape >> ID_BITS)
    }
}

/// Per row: its id, then its values.
#[derive(Clone)]
pub(super) enum Texts {
    Pieces(Vec<Arc<str>>),
    Whole(Box<str>),
    Mapped(Span),
}

/// Vectors one after the other.
#[derive(Clone)]
pub(super) enum Vectors {
    /// From this number on in a region.
    Region(Arc<Region>, usize),
    /// Where there is no region.
    Own(Vec<f32>),
    Mapped(Span),
}

impl Vectors {
    /// At the end of a region.
    pub fn behind(region: &Arc<Region>) -> Self {
        Self::Region(Arc::clone(region), region.len())
    }

    /// All of them; there are so many.
    #[inline]
    fn all(&self, count: usize) -> &[f32] {
        match self {
            Self::Region(region, first) => region.get(*first, count),
            Self::Own(own) => own,
            Self::Mapped(span) => span.floats(),
        }
    }

    /// Adds one behind `count` others.
    pub fn push(&mut self, count: usize, vector: &[f32]) {
        match self {
            Self::Region(region, first) if region.push(*first + count, vector) => {}
            Self::Own(own) => own.extend_from_slice(vector),
            // Someone else continued the region, from the same rows; or it never happens: a full chunk.
            other => {
                let mut own = other.all(count).to_vec();
                own.extend_from_slice(vector);
                *other = Self::Own(own);
            }
        }
    }
}

/// Vectors of several full chunks, one after the other, each row with one.
pub(super) enum Side {
    /// From the start of a region.
    Region(Arc<Region>),
    Mapped(Span),
}

impl Side {
    /// `None` when a row has none, or they do not lie side by side.
    pub fn of(chunks: &[Arc<Chunk>]) -> Option<Self> {
        if chunks.iter().any(|chunk| chunk.with_vector != u64::MAX) {
            return None;
        }
        match &chunks.first()?.vectors {
            Vectors::Region(region, 0) => {
                let follows = |(at, chunk): (usize, &Arc<Chunk>)| match &chunk.vectors {
                    Vectors::Region(other, first) => Arc::ptr_eq(region, other) && *first == at * CHUNK,
                    Vectors::Own(_) | Vectors::Mapped(_) => false,
                };
                chunks.iter().enumerate().all(follows).then(|| Self::Region(Arc::clone(region)))
            }
            Vectors::Mapped(first) => {
                let follows = |whole: Span, chunk: &Arc<Chunk>| match &chunk.vectors {
                    Vectors::Mapped(span) => whole.with(span),
                    Vectors::Region(..) | Vectors::Own(_) => None,
                };
                chunks[1..].iter().try_fold(first.clone(), follows).map(Self::Mapped)
            }
            Vectors::Region(..) | Vectors::Own(_) => None,
        }
    }

    /// The vector with this number.
    #[inline]
    pub fn vector(&self, number: usize, dimension: usize) -> &[f32] {
        match self {
            Self::Region(region) => region.get(number, 1),
            Self::Mapped(span) => &span.floats()[number * dimension..(number + 1) * dimension],
        }
    }
}

/// Up to 64 rows.
pub(super) struct Chunk {
    heads: Vec<Head>,
    texts: Texts,
    shapes: Vec<Arc<Shape>>,
    /// Only of rows that have one.
    vectors: Vectors,
    /// A bit per row: it has a vector.
    with_vector: u64,
    /// Shared by the copies of a chunk.
    deaths: Arc<Deaths>,
}

impl Chunk {
    /// No rows yet; their vectors go there.
    pub fn new(vectors: Vectors) -> Self {
        Self {
            heads: Vec::new(),
            texts: Texts::Pieces(Vec::new()),
            shapes: Vec::new(),
            vectors,
            with_vector: 0,
            deaths: Arc::new(Deaths::new()),
        }
    }

    /// A full chunk from its stored parts; `None` when they do not fit each other.
    pub fn stored(
        heads: Vec<Head>,
        texts: Texts,
        shapes: Vec<Arc<Shape>>,
        vectors: Vectors,
        with_vector: u64,
    ) -> Option<Self> {
        let chunk = Self { heads, texts, shapes, with_vector, ..Self::new(vectors) };
        let whole = match &chunk.texts {
            Texts::Pieces(_) => return None,
            Texts::Whole(whole) => &**whole,
            Texts::Mapped(span) => std::str::from_utf8(span.bytes()).ok()?,
        };
        let mut start = 0;
        for head in &chunk.heads {
            whole.get(start..head.end as usize)?.get(head.id_bytes()..)?;
            start = head.end as usize;
            chunk.shapes.get(head.shape())?;
        }
        (start == whole.len() && chunk.len() <= CHUNK).then_some(chunk)
    }

    /// The same rows, dying together with these, with vectors and texts elsewhere.
    pub fn moved(&self, texts: Texts, vectors: Vectors) -> Self {
        Self { texts, vectors, ..self.copy() }
    }

    pub fn copy(&self) -> Self {
        Self {
            heads: self.heads.clone(),
            texts: self.texts.clone(),
            shapes: self.shapes.clone(),
            vectors: self.vectors.clone(),
            with_vector: self.with_vector,
            deaths: Arc::clone(&self.deaths),
        }
    }

    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Adds a row to a chunk that is not full.
    pub fn push(&mut self, row: Row<'_>, vector: Option<&[f32]>) {
        if let Some(vector) = vector {
            self.vectors.push(self.with_vector.count_ones() as usize, vector);
            self.with_vector |= 1 << self.len();
        }
        let known = self.shapes.iter().position(|shape| Arc::ptr_eq(shape, row.metadata.shape));
        let shape = known.unwrap_or_else(|| {
            self.shapes.push(Arc::clone(row.metadata.shape));
            self.shapes.len() - 1
        });
        let text = [row.id, row.metadata.values].concat();
        self.heads.push(Head {
            version: row.version,
            // Chunks hold 64 times a megabyte at most.
            end: self.heads.last().map_or(0, |head| head.end) + text.len() as u32,
            partition: row.partition,
            id_and_shape: (shape << ID_BITS | row.id.len()) as u16,
        });
        if let Texts::Pieces(pieces) = &mut self.texts {
            pieces.push(text.into());
        }
    }

    /// A full chunk takes its final form.
    pub fn seal(&mut self) {
        if let Texts::Pieces(pieces) = &self.texts {
            self.texts = Texts::Whole(pieces.concat().into());
        }
        self.heads.shrink_to_fit();
        self.shapes.shrink_to_fit();
        if let Vectors::Own(own) = &mut self.vectors {
            own.shrink_to_fit();
        }
    }

    fn text(&self, at: usize) -> &str {
        match &self.texts {
            Texts::Pieces(pieces) => &pieces[at],
            Texts::Whole(whole) => &whole[self.extent(at)],
            // It was checked when it was mapped; should someone have written into the file since, the text
            // is none, and no wild one.
            Texts::Mapped(span) => std::str::from_utf8(&span.bytes()[self.extent(at)]).unwrap_or_default(),
        }
    }

    /// Where a row's text is in that of a full chunk.
    fn extent(&self, at: usize) -> std::ops::Range<usize> {
        let start = at.checked_sub(1).map_or(0, |before| self.heads[before].end);
        start as usize..self.heads[at].end as usize
    }

    /// The texts of all rows, one after the other.
    pub fn texts(&self) -> Cow<'_, [u8]> {
        match &self.texts {
            Texts::Pieces(pieces) => Cow::Owned(pieces.concat().into_bytes()),
            Texts::Whole(whole) => Cow::Borrowed(whole.as_bytes()),
            Texts::Mapped(span) => Cow::Borrowed(span.bytes()),
        }
    }

    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    pub fn shapes(&self) -> &[Arc<Shape>] {
        &self.shapes
    }

    /// The vectors of all rows that have one, one after the other.
    pub fn vectors(&self) -> &[f32] {
        self.vectors.all(self.with_vector.count_ones() as usize)
    }

    pub fn is_mapped(&self) -> bool {
        matches!(self.vectors, Vectors::Mapped(_))
    }

    /// The row at a place of this chunk.
    pub fn row(&self, at: usize) -> Row<'_> {
        let head = self.heads[at];
        let (id, values) = self.text(at).split_at_checked(head.id_bytes()).unwrap_or_default();
        let metadata = Packed { shape: &self.shapes[head.shape()], values };
        Row { id, partition: head.partition, version: head.version, metadata }
    }

    pub fn id(&self, at: usize) -> &str {
        self.text(at).get(..self.heads[at].id_bytes()).unwrap_or_default()
    }

    pub fn partition(&self, at: usize) -> PartitionId {
        self.heads[at].partition
    }

    /// Bits of the rows that have a vector.
    pub fn with_vector(&self) -> u64 {
        self.with_vector
    }

    /// The vector of a row that has one.
    pub fn vector(&self, at: usize, dimension: usize) -> &[f32] {
        let before = (self.with_vector & !(u64::MAX << at)).count_ones() as usize;
        match &self.vectors {
            Vectors::Region(region, first) => region.get(first + before, 1),
            others => &others.all(0)[before * dimension..(before + 1) * dimension],
        }
    }

    /// Bits of the rows that live in a view of operation `now`.
    pub fn alive(&self, now: u64) -> u64 {
        let all = u64::MAX.checked_shr((CHUNK - self.len()) as u32).unwrap_or(0);
        self.deaths.alive(now) & all
    }

    /// Operation of the first death of any.
    pub fn first_death(&self) -> u64 {
        self.deaths.first()
    }

    pub fn is_alive(&self, at: usize, now: u64) -> bool {
        self.deaths.is_alive(at, now)
    }

    /// A row dies for every view from operation `now` on.
    pub fn kill(&self, at: usize, now: u64) {
        self.deaths.kill(at, now);
    }

    /// Memory, the allocator's share included.
    pub fn bytes(&self) -> RowBytes {
        let ids: usize = self.heads.iter().map(|head| head.id_bytes()).sum();
        let texts = self.heads.last().map_or(0, |head| head.end as usize);
        let (own_ids, own_texts, pieces) = match &self.texts {
            Texts::Pieces(pieces) => {
                (ids, texts, pieces.capacity() * size_of::<Arc<str>>() + pieces.len() * HEAP)
            }
            Texts::Whole(_) => (ids, texts, HEAP),
            Texts::Mapped(_) => (0, 0, 0),
        };
        let vectors = size_of_val(self.vectors());
        let own_vectors = if self.is_mapped() { 0 } else { vectors };
        let shapes: usize = self.shapes.iter().map(|shape| shape.own_bytes()).sum();
        let rows = size_of::<Self>() + size_of::<Deaths>() + self.heads.capacity() * size_of::<Head>();
        RowBytes {
            vectors: own_vectors as u64,
            // Four pieces of memory: the chunk, the deaths, heads and shapes.
            ids: (rows + own_ids + pieces + 4 * HEAP) as u64,
            metadata: (own_texts - own_ids + shapes + self.shapes.capacity() * size_of::<Arc<Shape>>())
                as u64,
            mapped: (texts - own_texts + vectors - own_vectors) as u64,
            points: u64::from(self.with_vector.count_ones()),
        }
    }
}
