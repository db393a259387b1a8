//! What is done when nothing is written for a while.
//!
//! **The store is flushed**, so that a start after a crash has little to read. RocksDB keeps up to 192 MiB of
//! rows in memory and in its own log, and a start reads that log again: two seconds, after an import.
//! While writes go on this does nothing, since flushing all families would slow them.
//!
//! **Free memory goes back to the system.** Requests leave holes between what stays, and the allocator of the
//! GNU C library keeps them; after an import they were as large as half of the index.

#![allow(unsafe_code)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{storage::Engine, task::Tasks};

/// How long nothing must have been written.
const QUIET: Duration = Duration::from_secs(2);
/// Fewer bytes are read in a tenth of a second, and not worth files of their own in every family.
const ENOUGH: u64 = 16 << 20;
/// Memory is given back in so many quiet times after writes: what builds indexes is late.
const TRIMS: u32 = 16;

/// Watches the store until the daemon stops.
pub fn spawn(tasks: &Tasks, engine: Arc<dyn Engine>) {
    let stop = tasks.token();
    tasks.spawn("quiet", async move {
        let (mut before, mut trims) = (0, 0);
        loop {
            tokio::select! {
                () = tokio::time::sleep(QUIET) => {}
                () = stop.cancelled() => return,
            }
            let bytes = engine.unflushed();
            if bytes != std::mem::replace(&mut before, bytes) {
                trims = TRIMS;
                continue;
            }
            if bytes >= ENOUGH {
                flush(Arc::clone(&engine)).await;
                before = engine.unflushed();
            }
            if trims > 0 {
                trims -= 1;
                // A thread that panics here would be a bug of the C library.
                let _ = tokio::task::spawn_blocking(give_memory_back).await;
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

/// Pages without anything in them, in the memory of the allocator.
fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let started = Instant::now();
        // SAFETY: may be called at any time from any thread; it moves and changes nothing that is in use.
        unsafe { libc::malloc_trim(0) };
        tracing::debug!(took = ?started.elapsed(), "free memory went back to the system");
    }
}
