//! Assembly: the rooms, bottom up, and how they stop, top down.
//!
//! Start: take the data directory, bind the ports, answer `/livez`, open the store, come into the grid, recover
//! partitions, load the indexes and bring them level with the rows, start the owners, open the doors, say ready.
//! Stop: with `--drain`, partitions are given to other members first. No new requests, finish those in progress, owners finish what they have, threads end, indexes
//! are saved, log and rows are synced, the control plane ends, the directory is free.

mod data_dir;
mod grid;
#[cfg(test)]
mod grid_tests;
mod leave;
mod observe;
mod quiet;
mod ready;
mod recover;
#[cfg(test)]
mod recover_tests;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{ApiConfig, ApiLimits, Bound},
    config::Config,
    control::StartError,
    index::{CheckOptions, Checker, IndexFolder, IndexLimits, PartitionSet, Registry},
    partition::{self, Applier, Hosts, OwnerParts, Retention, Verifier, VerifierParts, VerifyOptions},
    replication::{self, CopyOptions, Inspect, Links},
    service::{Answers, Parts, Service},
    storage::{Engine, LogWriter, RocksEngine, RocksOptions, StorageError, keys::member::Identity},
    task::{CpuPool, Health, Tasks},
    telemetry::Metrics,
    types::{ClusterView, PartitionId},
};

use self::{
    data_dir::DataDir,
    grid::{Doors, GridPart, Home},
    observe::Observer,
};

pub use recover::recover;

/// Log records that may wait for the log writer: one for each of 16 requests in 256 partitions.
const LOG_QUEUE: usize = 4_096;
/// Searches that may wait for or run on the CPU pool.
const WAITING_SEARCHES: usize = 512;
/// How long a start waits for partitions that need nobody else.
const FIRST_ANSWERS: Duration = Duration::from_secs(10);
/// How long the others may take to hear that this member stops.
const PAUSE: Duration = Duration::from_secs(2);
/// How long owners may take to finish what they have when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// How a daemon is told to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// It is to stop; with `--drain` after it has left the grid.
    pub asked: CancellationToken,
    /// Leaving is not waited for any more.
    pub hurry: CancellationToken,
}

/// Why a daemon ended in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// It was asked to.
    Stopped,
    /// Its grid, which held nothing, was given up for another one of its name, which answers there.
    Dissolved(String),
}

/// Runs a daemon until it is asked to stop, then stops it in order.
///
/// # Errors
/// When it cannot start, or is no member of its grid any more; the text says what to do.
pub async fn run(config: Config, metrics: Arc<Metrics>, stop: Stop) -> anyhow::Result<()> {
    let mut other = None;
    while let Ended::Dissolved(at) = Box::pin(run_once(&config, other, &metrics, &stop)).await? {
        // As if it had been started with an empty data directory, and the other one among its seeds.
        DataDir::take(&config.data_dir)?.give_up()?;
        other = at.parse().ok();
        if stop.asked.is_cancelled() {
            break;
        }
    }
    Ok(())
}

