//! A member that may be behind asks the leader how far the grid is.
//!
//! What was decided is published here a moment after whoever proposed it elsewhere has its answer. Usually nobody
//! notices; a request that names something which is not known here does.

use tokio::time::{Instant, timeout_at};

use super::Control;

impl Control {
    /// Returns when this member knows what the leader knew when it was asked, or cannot find out by then. A leader
    /// that has lost its lead, and does not know it, may know less: a hint, not a promise.
    pub async fn catch_up(&self, by: Instant) {
        let shared = self.shared();
        let role = shared.core.role();
        let Some(leader) = role.leader.filter(|leader| !role.leads && *leader != shared.me) else { return };
        let patience = by.saturating_duration_since(Instant::now());
        let answer = match shared.pool.look(&leader, patience).await {
            Ok(answer) => answer,
            Err(error) => {
                return tracing::debug!(%leader, %error, "the leader does not say how far the grid is");
            }
        };
        let mut view = self.watch();
        if answer.grid == view.borrow().id() {
            let _ = timeout_at(by, view.wait_for(|view| view.version() >= answer.table_version)).await;
        }
    }
}
