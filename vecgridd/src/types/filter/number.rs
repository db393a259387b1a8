//! JSON numbers by their mathematical value.
//!
//! `serde_json` keeps a number as `i64`, `u64` or `f64`. Turning one into another rounds from 2^53
//! on, and two ids that differ would be equal. So an integral value becomes an `i128`, which holds
//! all of `i64`, `u64` and the floats below 2^127 exactly; only what is left stays a float.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Number as Json;

/// From here on a float does not fit an `i128`.
const TOO_LARGE: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// A number with one form per value, so that equal numbers are equal keys.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Number {
    /// An integral value.
    Whole(i128),
    /// A fraction, or a magnitude of 2^127 and more. Never NaN, never zero.
    Float(f64),
}

impl Number {
    /// The value of a JSON number; `None` when it is not finite, which JSON cannot say.
    pub(crate) fn of(json: &Json) -> Option<Self> {
        if let Some(whole) = json.as_i64() {
            return Some(Self::Whole(i128::from(whole)));
        }
        if let Some(whole) = json.as_u64() {
            return Some(Self::Whole(i128::from(whole)));
        }
        json.as_f64().and_then(Self::of_float)
    }

    /// The value of a float; `None` when it is not finite.
    pub(crate) fn of_float(float: f64) -> Option<Self> {
        if !float.is_finite() {
            return None;
        }
        if float.trunc() == float && float.abs() < TOO_LARGE {
            return Some(Self::Whole(float as i128));
        }
        Some(Self::Float(float))
    }

    /// Order by value.
    pub(crate) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(&b),
            (Self::Whole(a), Self::Float(b)) => whole_against_float(a, b),
            (Self::Float(a), Self::Whole(b)) => whole_against_float(b, a).reverse(),
        }
    }
}

/// `float` is a fraction or beyond every `i128`, so the two are never equal.
fn whole_against_float(whole: i128, float: f64) -> Ordering {
    if float >= TOO_LARGE {
        return Ordering::Less;
    }
    if float <= -TOO_LARGE {
        return Ordering::Greater;
    }
    // Rounding down is exact here, and `floor(f) < f`: at or below the floor is below the float.
    if whole <= float.floor() as i128 { Ordering::Less } else { Ordering::Greater }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.order(*other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(*other)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Whole(whole) => whole.hash(state),
            Self::Float(float) => float.to_bits().hash(state),
        }
    }
}
