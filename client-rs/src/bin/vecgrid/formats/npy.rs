//! numpy's `.npy`: a two-dimensional array of f16, f32 or f64, row after row.
//!
//! The header is checked against the length of the file before a row is given out: a download that
//! broke off, or a file of something else, is refused at once.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use half::f16;

const MAGIC: &[u8] = b"\x93NUMPY";
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Type of an element on disk, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F16,
    F32,
    F64,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Reads an array row by row.
#[derive(Debug)]
pub struct NpyReader<R> {
    source: R,
    element: Element,
    rows: u64,
    read: u64,
    buffer: Vec<u8>,
}

impl NpyReader<BufReader<File>> {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            let length = metadata.is_file().then_some(metadata.len());
            Self::new(BufReader::with_capacity(1 << 20, file), length)
        };
        open().with_context(|| path.display().to_string())
    }
}

impl<R: Read> NpyReader<R> {
    /// Reads the header. `length`: bytes of the whole file, when known.
    pub fn new(mut source: R, length: Option<u64>) -> Result<Self> {
        let mut start = [0; 8];
        source.read_exact(&mut start).context("too short for an .npy file")?;
        ensure!(start.starts_with(MAGIC), "not an .npy file");
        let wide = match start[6] {
            1 => false,
            2 | 3 => true,
            version => bail!("version {version} of the .npy format is not known"),
        };
        let mut size = [0; 4];
        let field = if wide { &mut size[..] } else { &mut size[..2] };
        source.read_exact(field).context("the header is cut off")?;
        let before = 8 + if wide { 4 } else { 2 };
        let size = u32::from_le_bytes(size) as usize;
        ensure!(size <= MAX_HEADER_BYTES, "the header claims {size} bytes");
        let mut header = vec![0; size];
        source.read_exact(&mut header).context("the header is cut off")?;
        let header = std::str::from_utf8(&header).context("the header is not text")?;
        let (element, rows, dimension) = parse_header(header)?;
        let row_bytes = dimension.checked_mul(element.bytes()).context("the rows are too long")?;
        let expected =
            rows.checked_mul(row_bytes as u64).and_then(|data| data.checked_add((before + size) as u64));
        let expected = expected.context("the shape is too large")?;
        if let Some(length) = length {
            ensure!(
                length == expected,
                "the header promises {rows} rows of {dimension} and {expected} bytes, the file has {length}"
            );
        }
        ensure!(row_bytes <= 1 << 20, "rows of {dimension} components are longer than any collection takes");
        Ok(Self { source, element, rows, read: 0, buffer: vec![0; row_bytes] })
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The next row; `None` at the end. A double that is too large becomes infinite.
    pub fn next_row(&mut self) -> Result<Option<Vec<f32>>> {
        if self.read == self.rows {
            return Ok(None);
        }
        self.source.read_exact(&mut self.buffer).with_context(|| format!("row {} is cut off", self.read))?;
        self.read += 1;
        let row = match self.element {
            Element::F16 => {
                self.buffer.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
            }
            Element::F32 => {
                self.buffer.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Element::F64 => self
                .buffer
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
                .collect(),
        };
        Ok(Some(row))
    }
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`.
fn parse_header(header: &str) -> Result<(Element, u64, usize)> {
    let descr = value_of(header, "descr")?;
    let element = match descr.trim_matches(['\'', '"']) {
        "<f2" => Element::F16,
        "<f4" => Element::F32,
        "<f8" => Element::F64,
        _ => bail!("elements are {descr}; this reads <f2, <f4 and <f8"),
    };
    match value_of(header, "fortran_order")? {
        "False" => {}
        "True" => bail!("the array is in Fortran order; save it with numpy.ascontiguousarray"),
        other => bail!("fortran_order is {other}"),
    }
    let shape = value_of(header, "shape")?;
    let inner = shape.strip_prefix('(').and_then(|s| s.strip_suffix(')')).context("the shape is no tuple")?;
    let sizes: Vec<u64> = inner
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().with_context(|| format!("the shape is {shape}")))
        .collect::<Result<_>>()?;
    match sizes[..] {
        [rows, dimension] => Ok((element, rows, usize::try_from(dimension)?)),
        _ => bail!("the shape is {shape}; this reads arrays of two dimensions, (rows, components)"),
    }
}

/// The text of one value of the header's dictionary.
fn value_of<'a>(header: &'a str, key: &str) -> Result<&'a str> {
    let missing = || format!("the header has no `{key}`");
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let after = quoted.iter().find_map(|key| header.split_once(key.as_str())).with_context(missing)?.1;
    let value = after.trim_start().strip_prefix(':').with_context(missing)?.trim_start();
    // A tuple ends at its bracket, everything else at the comma.
    let end = if value.starts_with('(') { value.find(')').map(|at| at + 1) } else { value.find([',', '}']) };
    Ok(value[..end.with_context(missing)?].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = [MAGIC, &[version, 0]].concat();
        let size = header.len() as u32;
        file.extend(if version == 1 {
            size.to_le_bytes()[..2].to_vec()
        } else {
            size.to_le_bytes().to_vec()
        });
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    fn read(file: &[u8]) -> Result<Vec<Vec<f32>>> {
        let mut reader = NpyReader::new(file, Some(file.len() as u64))?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row);
        }
        assert_eq!(rows.len() as u64, reader.rows());
        Ok(rows)
    }

    fn refusal(file: &[u8]) -> String {
        format!("{:#}", read(file).unwrap_err())
    }

    #[test]
    fn all_three_widths_and_both_header_versions_are_read() {
        let want = vec![vec![1.5, -2.0], vec![0.25, 65504.0]];
        let flat = || want.iter().flatten().copied();
        let f16s: Vec<u8> = flat().flat_map(|x| f16::from_f32(x).to_le_bytes()).collect();
        let f32s: Vec<u8> = flat().flat_map(f32::to_le_bytes).collect();
        let f64s: Vec<u8> = flat().flat_map(|x| f64::from(x).to_le_bytes()).collect();
        for version in [1, 2, 3] {
            assert_eq!(read(&file(version, &header("<f2", "(2, 2)"), &f16s)).unwrap(), want);
            assert_eq!(read(&file(version, &header("<f4", "(2, 2)"), &f32s)).unwrap(), want);
            assert_eq!(read(&file(version, &header("<f8", "(2,2)"), &f64s)).unwrap(), want);
        }
        let other_order = "{\"shape\": (1, 2), \"fortran_order\": False, \"descr\": \"<f4\"}";
        assert_eq!(read(&file(1, other_order, &f32s[..8])).unwrap(), want[..1]);
        assert!(read(&file(1, &header("<f4", "(0, 7)"), &[])).unwrap().is_empty());
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = file(1, &header("<f4", "(2, 2)"), &[0; 16]);
        read(&whole).unwrap();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
            // A pipe has no length: then the row that is cut off is noticed.
            let cut = &whole[..length];
            let rows = NpyReader::new(cut, None).and_then(|mut reader| {
                while reader.next_row()?.is_some() {}
                Ok(())
            });
            assert!(rows.is_err(), "{length} bytes of a pipe");
        }
        let mut long = whole;
        long.push(0);
        assert!(refusal(&long).contains("promises"));
    }

    #[test]
    fn garbage_is_refused_with_a_reason() {
        assert!(refusal(b"PK\x03\x04 not numpy at all").contains("not an .npy file"));
        assert!(refusal(&file(9, &header("<f4", "(1, 1)"), &[0; 4])).contains("version 9"));
        assert!(refusal(&file(1, &header("<i8", "(1, 1)"), &[0; 8])).contains("<i8"));
        assert!(refusal(&file(1, &header(">f4", "(1, 1)"), &[0; 4])).contains(">f4"));
        assert!(refusal(&file(1, &header("<f4", "(1,)"), &[0; 4])).contains("two dimensions"));
        assert!(refusal(&file(1, &header("<f4", "(1, 1, 1)"), &[0; 4])).contains("two dimensions"));
        assert!(refusal(&file(1, &header("<f4", "(x, 1)"), &[0; 4])).contains("shape"));
        assert!(refusal(&file(1, &header("<f4", "(-1, 4)"), &[0; 4])).contains("shape"));
        let huge = format!("({}, {})", u64::MAX, u32::MAX);
        assert!(refusal(&file(1, &header("<f8", &huge), &[])).contains("too large"));
        assert!(refusal(&file(2, "{}", &[])).contains("descr"));
        assert!(refusal(&file(1, "{'descr'", &[])).contains("descr"));
        let fortran = header("<f4", "(1, 1)").replace("False", "True");
        assert!(refusal(&file(1, &fortran, &[0; 4])).contains("Fortran"));
        let mut claims = [MAGIC, &[2, 0]].concat();
        claims.extend(u32::MAX.to_le_bytes());
        assert!(refusal(&claims).contains("claims"));
    }
}
