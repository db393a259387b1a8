//! Vectors on the wire: little-endian bytes, or packed floats.

use bytes::Bytes;
use vecgrid_proto::v1;

use crate::types::{Invalid, Vector};

const BYTES: usize = size_of::<f32>();

/// The components, unchecked.
///
/// # Errors
/// `invalid_vector` when `data` is no whole number of floats, or when both forms are given.
pub(super) fn decode(vector: v1::Vector) -> Result<Vec<f32>, Invalid> {
    let v1::Vector { data, values } = vector;
    if data.is_empty() {
        return Ok(values);
    }
    if !values.is_empty() {
        return Err(Invalid::new(
            "invalid_vector",
            "vector",
            "a vector has either `data` or `values`, not both",
        ));
    }
    if data.len() % BYTES != 0 {
        let message =
            format!("`data` holds little-endian f32, 4 bytes each: {} bytes are no whole number", data.len());
        return Err(Invalid::new("invalid_vector", "vector/data", message));
    }
    let (floats, _) = data.as_chunks::<BYTES>();
    Ok(floats.iter().map(|&float| f32::from_le_bytes(float)).collect())
}

/// As answers carry it: always `data`.
pub(super) fn encode(vector: &Vector) -> v1::Vector {
    let data: Vec<u8> = vector.as_slice().iter().flat_map(|x| x.to_le_bytes()).collect();
    v1::Vector { data: Bytes::from(data), values: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_values_mean_the_same() {
        let components = vec![1.0_f32, -0.5, f32::MIN_POSITIVE, 3.4e38];
        let wire = encode(&Vector::stored(components.clone()));
        assert_eq!(wire.data.len(), 16);
        assert_eq!(&wire.data[..4], &[0, 0, 0x80, 0x3f]);
        assert_eq!(decode(wire).unwrap(), components);
        let values = v1::Vector { data: Bytes::new(), values: components.clone() };
        assert_eq!(decode(values).unwrap(), components);
    }

    #[test]
    fn half_a_float_is_refused() {
        let wire = v1::Vector { data: Bytes::from_static(&[0; 7]), values: Vec::new() };
        assert_eq!(decode(wire).unwrap_err().code, "invalid_vector");
    }

    #[test]
    fn both_forms_at_once_are_refused() {
        let wire = v1::Vector { data: Bytes::from_static(&[0; 4]), values: vec![1.0] };
        assert_eq!(decode(wire).unwrap_err().code, "invalid_vector");
    }
}
