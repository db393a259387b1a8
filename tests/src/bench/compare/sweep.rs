//! How fast is an engine at a recall? The same search for everybody, and no interpolation.
//!
//! ```text
//! 1. the grid, upwards, until the highest bound on recall is reached (or the grid ends)
//! 2. between the last ef below a bound and the first one that reaches it: halve, until they are close
//! 3. rounds: each engine in turn, at its smallest ef that reaches each bound; the best round counts
//! ```
//!
//! Step 3 visits all engines in every round, so that a machine which is slow for a minute is slow
//! for all. Steps 1 and 2 together, and step 3, may take two minutes for each engine, so that a
//! very slow one does not hold up the rest; it keeps what it reached. An engine's rate at a bound
//! is the best that was measured at any ef whose recall reaches the bound. Recall at one ef is
//! measured once: a graph that stands still answers alike.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use super::verdict::Figure;

/// Breadths that everybody is measured at, until the highest bound is reached.
pub const GRID: [usize; 20] =
    [10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768];
/// Two breadths this close, relative to the larger, are not told apart any more.
const CLOSE: f64 = 0.04;
/// For each engine: no further measurement begins when so much time was spent.
const BUDGET: Duration = Duration::from_secs(120);

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Queries per second.
    pub qps: f64,
    /// Share of the true neighbours.
    pub recall: f64,
}

/// An engine that can be asked all queries at a breadth.
pub trait Contender {
    /// Who.
    fn name(&self) -> String;

    /// Asks all queries once.
    ///
    /// # Errors
    /// When the engine fails.
    fn measure(&mut self, ef: usize) -> Result<Sample>;
}

/// What was measured of one engine, by breadth: the best rate, and the recall.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curve(pub BTreeMap<usize, Sample>);

impl Curve {
    fn add(&mut self, ef: usize, new: Sample) {
        let known = self.0.entry(ef).or_insert(new);
        known.qps = known.qps.max(new.qps);
    }

    /// The smallest breadth that reaches the bound.
    pub fn breadth(&self, bound: f64) -> Option<usize> {
        self.0.iter().find(|(_, sample)| sample.recall >= bound).map(|(&ef, _)| ef)
    }

    /// The best rate at this recall or a better one.
    pub fn best(&self, bound: f64) -> Option<(usize, Sample)> {
        let reached = self.0.iter().filter(|(_, sample)| sample.recall >= bound);
        reached.map(|(&ef, &sample)| (ef, sample)).max_by(|a, b| a.1.qps.total_cmp(&b.1.qps))
    }

    /// [`Curve::best`] as a figure of the table.
    pub fn figure(&self, bound: f64, of: &str) -> Option<Figure> {
        let (ef, sample) = self.best(bound)?;
        Some(Figure::new(sample.qps, format!("{of} ef={ef} recall={:.4}", sample.recall)))
    }

    /// The breadth to try next for a bound; `None` when it is found closely enough, or cannot be.
    fn halve(&self, bound: f64) -> Option<usize> {
        let high = self.breadth(bound)?;
        let low = self.0.range(..high).next_back().map(|(&ef, _)| ef)?;
        let apart = (high - low) as f64 > (high as f64 * CLOSE).max(1.0);
        apart.then_some(low + (high - low) / 2)
    }
}

/// Steps 1 and 2 for one engine.
///
/// # Errors
/// When the engine fails.
pub fn explore(contender: &mut dyn Contender, bounds: &[f64]) -> Result<Curve> {
    let begun = Instant::now();
    let mut curve = Curve::default();
    let highest = bounds.iter().copied().fold(0.0, f64::max);
    for ef in GRID {
        let sample = contender.measure(ef)?;
        curve.add(ef, sample);
        if sample.recall >= highest || begun.elapsed() > BUDGET {
            break;
        }
    }
    for &bound in bounds {
        while let Some(ef) = curve.halve(bound).filter(|_| begun.elapsed() < BUDGET) {
            curve.add(ef, contender.measure(ef)?);
        }
    }
    Ok(curve)
}

/// Step 3 for all engines, each with its curve. `say` is told who is next.
///
/// # Errors
/// When an engine fails.
pub fn rounds(
    contenders: &mut [(Box<dyn Contender + '_>, Curve)],
    bounds: &[f64],
    count: usize,
    mut say: impl FnMut(&str),
) -> Result<()> {
    let mut spent = vec![Duration::ZERO; contenders.len()];
    for round in 1..=count {
        for ((contender, curve), spent) in contenders.iter_mut().zip(&mut spent) {
            if *spent > BUDGET {
                continue;
            }
            let begun = Instant::now();
            say(&format!("round {round} of {count}: {}", contender.name()));
            let mut breadths: Vec<usize> = bounds.iter().filter_map(|&bound| curve.breadth(bound)).collect();
            breadths.dedup();
            for ef in breadths {
                let sample = contender.measure(ef)?;
                curve.add(ef, sample);
            }
            *spent += begun.elapsed();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reaches recall 1 - 1/ef; slower with ef, and quicker each time.
    struct Fake {
        calls: usize,
    }

    impl Contender for Fake {
        fn name(&self) -> String {
            "fake".into()
        }

        fn measure(&mut self, ef: usize) -> Result<Sample> {
            self.calls += 1;
            Ok(Sample { qps: 1e6 / ef as f64 + self.calls as f64, recall: 1.0 - 1.0 / ef as f64 })
        }
    }

    #[test]
    fn a_bound_is_found_closely_and_never_undercut() {
        let mut fake = Fake { calls: 0 };
        let curve = explore(&mut fake, &[0.95, 0.995]).unwrap();
        // The exact breadths are 20 and 200.
        assert_eq!(curve.breadth(0.95), Some(20));
        let breadth = curve.breadth(0.995).unwrap();
        assert!((200..=208).contains(&breadth), "{breadth}");
        assert!(curve.best(0.995).unwrap().1.recall >= 0.995);
        assert_eq!(curve.best(0.9999), None);
        assert!(fake.calls < GRID.len() + 10);
    }

    #[test]
    fn rounds_keep_the_best_rate() {
        let mut fake = Fake { calls: 0 };
        let curve = explore(&mut fake, &[0.95]).unwrap();
        let before = curve.best(0.95).unwrap();
        let mut all: Vec<(Box<dyn Contender>, Curve)> = vec![(Box::new(fake), curve)];
        rounds(&mut all, &[0.95], 3, |_| ()).unwrap();
        let after = all[0].1.best(0.95).unwrap();
        assert!(after.1.qps > before.1.qps && after.0 == before.0);
    }
}
