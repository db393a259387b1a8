//! How a fresh member comes into a grid.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use vecgrid_proto::peer as wire;

use crate::{
    control::details_for,
    peer::{PeerError, Pool},
    types::MemberDetails,
};

/// How long one address is waited for.
const HELLO: Duration = Duration::from_secs(1);
/// How long a grid may take to let a member in: it may be choosing a leader.
const JOIN: Duration = Duration::from_secs(8);
/// Between two rounds over all addresses.
const PAUSE: Duration = Duration::from_millis(250);
/// Rounds between two lines in the log.
const TELL_EVERY: u32 = 40;

/// What a fresh member was told.
pub struct Arrival {
    /// Name of the grid it looks for.
    pub grid_name: String,
    /// What it says about itself.
    pub details: MemberDetails,
    /// It may found a grid, if it finds none.
    pub bootstrap: bool,
    /// Where other members may be; may change, and is kept open.
    pub addresses: watch::Receiver<Vec<String>>,
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
    for round in 0_u32.. {
        let addresses = arrival.addresses.borrow_and_update().clone();
        let mut silent = Vec::new();
        for address in &addresses {
            let asked = tokio::select! {
                asked = ask(pool, &arrival, address) => asked,
                () = stop.cancelled() => return Err(ArriveError::Stopped),
            };
            match asked {
                Ok(Some(grid)) => return Ok(Arrived::Joined(grid)),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(address, %error, "no grid there yet");
                    silent.push(error.to_string());
                }
            }
        }
        if arrival.bootstrap {
            return Ok(Arrived::Found);
        }
        if round % TELL_EVERY == 0 {
            tracing::info!(
                grid = arrival.grid_name,
                ?addresses,
                problems = ?silent,
                "waiting for a grid to join: start one member with --bootstrap if there is none yet"
            );
        }
        // Other members start when they like; new addresses are looked at at once.
        tokio::select! {
            _ = timeout(PAUSE, arrival.addresses.changed()) => {}
            () = stop.cancelled() => return Err(ArriveError::Stopped),
        }
    }
    Err(ArriveError::Stopped)
}

/// Asks whoever is at an address for its grid, and to be taken into it; `None` when there is none to join.
async fn ask(pool: &Pool, arrival: &Arrival, address: &str) -> Result<Option<String>, PeerError> {
    let hello =
        wire::HelloRequest { grid_name: arrival.grid_name.clone(), address: arrival.details.address.clone() };
    let found = pool.hello(address, hello, HELLO).await?;
    if found.grid.is_empty() {
        return Ok(None);
    }
    if found.grid_name != arrival.grid_name {
        tracing::warn!(
            address,
            theirs = found.grid_name,
            ours = arrival.grid_name,
            "a member of another grid was found: pass its name with --grid to join it"
        );
        return Ok(None);
    }
    let details = Some(details_for(&arrival.details));
    let message = wire::JoinRequest { grid_name: arrival.grid_name.clone(), details };
    Ok(Some(pool.join(address, message, JOIN).await?.grid))
}
