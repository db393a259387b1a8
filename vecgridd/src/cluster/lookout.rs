//! What a member of a grid still looks for: members that moved while nobody could record it, and other grids of
//! its name.
//!
//! A grid of one member that never held anything is given up for another one of its name, by a decision of its own
//! control plane: from then on it decides nothing more, and the daemon starts anew with an empty data directory, as a
//! member that looks for a grid. Everything else is counted, and told once for each change.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use vecgrid_proto::peer as wire;

use super::{
    arrive::{HELLO, sighting},
    birth::{Birth, Effect, Event, Rules},
    discovery::Peers,
};
use crate::{
    control::{Command, Control},
    peer::Pool,
    task::clock,
    telemetry::Metrics,
    types::MemberId,
};

/// Between two rounds while all is well.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two rounds while no leader is heard: the others may have moved.
const HASTE: Duration = Duration::from_millis(500);
/// The most addresses of which it is remembered what was told about them.
const MAX_TOLD: usize = 64;

/// Where a member looks.
pub struct Lookout {
    /// What the grid agreed on.
    pub control: Control,
    /// The way to others.
    pub pool: Pool,
    /// Numbers for the operator.
    pub metrics: Arc<Metrics>,
    /// Where members may be.
    pub addresses: watch::Receiver<Peers>,
    /// Where members of other grids of our name say that they are.
    pub others: watch::Sender<Peers>,
}

/// Looks around for as long as the daemon runs. Runs on the runtime of the control plane.
pub async fn lookout(mut at: Lookout, stop: CancellationToken) {
    // Before that, the name of our grid is not known either.
    let mut view = at.control.watch();
    tokio::select! {
        Ok(_) = view.wait_for(|view| view.version() > 0) => {}
        () = stop.cancelled() => return,
    }
    let mut others = at.others.subscribe();
    let mut birth = Birth::new(at.pool.me().member().clone(), at.control.view().grid(), Rules::default());
    let mut told = Told::default();
    loop {
        let mut now = at.addresses.borrow_and_update().clone();
        now.extend(others.borrow_and_update().iter());
        for address in now {
            let view = at.control.view();
            let (members, empty) = (view.members().count(), view.is_unused());
            birth.step(Event::Member { grid: view.id().to_owned(), members, empty });
            let asked = tokio::select! {
                asked = at.ask(address) => asked,
                () = stop.cancelled() => return,
            };
            let Some(event) = asked else {
                told.forget(address);
                continue;
            };
            if let Event::Silent(gone) = event {
                told.forget(gone);
                // One that was named by the operator, or is heard by multicast, is asked again all the same.
                at.others.send_if_modified(|others| others.remove(&gone));
            }
            for effect in birth.step(event) {
                if at.act(effect, &mut told).await {
                    return;
                }
                birth.step(Event::Failed);
            }
        }
        let calm = at.control.lease().holds(clock::now());
        let pause = if calm { PAUSE } else { HASTE };
        let changed = async {
            tokio::select! { _ = at.addresses.changed() => {}, _ = others.changed() => {} }
        };
        tokio::select! {
            _ = timeout(pause, changed) => {}
            () = stop.cancelled() => return,
        }
    }
}

impl Lookout {
    async fn ask(&self, at: SocketAddr) -> Option<Event> {
        let view = self.control.view();
        let address = self.control.details().address.clone();
        let message = wire::HelloRequest { grid_name: view.grid().to_owned(), address };
        let answer = match self.pool.hello(&at.to_string(), message, HELLO).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%at, %error, "an address does not answer");
                return Some(Event::Silent(at));
            }
        };
        if answer.grid == view.id() {
            self.control.learn_address(&MemberId(answer.member), &answer.address, answer.incarnation);
            return None;
        }
        Some(Event::Heard(at, sighting(answer)))
    }

    /// True when our grid is no more.
    async fn act(&self, effect: Effect, told: &mut Told) -> bool {
        let (at, other) = match effect {
            Effect::Foreign { at, grid } => (at, grid),
            Effect::Dissolve(at) => {
                match self.control.propose(Command::Dissolve { at: at.to_string() }).await {
                    Ok(_) => {
                        tracing::warn!(
                            %at,
                            "there is another grid called `{}`, and ours holds nothing: it is given up, and this member \
                             looks for the other one",
                            self.control.view().grid()
                        );
                        return true;
                    }
                    Err(error) => {
                        tracing::debug!(%at, %error, "our grid is not given up");
                        return false;
                    }
                }
            }
            // Only of fresh members.
            Effect::Join(_) | Effect::Create | Effect::WaitAgain => return false,
        };
        self.metrics.foreign_grid();
        if told.is_news(at, &other) {
            tracing::error!(
                %at, other,
                "there is another grid called `{}`. They are not merged: stop one of them, or give it another name \
                 with --grid",
                self.control.view().grid()
            );
        }
        false
    }
}

/// What was told of which address: once for each change.
#[derive(Default)]
struct Told(BTreeMap<SocketAddr, String>);

impl Told {
    fn is_news(&mut self, at: SocketAddr, grid: &str) -> bool {
        let room = self.0.len() < MAX_TOLD || self.0.contains_key(&at);
        room && self.0.insert(at, grid.to_owned()).is_none_or(|before| before != grid)
    }

    fn forget(&mut self, at: SocketAddr) {
        self.0.remove(&at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_grid_is_told_once_until_something_changes() {
        let (mut told, at) = (Told::default(), |n: u16| SocketAddr::from(([127, 0, 0, 1], n)));
        assert!(told.is_news(at(1), "a") && !told.is_news(at(1), "a"));
        assert!(told.is_news(at(1), "b"), "another one there");
        told.forget(at(1));
        assert!(told.is_news(at(1), "b"), "it was gone meanwhile");
        for n in 1..=100 {
            told.is_news(at(n), "c");
        }
        assert_eq!(told.0.len(), MAX_TOLD);
    }
}
