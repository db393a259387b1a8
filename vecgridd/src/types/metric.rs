//! What near means.

use serde::{Deserialize, Serialize};

/// How far apart two vectors are. Smaller is nearer, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// `1 - cos(a, b)`, 0 to 2.
    #[default]
    Cosine,
    /// L2 distance.
    Euclidean,
    /// `-(a·b)`.
    Dot,
}