/// `other`: where there is a grid besides the places that were configured.
async fn run_once(
    config: &Config,
    other: Option<SocketAddr>,
    metrics: &Arc<Metrics>,
    stop: &Stop,
) -> anyhow::Result<Ended> {
    let shutdown = &stop.asked;
    ready::forget_port_file(config);
    let data_dir = DataDir::take(&config.data_dir)?;
    let bound = Bound::bind(&api_config(config)).await.context("cannot open the doors")?;
    let addresses = ready::Addresses::of(&bound);

    let service: Arc<OnceLock<Service>> = Arc::default();
    let doors = Tasks::default();
    let tasks = Tasks::default();
    let health = Arc::new(Health::default());
    let observer = Observer::new(Arc::clone(metrics), Arc::clone(&health), &service);
    let open = bound.serve(
        Arc::clone(&service),
        Arc::clone(metrics),
        Arc::new(observer.clone()),
        doors.clone(),
        doors.token(),
    );
    doors.spawn("doors", async {
        if let Err(error) = open.await {
            tracing::error!(%error, "the doors cannot be opened");
        }
    });

    let (answers, verifier) = (Answers::new(&service), Arc::default());
    let for_members = Doors { answers, hosts: Hosts::default(), verifier, indexes: Arc::default(), other };
    let started = start(config, &data_dir, &tasks, &health, &observer, for_members, shutdown).await;
    let result = match started {
        Ok(running) => {
            observer.watch_store(
                Arc::clone(&running.engine),
                Arc::clone(&running.indexes),
                running.grid.control.clone(),
            );
            running.service.spawn_purges();
            let _ = service.set(running.service.clone());
            ready::tell(config, &addresses)?;
            let control = running.grid.control.clone();
            let end = tokio::select! {
                () = shutdown.cancelled() => End::Asked,
                () = control.left() => End::HasLeft,
                at = control.dissolved() => End::Dissolved(at),
            };
            if let (Some(patience), End::Asked) = (config.drain, &end) {
                leave::leave(&control, running.service.member(), patience, &stop.hurry).await;
            }
            if end == End::Asked {
                control.pause(PAUSE).await;
            }
            drop(control);
            if let End::Dissolved(_) = &end {
                tracing::info!("starting anew as a member without a grid");
            } else {
                tracing::info!("stopping: no new requests, finishing those in progress");
                ready::tell_stopping();
            }
            health.drain();
            close(&doors).await;
            drop(service);
            let stopped = running.stop(tasks).await;
            match end {
                End::Asked => stopped.map(|()| Ended::Stopped),
                End::HasLeft => stopped.and(Err(StartError::HasLeft.into())),
                End::Dissolved(at) => stopped.map(|()| Ended::Dissolved(at)),
            }
        }
        Err(error) => {
            close(&doors).await;
            match error.downcast_ref() {
                Some(StartError::Dissolved(at)) => Ok(Ended::Dissolved(at.clone())),
                // Whoever stops it while it waits for a grid wants nothing else.
                _ if shutdown.is_cancelled() => Ok(Ended::Stopped),
                _ => Err(error),
            }
        }
    };
    ready::forget_port_file(config);
    drop(data_dir);
    result
}

/// Why a daemon that serves is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// It was asked to.
    Asked,
    /// It is no member of its grid any more.
    HasLeft,
    /// Its grid was given up for another one, which answers there.
    Dissolved(String),
}

/// Finishes requests in progress and closes the doors.
async fn close(doors: &Tasks) {
    // The doors keep their own grace time and end by themselves; this only guards against a bug.
    if !doors.stop(2 * ApiLimits::default().drain_grace).await {
        tracing::warn!("some connections did not end in time and are cut");
    }
}

struct Running {
    service: Service,
    engine: Arc<dyn Engine>,
    indexes: Arc<Registry>,
    grid: GridPart,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    async fn stop(self, tasks: Tasks) -> anyhow::Result<()> {
        let Self { service, engine, indexes, grid, threads } = self;
        drop(service);
        let ended = tasks.stop(STOP_GRACE).await;
        grid.stop().await;
        if !ended {
            anyhow::bail!(
                "some work did not end within {STOP_GRACE:?}; everything acknowledged is in the log"
            );
        }
        let end = move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread had panicked");
                }
            }
            // First, so that no index is saved that is ahead of rows on disk.
            let synced = engine.sync();
            indexes.close();
            // So that the next start need not read them again from the log of the store.
            synced.and_then(|()| engine.flush())
        };
        tokio::task::spawn_blocking(end).await?.context("the last sync failed")?;
        tracing::info!("stopped");
        Ok(())
    }
}

