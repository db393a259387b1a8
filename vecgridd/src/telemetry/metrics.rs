//! Every number the daemon shows, in one list with an owned registry.
//!
//! Two sorts: what happens (counters, histograms, in-flight gauges) is recorded where it happens,
//! through the small methods below; what *is* (points, bytes, partitions) is asked for at scrape
//! time through [`Snapshot`], so nobody keeps such gauges up to date in between. A collection that
//! is gone disappears from the next scrape.
//!
//! Labels are bounded: `method` is a route template or a gRPC method, never a path; 271 partitions
//! are not a label.

use std::{sync::Mutex, time::Duration};

use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, process_collector::ProcessCollector,
};

use super::{
    CopyMetrics,
    making::{
        DURATIONS, clamp, counter, counters, durations_by, gauges, histogram, int_gauge, int_gauges,
        registered,
    },
};

/// Operations that shared one fsync.
const BATCHES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Why a request was shed: all values of the label, so that each exists from the start.
const SHED_REASONS: [&str; 3] = ["reads", "writes", "bytes"];

/// What became of saved indexes at the start: all values of the label.
const LOAD_OUTCOMES: [&str; 4] = ["ok", "damaged", "foreign", "ahead"];

/// What may differ between copies: all values of the label.
const MISMATCHES: [&str; 4] = ["rows", "index", "copy", "content"];

/// Someone who can say how things are right now.
pub trait Snapshot: Send + Sync {
    /// Sets the gauges of state (`set_…`). Called at every scrape, on a thread that may block.
    fn refresh(&self, metrics: &Metrics);
}

/// All metrics of one daemon.
pub struct Metrics {
    registry: Registry,
    /// One scrape at a time: gauges of state are cleared and filled again.
    scraping: Mutex<()>,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    requests_in_flight: IntGauge,
    requests_shed: IntCounterVec,
    handler_panics: IntCounter,
    points: IntGaugeVec,
    index_tail_rows: IntGaugeVec,
    index_dead_rows: IntGaugeVec,
    index_building: IntGaugeVec,
    index_indexed_rows: IntGaugeVec,
    index_bytes: GaugeVec,
    index_build_failures: IntCounter,
    index_adopted: IntCounter,
    recall_ratio: GaugeVec,
    recall_lower: GaugeVec,
    recall_upper: GaugeVec,
    recall_checks: IntCounterVec,
    recall_missed: CounterVec,
    recall_checks_dropped: IntCounter,
    checkpoint_age: GaugeVec,
    checkpoint_duration: GaugeVec,
    checkpoint_bytes: GaugeVec,
    checkpoint_failures: IntCounter,
    checkpoint_loads: IntCounterVec,
    partitions: IntGaugeVec,
    wal_fsync_duration: Histogram,
    group_commit_operations: Histogram,
    storage_bytes: GaugeVec,
    storage_read_only: IntGauge,
    peer_refused: IntCounterVec,
    digest_mismatches: IntCounterVec,
    verified_rows: IntCounter,
    verify_age: prometheus::Gauge,
    copies_retaken: IntCounter,
    foreign_grids: IntCounter,
    copies: CopyMetrics,
    members_asked: IntCounterVec,
    routes_retried: IntCounter,
    reads_hedged: IntCounter,
    search_members: Histogram,
    incomplete_searches: IntCounter,
    members: IntGaugeVec,
    control_is_leader: IntGauge,
    control_term: IntGauge,
    control_elections: IntCounter,
    table_version: IntGauge,
    moves_wanted: IntGauge,
    copies_under_way: IntGauge,
    copies_bytes: IntGaugeVec,
    partitions_unavailable: IntGauge,
}

