//! Is an answer right? Judged by distance, in `f64`, from the vectors themselves.
//!
//! Rows at equal distance may stand for each other, so answers are compared by how far their rows
//! are, not by which rows they are. [`TOLERANCE`] covers the rounding of `f32` sums.

use anyhow::{Result, ensure};

use crate::npy::Matrix;

/// How far two distances may be apart and count as equal, relative to their size (but at least
/// this much absolutely).
pub const TOLERANCE: f64 = 5e-6;

/// As in the contract: smaller is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// `1 - cos`.
    Cosine,
    /// L2.
    Euclidean,
    /// `-(a·b)`.
    Dot,
}

impl std::str::FromStr for Metric {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cosine" => Ok(Self::Cosine),
            "euclidean" => Ok(Self::Euclidean),
            "dot" => Ok(Self::Dot),
            other => anyhow::bail!("unknown metric {other}: cosine, euclidean or dot"),
        }
    }
}

impl Metric {
    /// The name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
            Self::Dot => "dot",
        }
    }

    /// The distance of two vectors.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
        let dot: f64 = pairs().map(|(x, y)| x * y).sum();
        match self {
            Self::Dot => -dot,
            Self::Euclidean => pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt(),
            Self::Cosine => {
                let norms: (f64, f64) = pairs().fold((0.0, 0.0), |(p, q), (x, y)| (p + x * x, q + y * y));
                1.0 - dot / (norms.0.sqrt() * norms.1.sqrt())
            }
        }
    }
}

/// One query with its true answer.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// All rows.
    pub base: &'a Matrix<f32>,
    /// How distances are measured.
    pub metric: Metric,
    /// The query.
    pub query: &'a [f32],
    /// The nearest rows, nearest first; negative numbers pad and are ignored.
    pub truth: &'a [i32],
}

impl Judge<'_> {
    /// Distance of a row from the query.
    pub fn distance(&self, row: usize) -> f64 {
        self.metric.distance(self.query, self.base.row(row))
    }

    fn wanted(&self, k: usize) -> Vec<f64> {
        let rows = self.truth.iter().filter_map(|&row| usize::try_from(row).ok());
        rows.take(k).map(|row| self.distance(row)).collect()
    }

    /// Which share of the `k` nearest was found. A row counts when it is no farther than the
    /// farthest of the true ones.
    pub fn recall(&self, k: usize, found: &[usize]) -> f64 {
        let wanted = self.wanted(k);
        let Some(&farthest) = wanted.last() else { return 1.0 };
        let limit = farthest + tolerance(farthest);
        let mut rows = found.to_vec();
        rows.sort_unstable();
        rows.dedup();
        let hits = rows.iter().filter(|&&row| self.distance(row) <= limit).count();
        hits.min(wanted.len()) as f64 / wanted.len() as f64
    }

    /// Is this exactly the answer, up to ties?
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn same(&self, k: usize, found: &[usize]) -> Result<()> {
        let wanted = self.wanted(k);
        ensure!(found.len() == wanted.len(), "{} rows instead of {}", found.len(), wanted.len());
        let mut rows = found.to_vec();
        rows.sort_unstable();
        rows.dedup();
        ensure!(rows.len() == found.len(), "a row appears twice in {found:?}");
        for (rank, (&row, &wanted)) in found.iter().zip(&wanted).enumerate() {
            let distance = self.distance(row);
            let off = (distance - wanted).abs();
            ensure!(
                off <= tolerance(wanted),
                "rank {rank}: row {row} at {distance}, the truth is at {wanted}"
            );
        }
        Ok(())
    }
}

fn tolerance(distance: f64) -> f64 {
    TOLERANCE * distance.abs().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Matrix<f32> {
        Matrix { columns: 2, data: vec![1.0, 0.0, 0.0, 1.0, 0.0, -1.0, -1.0, 0.0] }
    }

    #[test]
    fn ties_stand_for_each_other() {
        let base = base();
        let judge = Judge { base: &base, metric: Metric::Cosine, query: &[1.0, 0.0], truth: &[0, 1, 2, 3] };
        judge.same(2, &[0, 2]).unwrap();
        assert_eq!(judge.recall(2, &[0, 2]), 1.0);
        assert_eq!(judge.recall(2, &[0, 3]), 0.5);
        assert_eq!(judge.recall(2, &[0, 0]), 0.5);
    }

    #[test]
    fn wrong_answers_are_seen() {
        let base = base();
        let judge = Judge { base: &base, metric: Metric::Euclidean, query: &[1.0, 0.0], truth: &[0, 1, -1] };
        judge.same(2, &[0, 3]).unwrap_err();
        judge.same(2, &[1, 0]).unwrap_err();
        judge.same(2, &[0]).unwrap_err();
        judge.same(3, &[0, 1]).unwrap();
        judge.same(2, &[0, 0]).unwrap_err();
    }
}
