//! In which type the components of a vector are kept, where they are kept in full.
//!
//! Queries are always `f32`: a kernel widens the row's components, which is exact for both half types, and computes
//! in `f32`. So all that a half type loses it loses once, when a row is stored:
//!
//! | | bytes | bits of precision | beyond |
//! |---|---|---|---|
//! | `F32` | 4 | 24 | |
//! | `F16` | 2 | 11 | above 65,504 infinite, below 6e-5 ever coarser |
//! | `Bf16` | 2 | 8 | as far as `f32` |

use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::{Kernels, Sums};

/// The type of kept components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they come.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl Precision {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Of one component.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A kept component.
pub trait Component: Copy + Default + Send + Sync + 'static {
    /// Which one this is.
    const PRECISION: Precision;

    /// The nearest to a number.
    fn of(number: f32) -> Self;

    /// The number, exactly.
    fn to_f32(self) -> f32;

    /// Many numbers, exactly, but for what is no number.
    fn widen(row: &[Self], numbers: &mut Vec<f32>) {
        numbers.clear();
        numbers.extend(row.iter().map(|component| component.to_f32()));
    }

    /// The kernels for rows of this type.
    fn sums(kernels: &Kernels) -> &Sums<Self>;
}

impl Component for f32 {
    const PRECISION: Precision = Precision::F32;

    fn of(number: f32) -> Self {
        number
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    fn sums(kernels: &Kernels) -> &Sums<Self> {
        &kernels.f32
    }

    fn widen(row: &[Self], numbers: &mut Vec<f32>) {
        numbers.clear();
        numbers.extend_from_slice(row);
    }
}

impl Component for f16 {
    const PRECISION: Precision = Precision::F16;

    fn of(number: f32) -> Self {
        Self::from_f32(number)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    fn widen(row: &[Self], numbers: &mut Vec<f32>) {
        // Asks once per row what the processor can do.
        numbers.resize(row.len(), 0.0);
        row.convert_to_f32_slice(numbers);
    }

    fn sums(kernels: &Kernels) -> &Sums<Self> {
        &kernels.f16
    }
}

impl Component for bf16 {
    const PRECISION: Precision = Precision::Bf16;

    fn of(number: f32) -> Self {
        Self::from_f32(number)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    fn widen(row: &[Self], numbers: &mut Vec<f32>) {
        numbers.clear();
        // No branch for what is no number, so that many are widened at once.
        numbers.extend(row.iter().map(|component| f32::from_bits(u32::from(component.to_bits()) << 16)));
    }

    fn sums(kernels: &Kernels) -> &Sums<Self> {
        &kernels.bf16
    }
}
