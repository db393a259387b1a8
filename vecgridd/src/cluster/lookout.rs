//! What a member of a grid still looks for: members that moved while nobody could record it, and other grids of
//! its name.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use vecgrid_proto::peer as wire;

use super::{
    arrive::{HELLO, sighting},
    birth::{Birth, Effect, Event, Rules},
};
use crate::{control::Control, peer::Pool, task::clock, telemetry::Metrics, types::MemberId};

/// Between two rounds while all is well.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two rounds while no leader is heard: the others may have moved.
const HASTE: Duration = Duration::from_millis(500);

/// Looks around for as long as the daemon runs. Runs on the runtime of the control plane.
pub async fn lookout(
    control: Control,
    pool: Pool,
    metrics: Arc<Metrics>,
    mut addresses: watch::Receiver<BTreeSet<SocketAddr>>,
    stop: CancellationToken,
) {
    let mut birth = Birth::new(pool.me().member().clone(), control.view().grid(), Rules::default());
    let mut reported = BTreeSet::new();
    loop {
        let view = control.view();
        let (members, empty) = (view.members().count(), view.collections().next().is_none());
        birth.step(Event::Member { grid: view.id().to_owned(), members, empty });
        let now = addresses.borrow_and_update().clone();
        for address in now {
            let asked = tokio::select! {
                asked = ask(&control, &pool, address) => asked,
                () = stop.cancelled() => return,
            };
            let Some(event) = asked else { continue };
            for effect in birth.step(event) {
                let (Effect::Foreign { at, .. } | Effect::Dissolve(at)) = &effect else { continue };
                metrics.foreign_grid();
                if reported.len() < 64 && reported.insert(*at) {
                    report(&effect, view.grid());
                }
                // Dissolving is left to the operator.
                birth.step(Event::Failed);
            }
        }
        let calm = control.lease().holds(clock::now());
        tokio::select! {
            _ = timeout(if calm { PAUSE } else { HASTE }, addresses.changed()) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn ask(control: &Control, pool: &Pool, at: SocketAddr) -> Option<Event> {
    let view = control.view();
    let address = control.details().address.clone();
    let message = wire::HelloRequest { grid_name: view.grid().to_owned(), address };
    let answer = match pool.hello(&at.to_string(), message, HELLO).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%at, %error, "an address does not answer");
            return Some(Event::Silent(at));
        }
    };
    if answer.grid == view.id() {
        control.learn_address(&MemberId(answer.member), &answer.address, answer.incarnation);
        return None;
    }
    Some(Event::Heard(at, sighting(answer)))
}

fn report(effect: &Effect, name: &str) {
    match effect {
        Effect::Dissolve(at) => tracing::error!(
            %at,
            "there is another grid called `{name}`, and ours holds nothing: stop this member, remove its data \
             directory, and start it with --seeds {at} and without --bootstrap to join the other one"
        ),
        _ => tracing::error!(
            ?effect,
            "there is another grid called `{name}`. They are not merged: stop one of them, or give it another name \
             with --grid"
        ),
    }
}
