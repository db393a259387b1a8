//! The numbers about copies of partitions.
//!
//! What to watch: `vecgrid_partitions_under_replicated` above 0 for longer than a restart takes; the rate of
//! `vecgrid_copy_events_total{event="slow"}`; `vecgrid_copy_ack_seconds` beside the fsync times of the others.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

use super::making::{DURATIONS, clamp};

/// Something that happened to a copy here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyEvent {
    /// A backup became the primary.
    Promoted,
    /// A primary heard that another one has taken its place.
    Fenced,
    /// A backup did not confirm writes, and was taken out of the in-sync set.
    Slow,
    /// Records that never counted were cut off a log.
    Truncated,
    /// A full copy was begun, because the log did not reach back.
    FullCopy,
}

impl CopyEvent {
    const ALL: [Self; 5] = [Self::Promoted, Self::Fenced, Self::Slow, Self::Truncated, Self::FullCopy];

    fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Fenced => "fenced",
            Self::Slow => "slow",
            Self::Truncated => "truncated",
            Self::FullCopy => "full_copy",
        }
    }
}

/// See the module.
pub struct CopyMetrics {
    messages: IntCounterVec,
    bytes: IntCounterVec,
    ack: Histogram,
    events: IntCounterVec,
    under_replicated: IntGauge,
}

impl CopyMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn known<T: Collector + Clone + 'static>(
            registry: &Registry,
            metric: T,
        ) -> Result<T, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counters = |name: &str, help: &str, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        let ack = HistogramOpts::new(
            "vecgrid_copy_ack_seconds",
            "From sending log records to another member until it says that they are on its disk",
        );
        let this = Self {
            messages: known(
                registry,
                counters(
                    "vecgrid_copy_messages_total",
                    "Messages about copies of partitions sent to other members",
                    "outcome",
                )?,
            )?,
            bytes: known(
                registry,
                counters(
                    "vecgrid_copy_sent_bytes_total",
                    "Rows of full copies and records of logs sent to other members",
                    "kind",
                )?,
            )?,
            ack: known(registry, Histogram::with_opts(ack.buckets(DURATIONS.to_vec()))?)?,
            events: known(
                registry,
                counters("vecgrid_copy_events_total", "What happened to copies of partitions here", "event")?,
            )?,
            under_replicated: known(
                registry,
                IntGauge::new(
                    "vecgrid_partitions_under_replicated",
                    "Partitions of the grid of which fewer copies are in sync than there should be, and members for",
                )?,
            )?,
        };
        for event in CopyEvent::ALL {
            this.events.with_label_values(&[event.as_str()]);
        }
        for kind in ["rows", "records"] {
            this.bytes.with_label_values(&[kind]);
        }
        Ok(this)
    }

    /// Something was sent to another member's copies: a full copy's `rows`, or `records` of logs.
    pub fn sent(&self, kind: &str, bytes: usize, answered: bool) {
        let outcome = if answered { "ok" } else { "failed" };
        self.messages.with_label_values(&[outcome]).inc();
        self.bytes.with_label_values(&[kind]).inc_by(bytes as u64);
    }

    /// Another member has records on its disk, so long after they were sent.
    pub fn acked(&self, after: Duration) {
        self.ack.observe(after.as_secs_f64());
    }

    /// Something happened.
    pub fn note(&self, event: CopyEvent) {
        self.events.with_label_values(&[event.as_str()]).inc();
    }

    /// Snapshot: partitions of which there are too few copies.
    pub fn set_under_replicated(&self, partitions: u64) {
        self.under_replicated.set(clamp(partitions));
    }
}
