//! What is done when nothing is written for a while.
//!
//! **The store is flushed**, so that a start after a crash has little to read. RocksDB keeps up to 192 MiB of
//! rows in memory and in its own log, and a start reads that log again: two seconds, after an import.
//! While writes go on this does nothing, since flushing all families would slow them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{storage::Engine, task::Tasks};

/// How long nothing must have been written.
const QUIET: Duration = Duration::from_secs(2);
/// Fewer bytes are read in a tenth of a second, and not worth files of their own in every family.
const ENOUGH: u64 = 16 << 20;

/// Watches the store until the daemon stops.
pub fn spawn(tasks: &Tasks, engine: Arc<dyn Engine>) {
    let stop = tasks.token();
    tasks.spawn("quiet", async move {
        let mut before = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(QUIET) => {}
                () = stop.cancelled() => return,
            }
            let bytes = engine.unflushed();
            if bytes != std::mem::replace(&mut before, bytes) {
                continue;
            }
            if bytes >= ENOUGH {
                flush(Arc::clone(&engine)).await;
                before = engine.unflushed();
            }
        }
    });
}

async fn flush(engine: Arc<dyn Engine>) {
    let started = Instant::now();
    match tokio::task::spawn_blocking(move || engine.flush()).await {
        Ok(Ok(())) => {
            let took_ms = started.elapsed().as_millis() as u64;
            tracing::info!(took_ms, "the quiet store is flushed");
        }
        Ok(Err(error)) => tracing::error!(%error, "the store cannot be flushed"),
        Err(error) => tracing::error!(%error, "flushing the store panicked"),
    }
}
