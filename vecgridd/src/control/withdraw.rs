//! A member whose disk fails, or stands still, lets others take its place.
//!
//! ```text
//! the disk failed        ──▶ it has itself fenced, and beats no more until it is started again
//! a write takes too long ──▶ it falls silent, as if it had been frozen: it does not beat, and does not lead;
//!                            when the write has ended it beats again, and is made level like any that was away
//! ```
//!
//! Neither before everything that it holds is in sync elsewhere, too: whoever is fenced answers no reads either, and until
//! then nobody else could. And none is silent whom the others need for a majority: they could not fence it, and all leases
//! would end for nothing. Left out: disks that stand still everywhere at once. Then all are silent, nobody leads, and nobody
//! reads until one goes on; nobody could have written either.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{Command, Control};
use crate::{
    storage::Engine,
    types::{ClusterView, Member, MemberId},
};

/// A write that takes longer is one that nobody should wait for: with a session and an election after it, an app with a
/// deadline of ten seconds still gets its answer from another member.
const PATIENCE: Duration = Duration::from_secs(4);

impl Control {
    /// This member takes no writes any more, until it is started again. Returns when that is decided.
    pub async fn give_up(&self) {
        let (shared, stop) = (self.shared(), self.shared().tasks.token());
        let (mut view, mut again) = (self.watch(), interval(shared.timing.beat));
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = Arc::clone(&view.borrow_and_update());
            if !now.member(&shared.me).is_some_and(Member::is_alive) {
                return;
            }
            if can_do_without(&now, &shared.me) {
                // As in `pause`.
                shared.paused.store(true, Ordering::Release);
                let command =
                    Command::Fence { member: shared.me.clone(), incarnation: shared.details.incarnation };
                match self.propose(command).await {
                    Ok(_) => {
                        return tracing::warn!(
                            "the others take this member's place until it is started again"
                        );
                    }
                    Err(error) => tracing::debug!(%error, "this member could not be replaced yet"),
                }
            }
            tokio::select! {
                _ = again.tick() => {}
                changed = view.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Falls silent while a write to the control store or to `rows` stands still. Never returns by itself.
    pub async fn watch_writes(&self, rows: &dyn Engine) {
        let shared = self.shared();
        let mut looks = interval(shared.timing.beat);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let waits = shared.core.waits().max(rows.waits());
            let (was, late) = (shared.core.is_silent(), waits > PATIENCE);
            // What it has said of itself it does not take back while the disk stands still.
            let silent =
                late && (was || self.majority_without_me() && can_do_without(&self.view(), &shared.me));
            if silent == was {
                continue;
            }
            shared.core.be_silent(silent);
            if silent {
                tracing::error!(
                    ?waits,
                    "the disk stands still: the others take this member's place until it goes on"
                );
            } else {
                tracing::warn!("the disk goes on, and so does this member");
            }
        }
    }

    /// Whether the others can decide when this member says nothing.
    fn majority_without_me(&self) -> bool {
        let shared = self.shared();
        let can = |voters: &std::collections::BTreeSet<MemberId>| {
            let others = voters.iter().filter(|voter| **voter != shared.me).count();
            2 * others > voters.len()
        };
        shared.core.role().voters.iter().all(can)
    }
}

/// Whether everything that a member holds is in sync elsewhere, too.
fn can_do_without(view: &ClusterView, member: &MemberId) -> bool {
    view.members().count() > 1
        && view.hosted(member).iter().all(|partition| view.alive_in_sync(*partition) > 1)
}
