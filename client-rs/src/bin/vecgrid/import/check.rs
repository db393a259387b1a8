//! What can be told about an entry without the daemon: saves a round trip, and names the row.
//!
//! The daemon checks again; it is the judge.

use vecgrid_client::{CollectionConfig, Entry, Metric};

use crate::{formats::Bad, output};

const MAX_ID_BYTES: usize = 512;

#[derive(Debug)]
pub struct Check {
    dimension: usize,
    metric: Metric,
}

impl Check {
    pub fn new(config: &CollectionConfig) -> Self {
        Self { dimension: config.dimension as usize, metric: config.metric }
    }

    /// The entry, or why the daemon would refuse it.
    pub fn entry(&self, entry: Entry) -> Result<Entry, Bad> {
        match self.problem(&entry) {
            None => Ok(entry),
            Some(reason) => {
                let text = serde_json::to_string(&output::entry_json(&entry)).unwrap_or(entry.id);
                Err(Bad { reason, text })
            }
        }
    }

    fn problem(&self, entry: &Entry) -> Option<String> {
        if entry.id.is_empty() {
            return Some("the id is empty".into());
        }
        if entry.id.len() > MAX_ID_BYTES {
            return Some(format!("the id has {} bytes, at most {MAX_ID_BYTES} are allowed", entry.id.len()));
        }
        let vector = entry.vector.as_ref()?;
        if vector.len() != self.dimension {
            return Some(format!(
                "the vector has {} components, the collection {}",
                vector.len(),
                self.dimension
            ));
        }
        if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
            return Some(format!("component {at} is not a finite 32-bit float"));
        }
        if self.metric == Metric::Cosine && vector.iter().all(|x| *x == 0.0) {
            return Some("a vector of zeros has no direction: cosine is undefined".into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_would_refuse_is_refused_here() {
        let check = Check::new(&CollectionConfig::new("c", 2));
        let reason = |entry: Entry| check.entry(entry).unwrap_err().reason;
        assert!(check.entry(Entry::new("a").vector([1.0, 0.0])).is_ok());
        assert!(check.entry(Entry::new("a")).is_ok());
        assert!(check.entry(Entry::new("ä".repeat(256)).vector([1.0, 0.0])).is_ok());
        assert!(reason(Entry::new("")).contains("empty"));
        assert!(reason(Entry::new("x".repeat(513))).contains("513"));
        assert!(reason(Entry::new("a").vector([1.0])).contains("1 components"));
        assert!(reason(Entry::new("a").vector([1.0, f32::NAN])).contains("component 1"));
        assert!(reason(Entry::new("a").vector([f32::INFINITY, 1.0])).contains("component 0"));
        assert!(reason(Entry::new("a").vector([0.0, -0.0])).contains("zeros"));
        let dot = Check::new(&CollectionConfig::new("c", 2).metric(Metric::Dot));
        assert!(dot.entry(Entry::new("a").vector([0.0, 0.0])).is_ok());
    }
}
