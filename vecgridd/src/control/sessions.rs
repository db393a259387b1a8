//! The leader's task that has members fenced: feeds the failure detector and does what it says.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Command, Control,
    failure_detector::{Effect, Event, FailureDetector},
};
use crate::{task::clock, types::MemberId};

const LOOK: Duration = Duration::from_millis(50);
/// Between two attempts to hear whether a member is there.
const PROBE_AGAIN: Duration = Duration::from_millis(50);

/// Runs for as long as the daemon does, also while this member does not lead.
pub(super) async fn run(
    control: Control,
    mut inbox: mpsc::Receiver<Event>,
    suspects: watch::Sender<BTreeSet<MemberId>>,
) {
    let shared = control.shared();
    let stop = shared.tasks.token();
    let mut detector = FailureDetector::new(shared.me.clone(), shared.timing.session);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            // What was heard before the time is looked at: after a pause, beats may be waiting.
            biased;
            () = stop.cancelled() => return,
            event = inbox.recv() => match event { Some(event) => event, None => return },
            _ = ticks.tick() => Event::Tick,
        };
        let (now, leads) = (clock::now(), shared.core.role().leads);
        for effect in detector.step(now, leads, &control.view(), &event) {
            match effect {
                Effect::Probe(member) => shared.tasks.spawn("probe", probe(control.clone(), member)),
                Effect::Fence { member, incarnation } => {
                    shared.tasks.spawn("fence", fence(control.clone(), member, incarnation));
                }
            }
        }
        let late = detector.silence(now).filter(|(_, silence)| *silence > shared.timing.session / 2);
        let late: BTreeSet<MemberId> = late.map(|(member, _)| member.clone()).collect();
        suspects.send_if_modified(|known| std::mem::replace(known, late.clone()) != late);
    }
}

async fn fence(control: Control, member: MemberId, incarnation: u64) {
    match control.propose(Command::Fence { member: member.clone(), incarnation }).await {
        Ok(_) => tracing::warn!(%member, "a member is not heard any more: it is fenced until it comes back"),
        Err(error) => {
            tracing::warn!(%member, %error, "a member is not heard any more, and could not be fenced yet")
        }
    }
}

/// Asks whether a member is there until that is clear or its session tells.
async fn probe(control: Control, member: MemberId) {
    let patience = control.shared().timing.session;
    let clear = async {
        loop {
            let asked = clock::now();
            match control.shared().pool.probe(&member, patience).await {
                Ok(()) => return None,
                // Only a host that says that nobody listens is sure.
                Err(error) if error.is_nobody() => return Some(asked),
                // A process that is ending closes one socket after the other.
                Err(_) => tokio::time::sleep(PROBE_AGAIN).await,
            }
        }
    };
    if let Ok(Some(asked)) = timeout(patience, clear).await {
        let _ = control.shared().events.try_send(Event::Gone { member, asked });
    }
}
