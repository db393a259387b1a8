//! The rows of a block in a file.
//!
//! A full block never changes but for its deaths, which are not in the file: it is written once, and
//! all later checkpoints name it. Rows of the block that is being filled are written anew by each
//! checkpoint, as a block that is not full.
//!
//! | section | what |
//! |---|---|
//! | `layout` | names of shapes; per chunk how much of the rest is its |
//! | `heads` | 24 bytes per row: version, end of its text, partition, bytes of its id, shape |
//! | `texts` | ids and metadata |
//! | `vectors` | f32, in the form they are searched in |
//! | `fields` | the indexes of metadata; only of a full block |

use std::{collections::HashMap, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        chunk::{CHUNK, Chunk, Head, Texts, Vectors},
        fields::SealedFields,
        packed::{Shape, Shapes},
        region::Region,
        rows::BLOCK,
    },
    Refusal,
    file::{Sections, Writer, Written},
    map::{Span, bytes_of},
};

#[derive(Serialize, Deserialize)]
struct Layout {
    /// Names, in order.
    shapes: Vec<Vec<String>>,
    chunks: Vec<ChunkLayout>,
}

#[derive(Serialize, Deserialize)]
struct ChunkLayout {
    rows: u32,
    text_bytes: u32,
    with_vector: u64,
    /// Places in the list of shapes.
    shapes: Vec<u32>,
}

/// Rows of a block.
pub(in super::super) struct Block {
    pub chunks: Vec<Chunk>,
    /// `None` when the block is not full.
    pub fields: Option<SealedFields>,
}

/// Writes a block.
pub(super) fn write<'a>(
    path: &Path,
    chunks: impl Iterator<Item = &'a Chunk> + Clone,
    fields: Option<&SealedFields>,
) -> io::Result<Written> {
    let mut layout = Layout { shapes: Vec::new(), chunks: Vec::new() };
    let mut places = HashMap::new();
    for chunk in chunks.clone() {
        let mut place = |shape: &Arc<Shape>| {
            *places.entry(Arc::as_ptr(shape)).or_insert_with(|| {
                layout.shapes.push(shape.names().map(str::to_owned).collect());
                layout.shapes.len() as u32 - 1
            })
        };
        layout.chunks.push(ChunkLayout {
            rows: chunk.len() as u32,
            text_bytes: chunk.texts().len() as u32,
            with_vector: chunk.with_vector(),
            shapes: chunk.shapes().iter().map(&mut place).collect(),
        });
    }
    let mut file = Writer::create(path)?;
    file.packed("layout", &layout)?;
    file.section("heads", |out| {
        chunks.clone().flat_map(Chunk::heads).try_for_each(|head| out.write_all(&head.to_bytes()))
    })?;
    file.section("texts", |out| chunks.clone().try_for_each(|chunk| out.write_all(&chunk.texts())))?;
    file.section("vectors", |out| {
        chunks.clone().try_for_each(|chunk| out.write_all(bytes_of(chunk.vectors())))
    })?;
    if let Some(fields) = fields {
        file.packed("fields", fields)?;
    }
    file.finish()
}

/// Reads what [`write`] wrote. With `mapped`, vectors and texts stay in the file.
pub(super) fn read(
    file: &Sections,
    dimension: usize,
    shapes: &mut Shapes,
    full: bool,
    mapped: bool,
) -> Result<Block, Refusal> {
    let layout: Layout = file.packed("layout")?;
    let shapes: Vec<_> =
        layout.shapes.iter().map(|names| shapes.shape(names.iter().map(String::as_str))).collect();
    let mut heads = Rest(file.section("heads")?, 0);
    let mut texts = Rest(file.section("texts")?, 0);
    let mut vectors = Rest(file.section("vectors")?, 0);
    let region = if mapped { None } else { Region::new(dimension).ok().map(Arc::new) };
    let mut chunks = Vec::with_capacity(layout.chunks.len());
    for chunk in &layout.chunks {
        let unfit = || Refusal::Damaged("the parts of a chunk do not fit each other".to_owned());
        let stored = heads.take(chunk.rows as usize * Head::BYTES).ok_or_else(unfit)?;
        let (stored, _) = stored.bytes().as_chunks::<{ Head::BYTES }>();
        let heads = stored.iter().map(Head::from_bytes).collect();
        let text = texts.take(chunk.text_bytes as usize).ok_or_else(unfit)?;
        let bytes = chunk.with_vector.count_ones() as usize * dimension * size_of::<f32>();
        let vector = vectors.take(bytes).ok_or_else(unfit)?;
        if size_of_val(vector.floats()) != bytes {
            return Err(unfit());
        }
        let (text, vector) = if mapped {
            (Texts::Mapped(text), Vectors::Mapped(vector))
        } else {
            let text = String::from_utf8(text.bytes().to_vec()).map_err(|_| unfit())?;
            let mut own = region.as_ref().map_or_else(|| Vectors::Own(Vec::new()), Vectors::behind);
            let each = vector.floats().chunks_exact(dimension);
            each.enumerate().for_each(|(count, vector)| own.push(count, vector));
            (Texts::Whole(text.into()), own)
        };
        let shape = |at: &u32| shapes.get(*at as usize).cloned();
        let shapes = chunk.shapes.iter().map(shape).collect::<Option<_>>().ok_or_else(unfit)?;
        chunks.push(Chunk::stored(heads, text, shapes, vector, chunk.with_vector).ok_or_else(unfit)?);
    }
    if full && (chunks.len() != BLOCK || chunks.iter().any(|chunk| chunk.len() != CHUNK)) {
        return Err(Refusal::Damaged("a full block is not full".to_owned()));
    }
    let fields = if full { Some(file.packed("fields")?) } else { None };
    Ok(Block { chunks, fields })
}

/// The same chunks as were [written](write), with vectors and texts in the file.
pub(super) fn map<'a>(
    file: &Sections,
    chunks: impl Iterator<Item = &'a Chunk>,
) -> Result<Vec<Chunk>, Refusal> {
    let (mut texts, mut vectors) = (Rest(file.section("texts")?, 0), Rest(file.section("vectors")?, 0));
    let moved = chunks.map(|chunk| {
        let text = texts.take(chunk.texts().len())?;
        let vector = vectors.take(size_of_val(chunk.vectors()))?;
        Some(chunk.moved(Texts::Mapped(text), Vectors::Mapped(vector)))
    });
    let moved: Option<_> = moved.collect();
    moved.ok_or_else(|| Refusal::Damaged("the file is shorter than what was written".to_owned()))
}

/// What is left of a section.
struct Rest(Span, usize);

impl Rest {
    fn take(&mut self, bytes: usize) -> Option<Span> {
        let part = self.0.part(self.1..self.1.checked_add(bytes)?)?;
        self.1 += bytes;
        Some(part)
    }
}
