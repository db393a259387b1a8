//! A bounded pool for computations that would block an I/O thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::{Semaphore, oneshot};

/// Why a computation gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpuPoolError {
    /// As many computations wait as may.
    #[error("too many computations are waiting")]
    Full,
    /// The computation panicked; the pool lives on.
    #[error("a computation panicked")]
    Panicked,
}

/// Runs closures on a fixed number of threads. More than `waiting` closures in flight are refused
/// at once, so the queue is bounded.
#[derive(Clone)]
pub struct CpuPool {
    pool: Arc<rayon::ThreadPool>,
    places: Arc<Semaphore>,
}

impl CpuPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn new(threads: usize, waiting: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("cpu-{i}"))
            .build()?;
        Ok(Self { pool: Arc::new(pool), places: Arc::new(Semaphore::new(waiting)) })
    }

    /// Runs `work` and gives its result. Dropping the future does not stop the work, which keeps
    /// its place until it ends.
    ///
    /// # Errors
    /// [`CpuPoolError`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CpuPoolError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| CpuPoolError::Full)?;
        let (reply, result) = oneshot::channel();
        self.pool.spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            drop(place);
            if let Ok(value) = outcome {
                // The caller may have gone: nothing to tell then.
                let _ = reply.send(value);
            }
        });
        result.await.map_err(|_| CpuPoolError::Panicked)
    }
}
