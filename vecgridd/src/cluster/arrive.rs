//! How a fresh member comes into a grid: asks whoever may be a member, and does what [`Birth`] decides.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use vecgrid_proto::peer as wire;

use super::{
    birth::{Birth, Effect, Event, Rules, Sighting},
    discovery::Peers,
};
use crate::{
    control::details_for,
    peer::{PeerError, Pool},
    types::{MemberDetails, MemberId},
};

/// How long one address is waited for.
pub(super) const HELLO: Duration = Duration::from_secs(1);
/// How long a grid may take to let a member in: it may be choosing a leader.
const JOIN: Duration = Duration::from_secs(8);
/// Between two rounds over all addresses.
const PAUSE: Duration = Duration::from_millis(250);

/// What a fresh member was told.
pub struct Arrival {
    /// Who it is.
    pub member: MemberId,
    /// Name of the grid it looks for.
    pub grid_name: String,
    /// What it says about itself.
    pub details: MemberDetails,
    /// How it may found a grid, if it finds none.
    pub rules: Rules,
    /// How long it looks around before it founds one without having been told of others: multicast takes a
    /// moment.
    pub waiting: Duration,
    /// Where other members may be; may change, and is kept open.
    pub addresses: watch::Receiver<Peers>,
    /// The fresh members that it sees, for the [`Door`](super::Door) to tell others.
    pub sees: watch::Sender<BTreeSet<MemberId>>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// It is to found a grid.
    Found,
    /// It was taken into the grid of this id.
    Joined(String),
}

/// Why a fresh member did not get into a grid.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArriveError {
    /// It was told to stop.
    #[error("stopped before it found a grid")]
    Stopped,
}

/// Looks for a grid until there is one, or this member may found one. Must run on the runtime of the control plane.
///
/// # Errors
/// [`ArriveError`].
pub async fn arrive(
    pool: &Pool,
    mut arrival: Arrival,
    stop: &CancellationToken,
) -> Result<Arrived, ArriveError> {
    let rules = arrival.rules.clone();
    let mut birth = Birth::new(arrival.member.clone(), &arrival.grid_name, rules);
    let (mut asked, mut said, mut distrusted) = (Peers::new(), None, Peers::new());
    let (begun, mut unchanged_since) = (Instant::now(), Instant::now());
    loop {
        arrival.sees.send_replace(birth.fresh());
        let addresses = arrival.addresses.borrow_and_update().clone();
        // All at once: an address where nobody answers must not hold up the others.
        let questions = join_all(addresses.iter().map(|address| ask(pool, &arrival, *address)));
        let answers = tokio::select! {
            answers = questions => answers,
            () = stop.cancelled() => return Err(ArriveError::Stopped),
        };
        let mut events: Vec<Event> = asked.difference(&addresses).copied().map(Event::Silent).collect();
        asked = addresses;
        for (at, answer) in answers {
            match answer {
                Ok(sighting) => events.push(Event::Heard(at, sighting)),
                Err(error) => {
                    if error.is_distrust() && distrusted.insert(at) {
                        tracing::warn!(
                            %at, %error,
                            "somebody is there, and is not trusted: all members need the same --grid-secret-file, or \
                             certificates of one authority"
                        );
                    }
                    tracing::debug!(%at, %error, "nobody answers there yet");
                    events.push(Event::Silent(at));
                }
            }
        }
        if begun.elapsed() >= arrival.waiting {
            events.push(Event::LookedAround);
        }
        if unchanged_since.elapsed() >= arrival.waiting {
            events.push(Event::Waited);
        }
        for event in events {
            for effect in birth.step(event) {
                match effect {
                    Effect::Create => return Ok(Arrived::Found),
                    Effect::Join(at) => match join(pool, &arrival, at, stop).await? {
                        Ok(grid) => return Ok(Arrived::Joined(grid)),
                        Err(error) => {
                            tracing::warn!(%at, %error, "could not join this grid; trying on");
                            birth.step(Event::Failed);
                        }
                    },
                    Effect::WaitAgain => unchanged_since = Instant::now(),
                    // Only of members.
                    Effect::Dissolve(_) | Effect::Foreign { .. } => {}
                }
            }
        }
        let waits_for = birth.waits_for();
        if said != waits_for {
            tracing::info!(grid = arrival.grid_name, addresses = ?asked, waits_for, "no grid yet");
            said = waits_for;
        }
        // Other members start when they like; new addresses are looked at at once.
        tokio::select! {
            _ = timeout(PAUSE, arrival.addresses.changed()) => {}
            () = stop.cancelled() => return Err(ArriveError::Stopped),
        }
    }
}

/// Who is there?
async fn ask(pool: &Pool, arrival: &Arrival, at: SocketAddr) -> (SocketAddr, Result<Sighting, PeerError>) {
    let hello =
        wire::HelloRequest { grid_name: arrival.grid_name.clone(), address: arrival.details.address.clone() };
    (at, pool.hello(&at.to_string(), hello, HELLO).await.map(sighting))
}

/// What somebody said about itself.
pub(super) fn sighting(found: wire::HelloResponse) -> Sighting {
    Sighting {
        grid_name: found.grid_name,
        grid: Some(found.grid).filter(|grid| !grid.is_empty()),
        member: MemberId(found.member),
        members: found.members as usize,
        empty: found.empty,
        fresh: found.fresh.into_iter().map(MemberId).collect(),
    }
}

async fn join(
    pool: &Pool,
    arrival: &Arrival,
    at: SocketAddr,
    stop: &CancellationToken,
) -> Result<Result<String, PeerError>, ArriveError> {
    let details = Some(details_for(&arrival.details));
    let message = wire::JoinRequest { grid_name: arrival.grid_name.clone(), details };
    let address = at.to_string();
    tokio::select! {
        joined = pool.join(&address, message, JOIN) => Ok(joined.map(|joined| joined.grid)),
        () = stop.cancelled() => Err(ArriveError::Stopped),
    }
}