impl Metrics {
    /// An empty set; `version` and `revision` (of the source) go into `vecgrid_build_info`.
    ///
    /// # Errors
    /// Only if two metrics had one name, which is a bug.
    pub fn new(version: &str, revision: &str) -> Result<Self, prometheus::Error> {
        let r = Registry::new();
        let build_info =
            int_gauges(&r, "vecgrid_build_info", "Always 1: version and revision", &["version", "revision"])?;
        build_info.with_label_values(&[version, revision]).set(1);
        let this = Self {
            scraping: Mutex::new(()),
            requests: counters(
                &r,
                "vecgrid_requests_total",
                "Answered requests",
                &["api", "method", "code"],
            )?,
            request_duration: durations_by(
                &r,
                "vecgrid_request_duration_seconds",
                "From the request's head to the answer's head; per message on streams",
                &["api", "method"],
            )?,
            requests_in_flight: int_gauge(&r, "vecgrid_requests_in_flight", "Requests being worked on")?,
            requests_shed: counters(
                &r,
                "vecgrid_requests_shed_total",
                "Requests refused because too much was in flight",
                &["reason"],
            )?,
            handler_panics: counter(
                &r,
                "vecgrid_handler_panics_total",
                "Requests that ended in a panic (bugs)",
            )?,
            points: int_gauges(&r, "vecgrid_points", "Live entries", &["collection"])?,
            index_tail_rows: int_gauges(
                &r,
                "vecgrid_index_tail_rows",
                "Rows not yet in the graph, scanned exactly",
                &["collection"],
            )?,
            index_dead_rows: int_gauges(
                &r,
                "vecgrid_index_dead_rows",
                "Replaced and deleted rows whose memory is not back yet",
                &["collection"],
            )?,
            index_building: int_gauges(
                &r,
                "vecgrid_index_building",
                "1 while the index has work to do: rows to link, or dead ones to leave behind",
                &["collection"],
            )?,
            index_indexed_rows: int_gauges(
                &r,
                "vecgrid_index_indexed_rows",
                "Rows in the graph",
                &["collection"],
            )?,
            index_bytes: gauges(&r, "vecgrid_index_bytes", "Memory of the index", &["collection", "kind"])?,
            index_build_failures: counter(
                &r,
                "vecgrid_index_build_failures_total",
                "Graph builds that failed",
            )?,
            index_adopted: counter(
                &r,
                "vecgrid_index_links_adopted_total",
                "Times that a graph was begun with the links of another member's",
            )?,
            recall_ratio: gauges(
                &r,
                "vecgrid_recall_ratio",
                "Recall of walks in the last minute (or the last 200 checked): for up to k hits",
                &["collection", "k"],
            )?,
            recall_lower: gauges(
                &r,
                "vecgrid_recall_ratio_lower",
                "Lower end of the 95 % interval of vecgrid_recall_ratio",
                &["collection", "k"],
            )?,
            recall_upper: gauges(
                &r,
                "vecgrid_recall_ratio_upper",
                "Upper end of the 95 % interval of vecgrid_recall_ratio",
                &["collection", "k"],
            )?,
            recall_checks: counters(
                &r,
                "vecgrid_recall_checks_total",
                "Answers of walks that were checked against exact ones",
                &["collection", "k"],
            )?,
            recall_missed: registered(
                &r,
                CounterVec::new(
                    Opts::new(
                        "vecgrid_recall_missed_total",
                        "What checked answers missed, each as a share of its hits: 1 - missed / checks is recall",
                    ),
                    &["collection", "k"],
                )?,
            )?,
            recall_checks_dropped: counter(
                &r,
                "vecgrid_recall_checks_dropped_total",
                "Answers that were to be checked and were not, for lack of time",
            )?,
            checkpoint_age: gauges(
                &r,
                "vecgrid_checkpoint_age_seconds",
                "Since the last checkpoint of the index",
                &["collection"],
            )?,
            checkpoint_duration: gauges(
                &r,
                "vecgrid_checkpoint_duration_seconds",
                "What the last checkpoint took to write or, after a start, to read",
                &["collection"],
            )?,
            checkpoint_bytes: gauges(
                &r,
                "vecgrid_checkpoint_bytes",
                "Size on disk of the last checkpoint",
                &["collection"],
            )?,
            checkpoint_failures: counter(
                &r,
                "vecgrid_checkpoint_failures_total",
                "Checkpoints that could not be written",
            )?,
            checkpoint_loads: counters(
                &r,
                "vecgrid_checkpoint_loads_total",
                "Checkpoints found at the start: used, or refused for a reason",
                &["outcome"],
            )?,
            partitions: int_gauges(&r, "vecgrid_partitions", "Partitions here", &["role", "state"])?,
            wal_fsync_duration: histogram(
                &r,
                "vecgrid_wal_fsync_duration_seconds",
                "Time of a synced write to the log",
                DURATIONS,
            )?,
            group_commit_operations: histogram(
                &r,
                "vecgrid_group_commit_operations",
                "Operations that shared one synced write",
                BATCHES,
            )?,
            storage_bytes: gauges(&r, "vecgrid_storage_bytes", "Size of the row store", &["kind"])?,
            storage_read_only: int_gauge(
                &r,
                "vecgrid_storage_read_only",
                "1 after the disk refused a write: no more writes until a restart",
            )?,
            peer_refused: counters(
                &r,
                "vecgrid_peer_refused_total",
                "Messages of other members that were refused, by reason",
                &["reason"],
            )?,
            copies: CopyMetrics::new(&r)?,
            digest_mismatches: counters(
                &r,
                "vecgrid_digest_mismatches_total",
                "Copies or indexes that were found to differ from what they should be, by what differed",
                &["what"],
            )?,
            verified_rows: counter(
                &r,
                "vecgrid_verified_rows_total",
                "Rows of copies here that were read to be compared",
            )?,
            verify_age: registered(
                &r,
                prometheus::Gauge::new(
                    "vecgrid_verify_age_seconds",
                    "Since the copies of every partition led here were read and compared; -1 = not all since the start",
                )?,
            )?,
            copies_retaken: counter(
                &r,
                "vecgrid_copies_retaken_total",
                "Copies of other members that differed from the primary here and are taken anew",
            )?,
            foreign_grids: counter(
                &r,
                "vecgrid_foreign_grids_total",
                "Answers of members of another grid of the same name, which is not merged with ours",
            )?,
            members_asked: counters(
                &r,
                "vecgrid_members_asked_total",
                "Requests about rows that were sent to other members",
                &["verb", "outcome"],
            )?,
            routes_retried: counter(
                &r,
                "vecgrid_routes_retried_total",
                "Attempts repeated because a partition had moved or its member gave no answer",
            )?,
            reads_hedged: counter(
                &r,
                "vecgrid_reads_hedged_total",
                "Reads for which another member was asked because the first one took long",
            )?,
            search_members: histogram(
                &r,
                "vecgrid_search_members",
                "Members that took part in a search that this one could not answer alone",
                &BATCHES[..8],
            )?,
            incomplete_searches: counter(
                &r,
                "vecgrid_incomplete_searches_total",
                "Searches that some partition did not answer, whether that was allowed or not",
            )?,
            members: int_gauges(&r, "vecgrid_members", "Members of the grid, as seen from here", &["state"])?,
            control_is_leader: int_gauge(&r, "vecgrid_control_is_leader", "1 while this member leads")?,
            control_term: int_gauge(&r, "vecgrid_control_term", "Number of the leader's election")?,
            control_elections: counter(
                &r,
                "vecgrid_control_elections_total",
                "Elections in which this member stood, because it heard no leader",
            )?,
            moves_wanted: int_gauge(
                &r,
                "vecgrid_moves_wanted",
                "Partitions of the grid that are not held yet as they should be, as seen from here",
            )?,
            copies_under_way: int_gauge(
                &r,
                "vecgrid_copies_under_way",
                "Copies that this member is making on others, those that wait for their turn included",
            )?,
            copies_bytes: int_gauges(
                &r,
                "vecgrid_copies_bytes",
                "Rows of the copies that this member is making: sent, and (about) in all",
                &["kind"],
            )?,
            partitions_unavailable: int_gauge(
                &r,
                "vecgrid_partitions_unavailable",
                "Partitions of the grid whose primary is away, as seen from here",
            )?,
            table_version: int_gauge(
                &r,
                "vecgrid_table_version",
                "Version of what the grid agreed on, as known here",
            )?,
            registry: r,
        };
        for reason in SHED_REASONS {
            this.requests_shed.with_label_values(&[reason]).inc_by(0);
        }
        for what in MISMATCHES {
            this.digest_mismatches.with_label_values(&[what]).inc_by(0);
        }
        for outcome in LOAD_OUTCOMES {
            this.checkpoint_loads.with_label_values(&[outcome]).inc_by(0);
        }
        this.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(this)
    }

