//! Where other members may be.
//!
//! Two sources, each for ever: addresses and DNS names that the operator named (`seeds`), and what others
//! say about themselves by multicast (`mdns`). [`start`] gives one published set of addresses.
//!
//! ```text
//! --seeds ─▶ seeds.rs (looked up again and again) ─▶ ┐
//!                                                    ├─▶ union, without ourselves, bounded ─▶ watch
//! _vecgrid._tcp.local. ─▶ mdns.rs ─────────────────▶ ┘
//! ```
//!
//! An address in the set is a hint and nothing more: whoever answers there has yet to say who it is, and to
//! prove that it may. An address that is not in the set may still be a member; what the grid knows of its own
//! members does not come from here. A source that fails keeps what it found last, says so in the log, and tries
//! again.

mod mdns;
mod seeds;

use std::{collections::BTreeSet, net::SocketAddr};

use tokio::sync::watch;

pub use self::{
    mdns::{Announcement, Reach},
    seeds::{Resolve, Seed, SystemResolver},
};
use crate::task::Tasks;

/// The most addresses that are published. A grid that is larger is found through any of them.
const MAX_PEERS: usize = 256;

/// Addresses at which a member may listen.
pub type Peers = BTreeSet<SocketAddr>;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct DiscoveryOptions {
    /// What the operator named.
    pub seeds: Vec<Seed>,
    /// What to say about ourselves by multicast, and whom to hear; `None` = neither.
    pub mdns: Option<Announcement>,
    /// Where we ourselves are reached: these are left out.
    pub own: Peers,
}

/// Starts to look, and goes on until the daemon stops.
pub fn start(tasks: &Tasks, options: DiscoveryOptions, resolver: impl Resolve) -> watch::Receiver<Peers> {
    let DiscoveryOptions { seeds, mdns, own } = options;
    let (named, from_seeds) = watch::channel(Peers::new());
    let (heard, from_mdns) = watch::channel(Peers::new());
    let (publish, published) = watch::channel(Peers::new());
    if !seeds.is_empty() {
        tasks.spawn("seeds", seeds::run(seeds, resolver, seeds::PAUSES, named, tasks.token()));
    }
    if let Some(announcement) = mdns {
        tasks.spawn("mdns", mdns::run(announcement, heard, tasks.token()));
    }
    tasks.spawn("discovery", merge(from_seeds, from_mdns, own, publish));
    published
}

/// Ends when both sources have ended.
async fn merge(
    mut seeds: watch::Receiver<Peers>,
    mut mdns: watch::Receiver<Peers>,
    own: Peers,
    publish: watch::Sender<Peers>,
) {
    let (mut seeds_live, mut mdns_live, mut looked) = (true, true, false);
    while seeds_live || mdns_live {
        tokio::select! {
            changed = seeds.changed(), if seeds_live => seeds_live = changed.is_ok(),
            changed = mdns.changed(), if mdns_live => mdns_live = changed.is_ok(),
        }
        let peers = union(&seeds.borrow(), &mdns.borrow(), &own);
        // The first time also when there are none: whoever waits for that knows that we have looked.
        let first = !std::mem::replace(&mut looked, true);
        publish.send_if_modified(|published| {
            let differs = *published != peers;
            if differs {
                tracing::debug!(?peers, "addresses where members may be");
                *published = peers;
            }
            differs || first
        });
    }
}

/// Named ones first: they are what the operator meant.
fn union(seeds: &Peers, mdns: &Peers, own: &Peers) -> Peers {
    let found = seeds.iter().chain(mdns.difference(seeds)).filter(|address| !own.contains(address));
    found.take(MAX_PEERS).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_bounded_and_named_addresses_come_first() {
        let many = |net: u8| -> Peers { (0..200).map(|n| SocketAddr::from(([10, net, 0, n], 1))).collect() };
        let own = [SocketAddr::from(([10, 9, 0, 0], 1))].into();
        let found = union(&many(9), &many(1), &own);
        assert_eq!(found.len(), MAX_PEERS);
        assert!(!found.iter().any(|address| own.contains(address)));
        assert_eq!(found.intersection(&many(9)).count(), 199);
    }
}
