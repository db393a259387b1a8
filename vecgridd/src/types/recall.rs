//! How much of the truth a search should find.

use serde::{Deserialize, Serialize};

use super::Invalid;

/// Steps of one: recall is told apart to four digits.
const STEPS: f64 = 10_000.0;
/// Smallest and largest target, in steps. More than the largest cannot be told from all by the few
/// hundred rows that a collection is measured with: `exact` is for that.
const RANGE: std::ops::RangeInclusive<u16> = 5_000..=9_990;

/// The share of the true nearest entries that searches should find on average, 0.5 to 0.999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct TargetRecall(u16);

impl TargetRecall {
    /// What collections have that name neither a target nor a breadth. Decision 10 has the measurement.
    pub const DEFAULT: Self = Self(9_900);

    /// A target, rounded to four digits.
    ///
    /// # Errors
    /// `invalid_target_recall` outside of 0.5 to 0.999.
    pub fn new(share: f64) -> Result<Self, Invalid> {
        // A NaN becomes 0.
        let steps = (share * STEPS).round() as u16;
        if RANGE.contains(&steps) {
            return Ok(Self(steps));
        }
        let message = format!("target_recall is 0.5 to 0.999, not {share}; `exact` finds everything");
        Err(Invalid::new("invalid_target_recall", "target_recall", message))
    }

    /// The share.
    pub fn share(self) -> f64 {
        f64::from(self.0) / STEPS
    }
}

impl From<TargetRecall> for f64 {
    fn from(target: TargetRecall) -> Self {
        target.share()
    }
}

impl TryFrom<f64> for TargetRecall {
    type Error = Invalid;

    fn try_from(share: f64) -> Result<Self, Invalid> {
        Self::new(share)
    }
}

/// How wide a search walks, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// As wide as told.
    Ef(usize),
    /// As wide as this takes, measured on the collection's own entries.
    Recall(TargetRecall),
}

impl Breadth {
    /// One of both, or none.
    ///
    /// # Errors
    /// `invalid_target_recall` when both are given.
    pub fn of(ef: Option<usize>, target_recall: Option<TargetRecall>) -> Result<Option<Self>, Invalid> {
        match (ef, target_recall) {
            (None, None) => Ok(None),
            (Some(ef), None) => Ok(Some(Self::Ef(ef))),
            (None, Some(target)) => Ok(Some(Self::Recall(target))),
            (Some(_), Some(_)) => {
                let message = "give ef or target_recall, not both: ef says how wide to walk, \
                               target_recall has that found out";
                Err(Invalid::new("invalid_target_recall", "target_recall", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_share_that_can_be_measured() {
        for share in [0.5, 0.95, 0.98, 0.999] {
            let target = TargetRecall::new(share).unwrap();
            assert_eq!(target.share(), share);
            let text = serde_json::to_string(&target).unwrap();
            assert_eq!(text, share.to_string());
            assert_eq!(serde_json::from_str::<TargetRecall>(&text).unwrap(), target);
        }
        for share in [0.0, 0.4999, 0.9995, 1.0, 95.0, -0.98, f64::NAN, f64::INFINITY] {
            assert_eq!(TargetRecall::new(share).unwrap_err().code, "invalid_target_recall", "{share}");
        }
        assert!(serde_json::from_str::<TargetRecall>("1.0").is_err());
        let single = f64::from(0.98_f32);
        assert_eq!(TargetRecall::new(single).unwrap().share(), 0.98, "of single precision");
    }

    #[test]
    fn one_of_both_is_enough() {
        let target = Some(TargetRecall::DEFAULT);
        assert_eq!(Breadth::of(None, None), Ok(None));
        assert_eq!(Breadth::of(Some(7), None), Ok(Some(Breadth::Ef(7))));
        assert_eq!(Breadth::of(None, target), Ok(target.map(Breadth::Recall)));
        assert_eq!(Breadth::of(Some(7), target).unwrap_err().code, "invalid_target_recall");
    }
}
