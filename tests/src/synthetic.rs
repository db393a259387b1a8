//! Vectors made from an id and a version: a reader can tell from a vector which write it saw.

/// Components of a synthetic vector.
pub const DIMENSION: usize = 16;

/// The vector that version `version` of entry `id` carries: uniform in the cube, so two different
/// writes are far apart.
pub fn vector(id: &str, version: u64) -> Vec<f32> {
    let mut state = id.bytes().fold(version.wrapping_mul(0x9E37_79B9_7F4A_7C15), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23)
    });
    (0..DIMENSION).map(|_| (next(&mut state) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// Vectors of any length from a seed, for benchmarks and loads.
pub fn cloud(seed: u64, rows: usize, columns: usize) -> Vec<Vec<f32>> {
    let mut state = seed ^ 0xD1B5_4A32_D192_ED03;
    let mut row =
        || (0..columns).map(|_| (next(&mut state) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect();
    (0..rows).map(|_| row()).collect()
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_writes_are_equal_and_others_are_far() {
        assert_eq!(vector("a", 1), vector("a", 1));
        let squared: f32 = vector("a", 1).iter().zip(vector("a", 2)).map(|(x, y)| (x - y).powi(2)).sum();
        assert!(squared > 0.5, "{squared}");
        assert!(vector("b", 7).iter().all(|x| (-1.0..=1.0).contains(x)));
    }
}
