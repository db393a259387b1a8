//! A fingerprint of a set of rows.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::types::Version;

/// Count and XOR of hashes over `(id, version)`: equal for equal sets of rows in any order, and cheap
/// to keep while rows come and go. Made to find accidents, not forgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Digest {
    /// How many rows.
    pub count: u64,
    /// All their hashes.
    pub hash: u64,
}

impl Digest {
    /// A row comes.
    pub fn add(&mut self, id: &str, version: Version) {
        self.count = self.count.wrapping_add(1);
        self.hash ^= hash(id, version);
    }

    /// A row goes.
    pub fn remove(&mut self, id: &str, version: Version) {
        self.count = self.count.wrapping_sub(1);
        self.hash ^= hash(id, version);
    }
}

/// A number for a row as it is.
pub(super) fn hash(id: &str, version: Version) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&version.epoch.to_le_bytes());
    bytes[8..].copy_from_slice(&version.sequence.to_le_bytes());
    xxh3_64_with_seed(id.as_bytes(), xxh3_64(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_but_ids_and_versions_do() {
        let at = |epoch, sequence| Version { epoch, sequence };
        let of = |rows: &[(&str, Version)]| {
            let mut digest = Digest::default();
            rows.iter().for_each(|(s, v)| digest.add(s, *v));
            digest
        };
        let both = of(&[("a", at(1, 1)), ("b", at(1, 2))]);
        assert_eq!(both, of(&[("b", at(1, 2)), ("a", at(1, 1))]));
        assert_ne!(both, of(&[("a", at(1, 2)), ("b", at(1, 1))]));
        assert_ne!(of(&[("a", at(1, 2))]), of(&[("a", at(2, 1))]));
        let mut again = both;
        again.remove("b", at(1, 2));
        assert_eq!(again, of(&[("a", at(1, 1))]));
    }
}
