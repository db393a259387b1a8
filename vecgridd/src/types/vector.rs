//! A vector that is safe to store and to compare.

use std::sync::Arc;

use super::{Invalid, Metric};

/// Longest vector a collection may hold.
pub const MAX_DIMENSION: usize = 4096;

/// Largest length (L2 norm). Squared distances of two such vectors still fit an `f32`.
const MAX_NORM: f64 = 1e18;

/// Components as the user gave them, checked. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector(Arc<[f32]>);

impl Vector {
    /// Checks components against a collection's dimension and metric.
    ///
    /// # Errors
    /// `wrong_dimension`; `invalid_vector` for NaN, an infinity or a norm above 1e18;
    /// `zero_vector` for a vector of zeros under cosine.
    pub fn new(components: Vec<f32>, dimension: usize, metric: Metric) -> Result<Self, Invalid> {
        if components.len() != dimension {
            let message =
                format!("the collection has dimension {dimension}, this vector has {}", components.len());
            return Err(Invalid::new("wrong_dimension", "vector", message));
        }
        if let Some(at) = components.iter().position(|x| !x.is_finite()) {
            let message = format!("component {at} is not a finite 32-bit float");
            return Err(Invalid::new("invalid_vector", format!("vector/{at}"), message));
        }
        let norm = norm(&components);
        if norm > MAX_NORM {
            return Err(Invalid::new("invalid_vector", "vector", "the vector's length is above 1e18"));
        }
        if norm == 0.0 && metric == Metric::Cosine {
            return Err(Invalid::new(
                "zero_vector",
                "vector",
                "a vector of zeros has no direction: cosine is undefined",
            ));
        }
        Ok(Self(components.into()))
    }

    /// A vector read back from the row store, where only checked ones are.
    pub fn stored(components: Vec<f32>) -> Self {
        Self(components.into())
    }

    /// The components.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The components scaled to length 1, for cosine as a dot product. Computed in `f64`, so
    /// neither tiny nor huge vectors lose their direction.
    pub fn normalized(&self) -> Vec<f32> {
        let norm = norm(&self.0);
        self.0.iter().map(|&x| (f64::from(x) / norm) as f32).collect()
    }
}

fn norm(components: &[f32]) -> f64 {
    components.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}
