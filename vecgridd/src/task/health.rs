//! What this member can do now.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

/// Shared by the threads that notice and the doors that tell.
#[derive(Debug, Default)]
pub struct Health {
    failure: OnceLock<Arc<str>>,
    failed: CancellationToken,
    draining: AtomicBool,
}

impl Health {
    /// The disk failed: no more writes until a restart. The first reason is kept.
    pub fn fail(&self, why: &str) {
        let _ = self.failure.set(why.into());
        self.failed.cancel();
    }

    /// Returns when the disk has failed.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Why there are no more writes, if so.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.failure.get().cloned()
    }

    /// The daemon begins to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// True when the daemon is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
