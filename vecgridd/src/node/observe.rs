//! What the threads report, and what a scrape of `/metrics` collects.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use crate::{
    control::Control,
    index::Registry,
    partition::ApplierObserver,
    service::{Move, Service},
    storage::{Engine, FsyncObserver},
    task::Health,
    telemetry::{Metrics, Snapshot},
};

/// Carries what is noticed to the metrics and to the member's health.
#[derive(Clone)]
pub struct Observer {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    service: Weak<OnceLock<Service>>,
    store: Arc<OnceLock<Store>>,
}

struct Store {
    engine: Arc<dyn Engine>,
    indexes: Weak<Registry>,
    control: Control,
}

impl Observer {
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>, service: &Arc<OnceLock<Service>>) -> Self {
        Self { metrics, health, service: Arc::downgrade(service), store: Arc::default() }
    }

    /// Where numbers go.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// From now on a scrape looks at these.
    pub fn watch_store(&self, engine: Arc<dyn Engine>, indexes: Arc<Registry>, control: Control) {
        let _ = self.store.set(Store { engine, indexes: Arc::downgrade(&indexes), control });
    }

    fn fail(&self, why: &str) {
        self.health.fail(why);
        self.metrics.set_storage_read_only(true);
    }
}

impl FsyncObserver for Observer {
    fn committed(&self, records: usize, fsync: Option<Duration>) {
        if let Some(fsync) = fsync {
            self.metrics.group_commit(records, fsync);
        }
    }

    fn failed(&self, why: &str) {
        self.fail(why);
    }
}

impl ApplierObserver for Observer {
    fn failed(&self, why: &str) {
        self.fail(why);
    }
}

impl Snapshot for Observer {
    fn refresh(&self, metrics: &Metrics) {
        let Some(store) = self.store.get() else { return };
        let usage = store.engine.usage();
        metrics.set_storage_bytes("tables", usage.tables);
        metrics.set_storage_bytes("memtables", usage.memtables);
        metrics.set_storage_bytes("block_cache", usage.block_cache);
        if let Some(indexes) = store.indexes.upgrade() {
            let view = store.control.view();
            let (mut failures, mut adopted, mut unsaved) = (0, 0, 0);
            for collection in view.collections() {
                let Some(stats) = indexes.get(collection.id).map(|index| index.stats()) else { continue };
                let name = collection.config.name.as_str();
                metrics.set_collection(name, stats.live, stats.tail, stats.indexed);
                metrics.set_index_work(name, stats.dead, stats.building);
                for (kind, bytes) in stats.bytes.by_kind() {
                    metrics.set_index_bytes(name, kind, bytes);
                }
                failures += stats.build_failures;
                adopted += stats.adopted;
                unsaved += stats.checkpoint.failures;
                if let Some(at) = stats.checkpoint.at {
                    // A clock that was set back makes no age.
                    let age = at.elapsed().unwrap_or_default();
                    metrics.set_checkpoint(name, age, stats.checkpoint.took, stats.checkpoint.bytes);
                }
            }
            metrics.set_index_builds(failures, adopted);
            metrics.set_checkpoint_failures(unsaved);
            let loads = indexes.loads();
            metrics.set_checkpoint_loads("ok", loads.good);
            for (reason, count) in loads.refused {
                metrics.set_checkpoint_loads(reason, count);
            }
        }
        if let Some(cell) = self.service.upgrade()
            && let Some(service) = cell.get()
        {
            let status = service.grid_status();
            let me = &status.member;
            for state in ["serving", "read_only"] {
                let here = || status.partitions.iter().filter(|p| p.state == state && p.in_sync.contains(me));
                let primary = here().filter(|p| p.primary == *me).count();
                metrics.set_partitions("primary", state, primary as u64);
                metrics.set_partitions("backup", state, (here().count() - primary) as u64);
            }
            metrics.set_verify_age(service.verify_age());
            let moving = status.partitions.iter().filter(|p| p.moving).count();
            let unavailable = status.partitions.iter().filter(|p| p.state == "unavailable").count();
            metrics.copies().set_under_replicated(status.copies.under_replicated as u64);
            metrics.set_grid_partitions(moving as u64, unavailable as u64);
            let copies = service.moves_here();
            let sum = |of: fn(&Move) -> u64| copies.iter().map(of).sum();
            metrics.set_copies(copies.len() as u64, sum(|copy| copy.sent), sum(|copy| copy.total));
            for state in ["up", "suspect", "away", "draining", "read_only"] {
                metrics.set_members(state, status.members.iter().filter(|m| m.state == state).count() as u64);
            }
            let leads = status.leader.as_ref() == Some(&status.member);
            metrics.set_control(leads, status.term, status.table_version);
            let view = store.control.view();
            for collection in view.collections() {
                for (k, stats) in service.recall(collection.id) {
                    let interval = (stats.lower, stats.ratio, stats.upper);
                    let totals = (stats.checks, stats.missed);
                    metrics.set_recall(collection.config.name.as_str(), k, interval, totals);
                }
            }
            metrics.set_recall_checks_dropped(service.recall_checks_dropped());
        }
    }
}
