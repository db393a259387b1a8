//! `--drain`: a daemon that is told to stop leaves the grid first.
//!
//! ```text
//! SIGTERM ─▶ Leave ─▶ others take its partitions, it serves ─▶ holds nothing, votes no more ─▶ Remove ─▶ stops
//! ```
//!
//! It stops without having left when nobody else could take its partitions, when its time is over, when it is asked
//! to stop once more, or when somebody cancels. Then it is as after any stop: its data stays in its directory, and a
//! start brings it back as a member that stays.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    control::{Command, Control, ControlError, Refused},
    types::{Member, MemberId},
};

/// Between two looks at what may change without a decision, and two attempts to have something decided.
const LOOK: Duration = Duration::from_millis(500);
/// Between two lines of the log that say how far it is.
const TELL: Duration = Duration::from_secs(5);

/// Returns when this member has left, or will not.
pub async fn leave(control: &Control, me: &MemberId, patience: Duration, hurry: &CancellationToken) {
    let left = || control.view().hosted(me).len();
    tokio::select! {
        () = give_away(control, me) => {}
        () = hurry.cancelled() => {
            tracing::warn!(partitions_left = left(), "asked again: stopping without having left the grid");
        }
        () = sleep(patience) => tracing::warn!(
            partitions_left = left(),
            "--drain-timeout is over: stopping without having left the grid. Its data stays in its data directory; \
             a start brings it back"
        ),
    }
}

async fn give_away(control: &Control, me: &MemberId) {
    while let Err(error) = control.propose(Command::Leave(me.clone())).await {
        match error {
            ControlError::Refused(Refused::HasLeft(_)) => return,
            ControlError::Refused(_) | ControlError::Stopped(_) => {
                return tracing::warn!(%error, "stopping as for a restart");
            }
            ControlError::Unavailable(_) | ControlError::Unknown(_) => {
                tracing::warn!(%error, "cannot leave the grid yet");
                sleep(LOOK).await;
            }
        }
    }
    let mut view = control.watch();
    let mut told: Option<(usize, Instant)> = None;
    loop {
        let now = view.borrow_and_update().clone();
        let Some(member) = now.member(me).filter(|member| !member.has_left()) else { return };
        if !member.leaving {
            return tracing::warn!("leaving was cancelled: stopping as for a restart");
        }
        let left = now.hosted(me).len();
        if told.is_none_or(|(before, at)| before != left && (left == 0 || at.elapsed() >= TELL)) {
            tracing::info!(partitions_left = left, "leaving the grid: other members take the partitions");
            told = Some((left, Instant::now()));
        }
        let decides = control.status();
        let votes = decides.leads || decides.changing || decides.voters.contains(me);
        if now.has_emptied(me) && !votes && is_removed(control, me).await {
            return tracing::info!("this member has left the grid");
        }
        // Votes change without a decision of the grid.
        tokio::select! { _ = view.changed() => {}, () = sleep(LOOK) => {} }
    }
}

async fn is_removed(control: &Control, me: &MemberId) -> bool {
    match control.propose(Command::Remove(me.clone())).await {
        Ok(_) | Err(ControlError::Refused(Refused::HasLeft(_))) => true,
        Err(error) => {
            tracing::debug!(%error, "not removed yet");
            control.view().member(me).is_none_or(Member::has_left)
        }
    }
}