async fn start(
    config: &Config,
    data_dir: &DataDir,
    tasks: &Tasks,
    health: &Arc<Health>,
    observer: &Observer,
    doors: Doors,
    shutdown: &CancellationToken,
) -> anyhow::Result<Running> {
    let budgets =
        RocksOptions { memtable_bytes: config.memtable_bytes, block_cache_bytes: config.block_cache_bytes };
    let rows = data_dir.rows();
    let open = move || RocksEngine::open(&rows, budgets);
    let engine: Arc<dyn Engine> =
        Arc::new(tokio::task::spawn_blocking(open).await?.context("cannot open the row store")?);
    let may_be_new = config.bootstrap || config.may_find_a_grid();
    let identity = data_dir::identity(&*engine, may_be_new)?;
    let home = Home { engine: &*engine, identity: &identity };
    let (metrics, hosts) = (observer.metrics(), doors.hosts.clone());
    let (verifies, shown) = (Arc::clone(&doors.verifier), Arc::clone(&doors.indexes));
    let grid = grid::enter(config, data_dir, home, metrics, doors, shutdown).await?;
    let view = grid.control.view();
    if view.grid() != config.grid {
        let found = view.grid().to_owned();
        grid.stop().await;
        anyhow::bail!(
            "{} belongs to the grid `{found}`, not `{}`: pass --grid {found} or another --data-dir",
            config.data_dir.display(),
            config.grid,
        );
    }

    let defaults = IndexLimits::default();
    let limits = IndexLimits {
        tail_rows: config.tail_rows.map_or(defaults.tail_rows, |rows| rows.max(defaults.small_rows)),
        build_threads: config.build_threads,
        build_share: config.build_share,
        checkpoint_pause: config.checkpoint_pause,
        ..defaults
    };
    let folder = IndexFolder { path: data_dir.index(), store: identity.store.clone() };
    let indexes = Arc::new(Registry::new(limits, Some(folder)));
    let retention = Retention {
        records: config.log_records,
        bytes: config.log_bytes / u64::from(view.partitions().max(1)),
    };
    let recovered = {
        let (engine, indexes, identity) = (Arc::clone(&engine), Arc::clone(&indexes), identity.clone());
        let view = Arc::clone(&view);
        let bring_back = move || bring_back(&*engine, &view, &indexes, &identity, retention);
        tokio::task::spawn_blocking(bring_back).await?.context("recovery failed: nothing was changed")?
    };

    let (log, log_thread) = LogWriter::start(Arc::clone(&engine), LOG_QUEUE, observer.clone())?;
    let (applier, applier_thread) =
        Applier::start(Arc::clone(&engine), Arc::clone(&indexes), grid.control.watch(), observer.clone())?;
    let copies = CopyOptions { bytes_per_second: config.copies.bytes_per_second };
    let outside = replication::Grid::new(
        grid.control.clone(),
        grid.pool.clone(),
        Arc::clone(metrics),
        tasks.clone(),
        copies,
    );
    let owners = OwnerParts {
        engine: Arc::clone(&engine),
        log,
        applier: applier.clone(),
        outside: Arc::new(outside),
        view: grid.control.watch(),
        hosts: hosts.clone(),
        moves: Arc::new(Semaphore::new(config.copies.at_once)),
        incarnation: grid.control.details().incarnation,
        retention,
    };
    let mut here = BTreeSet::new();
    for recovered in recovered {
        let partition = recovered.state.partition();
        hosts.add(partition, partition::spawn(tasks, recovered, &owners));
        here.insert(partition);
    }
    let me = identity.member.clone();
    let alone = |partition: &PartitionId| view.partition(*partition).in_sync == [me.clone()];
    let ours: PartitionSet = here.iter().copied().filter(alone).collect();
    tasks.spawn("keeper", partition::keep(tasks.clone(), owners, me.clone(), here));
    // What needs nobody else is there before the first request is. The rest comes when the others answer.
    if tokio::time::timeout(FIRST_ANSWERS, hosts.until_leads(&ours)).await.is_err() {
        tracing::warn!("some partitions do not answer yet: the grid has not confirmed that they are here");
    }
    let checks = CheckOptions { share: config.recall_checks, cpu: config.recall_cpu };
    let (recall, check_thread) = Checker::start(checks)?;
    quiet::spawn(tasks, Arc::clone(&engine));
    let (control, disk, stop, rows) =
        (grid.control.clone(), Arc::clone(health), tasks.token(), Arc::clone(&engine));
    tasks.spawn("disk", async move {
        tokio::select! {
            () = stop.cancelled() => return,
            () = control.watch_writes(rows.as_ref()) => return,
            () = disk.failed() => {}
            () = control.failed().cancelled() => {
                disk.fail("the store of the control plane failed: start this member again");
            }
        }
        control.give_up().await;
    });
    let verifier = Verifier::new(VerifierParts {
        member: identity.member.clone(),
        engine: Arc::clone(&engine),
        hosts: hosts.clone(),
        looker: applier.looker(),
        view: grid.control.watch(),
        others: Arc::new(Inspect::new(grid.pool.clone())),
        metrics: Arc::clone(metrics),
    });
    let _ = (verifies.set(verifier.clone()), shown.set(Arc::clone(&indexes)));
    let (pool, table) = (grid.pool.clone(), grid.control.watch());
    indexes.ask_others(Arc::new(Links::new(identity.member.clone(), pool, table, tasks.token())));
    let verify = VerifyOptions { every: config.verify_every };
    tasks.spawn("verify", partition::keep_verifying(tasks.clone(), verifier.clone(), verify));
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let seats = workers.min(config.search_threads);
    let service = Service::new(Parts {
        member: identity.member,
        control: grid.control.clone(),
        pool: grid.pool.clone(),
        hosts,
        engine: Arc::clone(&engine),
        indexes: Arc::clone(&indexes),
        recall,
        purger: applier.purger(),
        verifier,
        cpu: CpuPool::new(config.search_threads, WAITING_SEARCHES, seats)?,
        on_minority: config.on_minority,
        write_bytes: config.write_bytes,
        health: Arc::clone(health),
        tasks: tasks.clone(),
        metrics: Arc::clone(observer.metrics()),
    });
    Ok(Running { service, engine, indexes, grid, threads: vec![log_thread, applier_thread, check_thread] })
}

