//! A small runtime apart from the one that serves requests.

use std::{io, time::Duration};

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads for work that must go on while all others are busy. [`OwnRuntime::end`] waits for their end; dropping does not.
#[derive(Debug)]
pub struct OwnRuntime {
    runtime: Option<Runtime>,
}

impl OwnRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn start(name: &str, threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads).thread_name(name).enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs work there; `None` if it ended with a panic.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        match &self.runtime {
            Some(runtime) => runtime.spawn(work).await.ok(),
            None => None,
        }
    }

    /// Ends it: tasks stop where they wait, and what they own is dropped when this returns, unless a thread is stuck for
    /// longer than `grace`.
    pub async fn end(mut self, grace: Duration) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting would block the thread that we are on.
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(grace)).await;
            if let Err(error) = ended {
                tracing::warn!(%error, "a runtime did not end cleanly");
            }
        }
    }

    /// To start tasks there, by [`super::Tasks::spawn_on`].
    ///
    /// # Errors
    /// Never while this exists.
    pub fn handle(&self) -> io::Result<Handle> {
        let handle = self.runtime.as_ref().map(|runtime| runtime.handle().clone());
        handle.ok_or_else(|| io::Error::other("the runtime has ended"))
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // Dropping it inside another runtime would panic; its tasks were stopped before.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
