//! How work runs and stops.
//!
//! [`Tasks`] starts every async task, so shutdown can wait for all of them. [`CpuPool`] runs
//! computations (searches, filters) beside the I/O threads, with a bounded number in flight.
//! Threads that own something for their whole life (the log writer, the applier, the index
//! builders) are made by their owners; those whose work must not be felt use [`background`]. What must go on
//! while everything else is busy gets threads of its own: [`OwnRuntime`]. Tasks that hyper starts are [calm](CalmExecutor).

pub mod background;
mod calm;
pub mod clock;
mod cpu_pool;
mod health;
mod own_runtime;

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use calm::CalmExecutor;
pub use cpu_pool::{CpuPool, CpuPoolError};
pub use health::Health;
pub use own_runtime::OwnRuntime;

/// Starts async tasks and waits for their end. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// Runs `work` until it ends by itself. Long-running work watches [`Tasks::token`].
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        tracing::trace!(task = name, "task starts");
        self.tracker.spawn(work);
    }

    /// The same, on another runtime than the one we are on.
    pub fn spawn_on(
        &self,
        runtime: &tokio::runtime::Handle,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        tracing::trace!(task = name, "task starts");
        self.tracker.spawn_on(work, runtime);
    }

    /// Cancelled when the daemon stops.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Tells all tasks to stop and waits for them; true if all ended within `grace`.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}
