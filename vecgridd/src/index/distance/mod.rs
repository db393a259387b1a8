//! How far apart two vectors are.
//!
//! Two sums are enough for all metrics: the dot product and the squared L2 distance. Each has one
//! kernel per instruction set and type of components, picked once at run time ([`Kernels::detect`]); a [`Measure`] turns
//! their results into the distances of the public contract. Rows are kept as `f32`; those of half types ([`Precision`])
//! are what a graph keeps of a vector where its collection says so.
//!
//! - Cosine is a dot product: vectors are scaled to length 1 when they are stored.
//! - A kernel scores one row or four rows against a query, with the very same operations per row.
//!   So a row has one distance to a query, to the last bit, whoever computes it, and ties between
//!   equal vectors are real ties.
//! - Floats round, so the order of a sum is part of its result. Each kernel has its order, that a twin in plain Rust
//!   follows (`tests`): the two agree to the last bit. Kernels of different instruction sets have different orders. All
//!   are within `(n / 8 + 20) / 2^24` of the exact sum of `n` terms, against the sum of the terms' sizes.
//! - x86-64 has kernels for AVX-512 and AVX2, 64-bit ARM for NEON (run under emulation only: `tests/kernels`). Others
//!   fall back to the scalar kernel, which compilers turn into whatever vector code the target always has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod measure;
#[cfg(target_arch = "aarch64")]
mod neon;
mod precision;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod safe;
mod scalar;
#[cfg(test)]
mod tests;

use half::{bf16, f16};

pub(crate) use measure::Measure;
pub use precision::{Component, Precision};

/// The kernels of one instruction set.
pub struct Kernels {
    /// Of the instruction set.
    pub name: &'static str,
    /// For rows of `f32`.
    pub f32: Sums<f32>,
    /// For rows of `f16`.
    pub f16: Sums<f16>,
    /// For rows of `bf16`.
    pub bf16: Sums<bf16>,
}

/// The sums over rows of one type. All slices of one call have equal length.
pub struct Sums<T: 'static> {
    /// Dot product.
    pub dot: fn(&[f32], &[T]) -> f32,
    /// Dot products of one query with four rows.
    pub dot_of_four: fn(&[f32], [&[T]; 4]) -> [f32; 4],
    /// Squared L2 distance.
    pub l2: fn(&[f32], &[T]) -> f32,
    /// Squared L2 distances of one query to four rows.
    pub l2_of_four: fn(&[f32], [&[T]; 4]) -> [f32; 4],
}

/// Tells the processor that these, a row for instance, will be read soon.
#[inline]
pub(crate) fn prefetch<T>(items: &[T]) {
    #[cfg(target_arch = "x86_64")]
    avx2::prefetch(items);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = items;
}

impl Kernels {
    /// All that this machine can run, the fastest first.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = [avx512::kernels(), avx2::kernels()];
        #[cfg(target_arch = "aarch64")]
        let wide = [neon::kernels()];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let wide: [Option<&'static Self>; 0] = [];
        wide.into_iter().flatten().chain([&scalar::KERNELS])
    }

    /// The fastest this machine can run.
    pub fn detect() -> &'static Self {
        Self::all().next().unwrap_or(&scalar::KERNELS)
    }
}
