//! Reads numpy arrays: `.npy` of little-endian f16, f32 and i32, one or two dimensions, C order;
//! and `.npz` whose members are stored without compression, as `numpy.savez` writes them.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use half::f16;

/// Rows of equal length, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix<T> {
    /// Components per row.
    pub columns: usize,
    /// All rows.
    pub data: Vec<T>,
}

impl<T> Matrix<T> {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.data.len().checked_div(self.columns).unwrap_or(0)
    }

    /// One row.
    pub fn row(&self, index: usize) -> &[T] {
        &self.data[index * self.columns..(index + 1) * self.columns]
    }

    /// Keeps the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        self.data.truncate(rows * self.columns);
    }
}

/// Reads f16 or f32 as f32.
///
/// # Errors
/// When the file is absent, damaged, or of another type.
pub fn read_f32(path: &Path) -> Result<Matrix<f32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    parse_f32(&bytes).with_context(|| path.display().to_string())
}

/// Reads i32.
///
/// # Errors
/// When the file is absent, damaged, or of another type.
pub fn read_i32(path: &Path) -> Result<Matrix<i32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    parse_i32(&bytes).with_context(|| path.display().to_string())
}

/// Reads one i32 member of an `.npz`.
///
/// # Errors
/// When the file or the member is absent, damaged, compressed, or of another type.
pub fn read_npz_i32(path: &Path, member: &str) -> Result<Matrix<i32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let inner = npz_member(&bytes, &format!("{member}.npy")).with_context(|| path.display().to_string())?;
    parse_i32(inner).with_context(|| format!("{member} in {}", path.display()))
}

/// Writes f32 rows as an `.npy` of version 1.
///
/// # Errors
/// When the file cannot be written.
pub fn write_f32(path: &Path, matrix: &Matrix<f32>) -> Result<()> {
    let shape = format!("({}, {})", matrix.rows(), matrix.columns);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend(u16::try_from(header.len())?.to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(matrix.data.iter().flat_map(|x| x.to_le_bytes()));
    fs::write(path, out).with_context(|| path.display().to_string())
}

fn parse_f32(bytes: &[u8]) -> Result<Matrix<f32>> {
    let array = Array::parse(bytes)?;
    let data: Vec<f32> = match array.descr.as_str() {
        "<f2" => array.body.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        "<f4" => array.body.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        other => bail!("the element type is {other}, not f16 or f32"),
    };
    array.matrix(data)
}

fn parse_i32(bytes: &[u8]) -> Result<Matrix<i32>> {
    let array = Array::parse(bytes)?;
    ensure!(array.descr == "<i4", "the element type is {}, not i32", array.descr);
    let data = array.body.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    array.matrix(data)
}

struct Array<'a> {
    descr: String,
    rows: usize,
    columns: usize,
    body: &'a [u8],
}

impl<'a> Array<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        ensure!(bytes.len() > 12 && bytes.starts_with(b"\x93NUMPY"), "not an .npy file");
        let (start, length) = match bytes[6] {
            1 => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
            2 | 3 => (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize),
            other => bail!("unknown .npy version {other}"),
        };
        let header = bytes.get(start..start + length).context("the header is cut off")?;
        let header = std::str::from_utf8(header).context("the header is not text")?;
        let descr = between(header, "'descr': '", "'").context("no descr")?.to_owned();
        ensure!(header.contains("'fortran_order': False"), "not in C order");
        let shape = between(header, "'shape': (", ")").context("no shape")?;
        let sizes: Vec<&str> = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
        let (rows, columns) = match sizes.as_slice() {
            [rows, columns] => (rows.parse()?, columns.parse()?),
            [length] => (1, length.parse()?),
            _ => bail!("shape ({shape}) is not of one or two dimensions"),
        };
        Ok(Self { descr, rows, columns, body: &bytes[start + length..] })
    }

    fn matrix<T>(&self, data: Vec<T>) -> Result<Matrix<T>> {
        let wanted = self.rows * self.columns;
        ensure!(data.len() == wanted, "{} elements instead of {wanted}", data.len());
        Ok(Matrix { columns: self.columns, data })
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// Finds a member through the central directory at the end of the archive.
fn npz_member<'a>(zip: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let u16_at = |at: usize| zip.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let u32_at =
        |at: usize| zip.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let end = zip.windows(4).rposition(|w| w == b"PK\x05\x06").context("no end of archive")?;
    let count = u16_at(end + 10).context("cut off")?;
    let mut at = u32_at(end + 16).context("cut off")?;
    for _ in 0..count {
        let method = u16_at(at + 10).context("cut off")?;
        let size = u32_at(at + 24).context("cut off")?;
        let lengths = [u16_at(at + 28), u16_at(at + 30), u16_at(at + 32)];
        let [Some(name_len), Some(extra), Some(comment)] = lengths else { bail!("cut off") };
        let local = u32_at(at + 42).context("cut off")?;
        if zip.get(at + 46..at + 46 + name_len) == Some(name.as_bytes()) {
            ensure!(method == 0, "{name} is compressed");
            let skip = u16_at(local + 26).context("cut off")? + u16_at(local + 28).context("cut off")?;
            let start = local + 30 + skip;
            return zip.get(start..start + size).context("cut off");
        }
        at += 46 + name_len + extra + comment;
    }
    bail!("no member {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        let matrix = Matrix { columns: 3, data: vec![1.0, -2.5, 3.25, 0.0, 1e-9, 7e7] };
        write_f32(&path, &matrix).unwrap();
        assert_eq!(read_f32(&path).unwrap(), matrix);
    }

    #[test]
    fn damaged_files_are_refused() {
        let header =
            b"\x93NUMPY\x01\x00\x40\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }    \n";
        assert!(parse_f32(header).is_err());
        assert!(parse_f32(b"PK").is_err());
        assert!(npz_member(b"PK\x05\x06", "f0.npy").is_err());
    }
}