fn bring_back(
    engine: &dyn Engine,
    view: &ClusterView,
    indexes: &Registry,
    identity: &Identity,
    retention: Retention,
) -> anyhow::Result<Vec<partition::Recovered>> {
    let started = std::time::Instant::now();
    // Also what the table, as this member knew it last, has elsewhere: it may be behind.
    let hosted = partition::copies_here(engine, view, &identity.member)?;
    engine.create_partitions(&hosted)?;
    let mut states = Vec::with_capacity(hosted.len());
    let (mut replayed, mut damaged) = (0, PartitionSet::new());
    for partition in hosted {
        let recovered = match partition::recover(engine, view, &identity.member, partition, retention) {
            Err(error @ StorageError::Corrupt { .. })
                if view.partition(partition).in_sync.iter().any(|id| *id != identity.member) =>
            {
                tracing::error!(
                    %partition, %error,
                    "this member's copy of a partition is damaged: it is not used, and taken anew from another member"
                );
                damaged.insert(partition);
                partition::quarantine(engine, &identity.member, partition, retention)?
            }
            recovered => recovered?,
        };
        replayed += recovered.replayed;
        states.push(recovered);
    }
    let took_ms = started.elapsed().as_millis() as u64;
    tracing::info!(
        partitions = states.len(),
        replayed,
        took_ms,
        "recovered: the rows are level with the log"
    );
    let report = partition::level_indexes(engine, view, indexes, &damaged)?;
    tracing::info!(
        rows = report.rows,
        loaded = report.loaded,
        changes = report.changes,
        took_ms = report.took.as_millis() as u64,
        "every index equals its rows"
    );
    Ok(states)
}

fn api_config(config: &Config) -> ApiConfig {
    ApiConfig {
        listen: config.listen,
        socket: config.socket.clone(),
        admin_listen: Some(config.admin_listen),
        allowed_hosts: config.allowed_hosts.clone(),
        allowed_origins: config.allowed_origins.clone(),
        limits: ApiLimits {
            max_message_bytes: config.max_message_bytes,
            default_deadline: config.default_deadline,
            ..ApiLimits::default()
        },
    }
}
