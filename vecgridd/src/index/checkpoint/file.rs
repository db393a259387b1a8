//! A file of sections, each with a name and a checksum.
//!
//! ```text
//! section ░ section ░ …   ░ table (JSON: name, start, bytes, hash of each) │ its bytes, its hash, mark
//! ```
//!
//! It is written under another name, synced, renamed, and its folder synced: a file with its final
//! name is whole, whenever the power goes. A section is checked when it is opened: nothing of it is
//! given out before its bytes were found to be those that were written. Bytes between sections say
//! nothing.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Refusal, map::Span};

/// Ends every file; also tells a machine of the other byte order, and an older or newer layout.
const MARK: u64 = u64::from_ne_bytes(*b"vgindex1");
/// Sections start at multiples of this.
const ALIGN: u64 = 64;
/// Bytes behind the table.
const END: usize = 24;
/// Ending of a file that is being written.
pub(super) const DRAFT: &str = "draft";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Section {
    name: String,
    start: u64,
    bytes: u64,
    hash: u64,
}

/// Writes a file, which appears when it is [finished](Writer::finish).
pub(in super::super) struct Writer {
    out: BufWriter<File>,
    path: PathBuf,
    draft: PathBuf,
    at: u64,
    sections: Vec<Section>,
    hasher: Xxh3,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Written {
    pub bytes: u64,
    /// Of the table, and so of all.
    pub hash: u64,
}

impl Writer {
    pub fn create(path: &Path) -> io::Result<Self> {
        let draft = path.with_extension(DRAFT);
        let file = File::create(&draft)?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, file),
            path: path.to_owned(),
            draft,
            at: 0,
            sections: Vec::new(),
            hasher: Xxh3::new(),
        })
    }

    /// A section with what `fill` writes.
    pub fn section(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let gap = self.at.next_multiple_of(ALIGN) - self.at;
        self.out.write_all(&[0; ALIGN as usize][..gap as usize])?;
        self.at += gap;
        let start = self.at;
        self.hasher.reset();
        fill(self)?;
        let section =
            Section { name: name.to_owned(), start, bytes: self.at - start, hash: self.hasher.digest() };
        self.sections.push(section);
        Ok(())
    }

    /// A section with a value, readable by people.
    pub fn json(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(value)?;
        self.section(name, |out| out.write_all(&bytes))
    }

    /// A section with a value, compact.
    pub fn packed(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
        self.section(name, |out| out.write_all(&bytes))
    }

    /// The file gets its name. When this returns it is on disk.
    pub fn finish(mut self) -> io::Result<Written> {
        let table = serde_json::to_vec(&self.sections)?;
        let hash = xxh3_64(&table);
        self.out.write_all(&table)?;
        for number in [table.len() as u64, hash, MARK] {
            self.out.write_all(&number.to_ne_bytes())?;
        }
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.draft, &self.path)?;
        if let Some(folder) = self.path.parent() {
            sync_folder(folder)?;
        }
        Ok(Written { bytes: self.at + (table.len() + END) as u64, hash })
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Names of a folder are on disk when this returns.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A file to read.
pub(in super::super) struct Sections {
    whole: Span,
    table: Vec<Section>,
    hash: u64,
}

fn damaged(why: impl ToString) -> Refusal {
    Refusal::Damaged(why.to_string())
}

impl Sections {
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let name = path.file_name().unwrap_or_default().display();
        let whole = File::open(path).and_then(|file| Span::of(&file));
        let whole = whole.map_err(|error| damaged(format!("{name}: {error}")))?;
        let short = || damaged(format!("{name} is cut off"));
        let (rest, end) = whole.bytes().split_last_chunk::<END>().ok_or_else(short)?;
        let [bytes, hash, mark] = numbers(end);
        if mark != MARK {
            return Err(damaged(format!("{name} does not end as it should")));
        }
        let start = rest.len().checked_sub(bytes as usize).ok_or_else(short)?;
        let table = &rest[start..];
        if xxh3_64(table) != hash {
            return Err(damaged(format!("the table of {name} is not what was written")));
        }
        let table = serde_json::from_slice(table).map_err(damaged)?;
        Ok(Self { whole, table, hash })
    }

    /// As [`Written::hash`].
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn bytes(&self) -> u64 {
        self.whole.bytes().len() as u64
    }

    /// A section, found to be what was written.
    pub fn section(&self, name: &str) -> Result<Span, Refusal> {
        let section = self.table.iter().find(|section| section.name == name);
        let section = section.ok_or_else(|| damaged(format!("there is no section `{name}`")))?;
        let range = section.start as usize..section.start.saturating_add(section.bytes) as usize;
        let span = self.whole.part(range).ok_or_else(|| damaged(format!("section `{name}` is cut off")))?;
        if xxh3_64(span.bytes()) != section.hash {
            return Err(damaged(format!("section `{name}` is not what was written")));
        }
        Ok(span)
    }

    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Refusal> {
        serde_json::from_slice(self.section(name)?.bytes()).map_err(damaged)
    }

    pub fn packed<T: DeserializeOwned>(&self, name: &str) -> Result<T, Refusal> {
        postcard::from_bytes(self.section(name)?.bytes()).map_err(damaged)
    }
}

fn numbers(end: &[u8; END]) -> [u64; 3] {
    let (parts, _) = end.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(parts[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_and_a_changed_byte_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut writer = Writer::create(&path).unwrap();
        writer.json("json", &[1, 2, 3]).unwrap();
        writer.packed("packed", &("x", 7_u16)).unwrap();
        writer.section("empty", |_| Ok(())).unwrap();
        writer.section("raw", |out| out.write_all(&[9; 100])).unwrap();
        assert!(!path.exists(), "not before it is whole");
        let written = writer.finish().unwrap();
        let read = |bytes: &[u8]| {
            let path = folder.path().join("b");
            fs::write(&path, bytes).unwrap();
            let file = Sections::open(&path)?;
            let json: [u8; 3] = file.json("json")?;
            let packed: (String, u16) = file.packed("packed")?;
            let raw = file.section("raw")?.bytes().to_vec();
            Ok::<_, Refusal>((file.hash(), json, packed, file.section("empty")?.bytes().len(), raw))
        };
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len() as u64, written.bytes);
        let good = (written.hash, [1, 2, 3], ("x".to_owned(), 7), 0, vec![9; 100]);
        assert_eq!(read(&whole).unwrap(), good);
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            // Bytes between sections change nothing.
            assert!(read(&bad).is_err() || read(&bad).unwrap() == good, "byte {at}");
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(Sections::open(&folder.path().join("none")).is_err());
    }
}