    /// A request was answered. `method` is a route template or a gRPC method.
    pub fn request(&self, api: &str, method: &str, code: &str, took: Duration) {
        self.requests.with_label_values(&[api, method, code]).inc();
        self.request_duration.with_label_values(&[api, method]).observe(took.as_secs_f64());
    }

    /// Requests being worked on.
    pub fn requests_in_flight(&self) -> &IntGauge {
        &self.requests_in_flight
    }

    /// A request was refused because too much was in flight: `reads`, `writes` or `bytes`.
    pub fn request_shed(&self, reason: &'static str) {
        self.requests_shed.with_label_values(&[reason]).inc();
    }

    /// A request ended in a panic.
    pub fn handler_panicked(&self) {
        self.handler_panics.inc();
    }

    /// Since the start so many graph builds have failed, and so many have begun with links of another member.
    pub fn set_index_builds(&self, failed: u64, adopted: u64) {
        for (counter, total) in [(&self.index_build_failures, failed), (&self.index_adopted, adopted)] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// So many answers were to be checked and were not, since the start.
    pub fn set_recall_checks_dropped(&self, total: u64) {
        let told = self.recall_checks_dropped.get();
        self.recall_checks_dropped.inc_by(total.saturating_sub(told));
    }

    /// Snapshot: recall of a collection's walks for up to `k` hits, lately, between the ends of its
    /// interval; and since the start the number of checks and the sum of what those missed.
    pub fn set_recall(
        &self,
        collection: &str,
        k: usize,
        (lower, ratio, upper): (f64, f64, f64),
        (checks, missed): (u64, f64),
    ) {
        let labels = [collection, &k.to_string()];
        self.recall_ratio.with_label_values(&labels).set(ratio);
        self.recall_lower.with_label_values(&labels).set(lower);
        self.recall_upper.with_label_values(&labels).set(upper);
        self.recall_checks.with_label_values(&labels).inc_by(checks);
        self.recall_missed.with_label_values(&labels).inc_by(missed);
    }

    /// Snapshot: the last checkpoint of a collection's index: its age, what it took, its size.
    pub fn set_checkpoint(&self, collection: &str, age: Duration, took: Duration, bytes: u64) {
        self.checkpoint_age.with_label_values(&[collection]).set(age.as_secs_f64());
        self.checkpoint_duration.with_label_values(&[collection]).set(took.as_secs_f64());
        self.checkpoint_bytes.with_label_values(&[collection]).set(bytes as f64);
    }

    /// So many checkpoints could not be written since the start.
    pub fn set_checkpoint_failures(&self, total: u64) {
        let told = self.checkpoint_failures.get();
        self.checkpoint_failures.inc_by(total.saturating_sub(told));
    }

    /// So many checkpoints were found at the start, with this outcome: `ok`, `damaged`, `foreign`, `ahead`.
    pub fn set_checkpoint_loads(&self, outcome: &str, total: u64) {
        let counter = self.checkpoint_loads.with_label_values(&[outcome]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// A synced write of `operations` operations took this long.
    pub fn group_commit(&self, operations: usize, fsync: Duration) {
        self.wal_fsync_duration.observe(fsync.as_secs_f64());
        self.group_commit_operations.observe(operations as f64);
    }

    /// Whether the disk refused a write.
    pub fn set_storage_read_only(&self, read_only: bool) {
        self.storage_read_only.set(read_only.into());
    }

    /// A message of another member was refused; how many were, for this reason.
    pub fn peer_refused(&self, reason: &'static str) -> u64 {
        let counter = self.peer_refused.with_label_values(&[reason]);
        counter.inc();
        counter.get()
    }

    /// A member of another grid of our name answered.
    pub fn foreign_grid(&self) {
        self.foreign_grids.inc();
    }

    /// The numbers about copies.
    pub fn copies(&self) -> &CopyMetrics {
        &self.copies
    }

    /// A copy or an index is not what it should be: one of `rows`, `index`, `copy`, `content`.
    pub fn digest_mismatch(&self, what: &str) {
        self.digest_mismatches.with_label_values(&[what]).inc();
    }

    /// Rows were read to be compared.
    pub fn rows_verified(&self, rows: u64) {
        self.verified_rows.inc_by(rows);
    }

    /// A copy of another member is taken anew.
    pub fn copy_retaken(&self) {
        self.copies_retaken.inc();
    }

    /// Snapshot: since when all copies of partitions led here were compared; `None` = not all were.
    pub fn set_verify_age(&self, age: Option<Duration>) {
        self.verify_age.set(age.map_or(-1.0, |age| age.as_secs_f64()));
    }

    /// Another member was asked about rows: `ok`, `elsewhere`, `not_done`, `unknown`, `failed`.
    pub fn member_asked(&self, verb: &str, outcome: &str) {
        self.members_asked.with_label_values(&[verb, outcome]).inc();
    }

    /// Somebody else is asked, too.
    pub fn read_hedged(&self) {
        self.reads_hedged.inc();
    }

    /// Somebody is asked again.
    pub fn route_retried(&self) {
        self.routes_retried.inc();
    }

    /// So many members took part in a search (or a batch), which is incomplete or not.
    pub fn search_asked(&self, members: usize, incomplete: bool) {
        self.search_members.observe(members as f64);
        self.incomplete_searches.inc_by(incomplete.into());
    }

    /// This member stood for election.
    pub fn stood_for_election(&self) {
        self.control_elections.inc();
    }

    /// Snapshot: members of the grid in this state.
    pub fn set_members(&self, state: &str, count: u64) {
        self.members.with_label_values(&[state]).set(clamp(count));
    }

    /// Snapshot: whether this member leads, the term, and the version of the table.
    pub fn set_control(&self, leads: bool, term: u64, table_version: u64) {
        self.control_is_leader.set(leads.into());
        self.control_term.set(clamp(term));
        self.table_version.set(clamp(table_version));
    }

    /// Snapshot: partitions of the grid that are to move, and those whose primary is away.
    pub fn set_grid_partitions(&self, moving: u64, unavailable: u64) {
        self.moves_wanted.set(clamp(moving));
        self.partitions_unavailable.set(clamp(unavailable));
    }

    /// Snapshot: how many copies this member is making on others, and how far they are.
    pub fn set_copies(&self, copies: u64, sent: u64, total: u64) {
        self.copies_under_way.set(clamp(copies));
        self.copies_bytes.with_label_values(&["sent"]).set(clamp(sent));
        self.copies_bytes.with_label_values(&["total"]).set(clamp(total));
    }

    /// Snapshot: live entries, rows in the tail and rows in the graph of a collection.
    pub fn set_collection(&self, collection: &str, points: u64, tail_rows: u64, indexed_rows: u64) {
        self.points.with_label_values(&[collection]).set(clamp(points));
        self.index_tail_rows.with_label_values(&[collection]).set(clamp(tail_rows));
        self.index_indexed_rows.with_label_values(&[collection]).set(clamp(indexed_rows));
    }

    /// Snapshot: dead rows of a collection, and whether its index is being built.
    pub fn set_index_work(&self, collection: &str, dead_rows: u64, building: bool) {
        self.index_dead_rows.with_label_values(&[collection]).set(clamp(dead_rows));
        self.index_building.with_label_values(&[collection]).set(i64::from(building));
    }

    /// Snapshot: memory of a collection's index, by kind (`vectors`, `links`, …).
    pub fn set_index_bytes(&self, collection: &str, kind: &str, bytes: u64) {
        self.index_bytes.with_label_values(&[collection, kind]).set(bytes as f64);
    }

    /// Snapshot: partitions here in this role and state.
    pub fn set_partitions(&self, role: &str, state: &str, count: u64) {
        self.partitions.with_label_values(&[role, state]).set(clamp(count));
    }

    /// Snapshot: size of the row store, by kind (`tables`, `log`, …).
    pub fn set_storage_bytes(&self, kind: &str, bytes: u64) {
        self.storage_bytes.with_label_values(&[kind]).set(bytes as f64);
    }

    /// Asks for the state of things and writes everything in Prometheus' text format. May block.
    ///
    /// # Errors
    /// Only if a metric could not be written, which is a bug.
    pub fn scrape(&self, snapshot: &dyn Snapshot) -> Result<String, prometheus::Error> {
        let _one = self.scraping.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for gauge in [&self.points, &self.index_tail_rows, &self.index_indexed_rows, &self.partitions] {
            gauge.reset();
        }
        for gauge in [&self.index_dead_rows, &self.index_building] {
            gauge.reset();
        }
        for gauge in [&self.index_bytes, &self.storage_bytes] {
            gauge.reset();
        }
        for gauge in [&self.recall_ratio, &self.recall_lower, &self.recall_upper] {
            gauge.reset();
        }
        for gauge in [&self.checkpoint_age, &self.checkpoint_duration, &self.checkpoint_bytes] {
            gauge.reset();
        }
        // Totals are kept where they arise, and told anew.
        self.recall_checks.reset();
        self.recall_missed.reset();
        snapshot.refresh(self);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
