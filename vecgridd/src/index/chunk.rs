//! 64 rows, where they lie in memory.
//!
//! While a chunk is being filled each batch may copy it, so its rows' texts are pieces that copies
//! share. A full chunk never changes: its texts become one. Apart from that rows are laid out by
//! what is read together: a scan reads vectors, a selection reads heads, an answer reads texts.

use std::sync::Arc;

use super::{
    deaths::Deaths,
    packed::{HEAP, Packed, Shape},
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
}

impl RowBytes {
    pub fn plus(self, other: Self) -> Self {
        Self {
            vectors: self.vectors + other.vectors,
            ids: self.ids + other.ids,
            metadata: self.metadata + other.metadata,
        }
    }
}

#[derive(Clone, Copy)]
struct Head {
    version: Version,
    /// Of the row's text, in the text of a full chunk.
    end: u32,
    partition: PartitionId,
    /// Bytes of the id, and which shape.
    id_and_shape: u16,
}

impl Head {
    fn id_bytes(self) -> usize {
        usize::from(self.id_and_shape & ((1 << ID_BITS) - 1))
    }

    fn shape(self) -> usize {
        usize::from(self.id_and_shape >> ID_BITS)
    }
}

/// Per row: its id, then its values.
#[derive(Clone)]
enum Texts {
    Pieces(Vec<Arc<str>>),
    Whole(Box<str>),
}

/// Up to 64 rows.
pub(super) struct Chunk {
    heads: Vec<Head>,
    texts: Texts,
    shapes: Vec<Arc<Shape>>,
    /// Only of rows that have one, one after the other.
    vectors: Vec<f32>,
    /// A bit per row: it has a vector.
    with_vector: u64,
    /// Shared by the copies of a chunk.
    deaths: Arc<Deaths>,
}

impl Chunk {
    pub fn new() -> Self {
        Self {
            heads: Vec::new(),
            texts: Texts::Pieces(Vec::new()),
            shapes: Vec::new(),
            vectors: Vec::new(),
            with_vector: 0,
            deaths: Arc::new(Deaths::new()),
        }
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
            self.with_vector |= 1 << self.len();
            self.vectors.extend_from_slice(vector);
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
        self.vectors.shrink_to_fit();
    }

    fn text(&self, at: usize) -> &str {
        match &self.texts {
            Texts::Pieces(pieces) => &pieces[at],
            Texts::Whole(whole) => {
                let start = at.checked_sub(1).map_or(0, |before| self.heads[before].end);
                &whole[start as usize..self.heads[at].end as usize]
            }
        }
    }

    /// The row at a place of this chunk.
    pub fn row(&self, at: usize) -> Row<'_> {
        let head = self.heads[at];
        let (id, values) = self.text(at).split_at(head.id_bytes());
        let metadata = Packed { shape: &self.shapes[head.shape()], values };
        Row { id, partition: head.partition, version: head.version, metadata }
    }

    pub fn id(&self, at: usize) -> &str {
        &self.text(at)[..self.heads[at].id_bytes()]
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
        &self.vectors[before * dimension..(before + 1) * dimension]
    }

    /// Bits of the rows that live in a view of operation `now`.
    pub fn alive(&self, now: u64) -> u64 {
        let all = u64::MAX.checked_shr((CHUNK - self.len()) as u32).unwrap_or(0);
        self.deaths.alive(now) & all
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
        let pieces = match &self.texts {
            Texts::Pieces(pieces) => pieces.capacity() * size_of::<Arc<str>>() + pieces.len() * HEAP,
            Texts::Whole(_) => HEAP,
        };
        let shapes: usize = self.shapes.iter().map(|shape| shape.own_bytes()).sum();
        let rows = size_of::<Self>() + size_of::<Deaths>() + self.heads.capacity() * size_of::<Head>();
        RowBytes {
            vectors: size_of_val(&*self.vectors) as u64,
            // Five pieces of memory: the chunk, the deaths, heads, shapes and vectors.
            ids: (rows + ids + pieces + 5 * HEAP) as u64,
            metadata: (texts - ids + shapes + self.shapes.capacity() * size_of::<Arc<Shape>>()) as u64,
        }
    }
}
