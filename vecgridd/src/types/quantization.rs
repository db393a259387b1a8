//! The form of a vector that a graph keeps.

use serde::{Deserialize, Serialize};

/// What the graph keeps of a vector, to walk on. Distances in answers are exact whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// Numbers of 8 bits with a scale per vector, and 1 bit. Of long vectors the upper 4 bits only, since the nearest are ranked
    /// again by full vectors: the same as `int4` today (decision 28).
    #[default]
    Int8,
    /// Of these numbers the upper 4 bits, and 1 bit. Short vectors have all 8.
    Int4,
    /// Floats of 16 bits, 11 of them precision.
    F16,
    /// Floats of 16 bits, 8 of them precision.
    Bf16,
    /// The components themselves.
    None,
}

impl Quantization {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Int8, Self::Int4, Self::F16, Self::Bf16, Self::None];

    /// Its word in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::None => "none",
        }
    }

    /// By its word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
