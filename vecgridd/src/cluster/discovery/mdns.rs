//! What members say about themselves by multicast: DNS-SD, service `_vecgrid._tcp.local.`
//!
//! The instance is called after the member, and its text record names the grid, so that grids share a
//! network without disturbing each other. We announce ourselves and listen. `mdns-sd` has its own thread
//! and sockets; when it gives up we start it again after a pause. Multicast stays in the local
//! network and is not there at all in most clouds and containers: then seeds are needed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Peers;
use crate::types::MemberId;

const SERVICE: &str = "_vecgrid._tcp.local.";
/// Before a failed daemon is started again.
const PAUSE: Duration = Duration::from_secs(2);
/// The most services that are remembered: anybody in the network can announce some.
const MAX_SERVICES: usize = 256;
/// The most addresses of one of them.
const MAX_ADDRESSES: usize = 4;
/// How long the good-bye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// How far the multicast goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All networks of this machine.
    Networks,
    /// Only this machine: for members that listen on loopback.
    Loopback,
}

/// What we say about ourselves.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Whom we look for, too.
    pub grid: String,
    /// Us.
    pub member: MemberId,
    /// Where we are reached. An unspecified address (0.0.0.0) stands for all that we have.
    pub address: SocketAddr,
    /// Where we say it.
    pub reach: Reach,
}

pub(super) async fn run(announcement: Announcement, publish: watch::Sender<Peers>, stop: CancellationToken) {
    let mut said = false;
    while !stop.is_cancelled() {
        let ended = match announce(&announcement) {
            Ok((daemon, events)) => {
                said = false;
                let heard = listen(&announcement, &events, &publish, &stop).await;
                say_goodbye(&daemon).await;
                heard
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            // Once: without multicast this would be said every two seconds.
            if !said {
                tracing::warn!(%error, "members cannot be found by multicast now; trying on. Where there is none: --seeds");
            }
            said = true;
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

type Events = mdns_sd::Receiver<ServiceEvent>;

fn announce(announcement: &Announcement) -> Result<(ServiceDaemon, Events), mdns_sd::Error> {
    let Announcement { grid, member, address, reach } = announcement;
    let daemon = ServiceDaemon::new()?;
    match reach {
        Reach::Networks => daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?,
        Reach::Loopback => {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::LoopbackV4)?;
        }
    }
    // The host's own name may be announced by others with other addresses: ours is the member's.
    let host = format!("{member}.local.");
    let texts = [("grid", grid.as_str()), ("member", member.0.as_str())];
    let ips: &[IpAddr] = if address.ip().is_unspecified() { &[] } else { &[address.ip()] };
    let mut service = ServiceInfo::new(SERVICE, &member.0, &host, ips, address.port(), &texts[..])?;
    if ips.is_empty() {
        service = service.enable_addr_auto();
    }
    // Nobody else has our id, so there is no need to ask first whether the name is free.
    service.set_requires_probe(false);
    let events = daemon.browse(SERVICE)?;
    daemon.register(service)?;
    Ok((daemon, events))
}

/// Until the daemon stops; an error when `mdns-sd` gave up.
async fn listen(
    announcement: &Announcement,
    events: &Events,
    publish: &watch::Sender<Peers>,
    stop: &CancellationToken,
) -> Result<(), mdns_sd::Error> {
    let mut services: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
    loop {
        let event = tokio::select! {
            event = events.recv_async() => event,
            () = stop.cancelled() => return Ok(()),
        };
        match event {
            Ok(ServiceEvent::ServiceResolved(service)) => {
                let room = services.len() < MAX_SERVICES || services.contains_key(&service.fullname);
                if let Some(found) = addresses(announcement, &service).filter(|_| room) {
                    services.insert(service.fullname, found);
                }
            }
            Ok(ServiceEvent::ServiceRemoved(_, fullname)) => {
                services.remove(&fullname);
            }
            Ok(_) => continue,
            Err(_) => return Err(mdns_sd::Error::Msg("the multicast thread has ended".to_owned())),
        }
        publish.send_replace(services.values().flatten().copied().collect());
    }
}

/// Of a service that is another member of our grid.
fn addresses(announcement: &Announcement, service: &ResolvedService) -> Option<Vec<SocketAddr>> {
    let text = |key| service.get_property_val_str(key);
    if text("grid") != Some(&announcement.grid) || text("member") == Some(&announcement.member.0) {
        return None;
    }
    let usable = |ip: &IpAddr| match ip {
        // A link-local address is of use only together with an interface.
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        IpAddr::V4(_) => true,
    };
    let mut found: Vec<IpAddr> =
        service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr).filter(usable).collect();
    found.sort_unstable();
    found.truncate(MAX_ADDRESSES);
    Some(found.into_iter().map(|ip| SocketAddr::from((ip, service.get_port()))).collect())
}

/// Tells the others that we go, so that they need not find out.
async fn say_goodbye(daemon: &ServiceDaemon) {
    if let Ok(ended) = daemon.shutdown() {
        let _ = tokio::time::timeout(GOODBYE, ended.recv_async()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Tasks;

    fn member(grid: &str, name: &str, port: u16) -> Announcement {
        let member = MemberId(format!("{name}-{}", uuid::Uuid::new_v4()));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Announcement { grid: grid.to_owned(), member, address, reach: Reach::Loopback }
    }

    fn start(announcement: Announcement) -> (Tasks, watch::Receiver<Peers>) {
        let tasks = Tasks::default();
        let (publish, found) = watch::channel(Peers::new());
        tasks.spawn("mdns", run(announcement, publish, tasks.token()));
        (tasks, found)
    }

    #[tokio::test]
    async fn members_of_one_grid_find_each_other_and_notice_a_goodbye() {
        let grid = format!("g-{}", uuid::Uuid::new_v4());
        let (tasks_a, mut a) = start(member(&grid, "a", 7_001));
        let (tasks_b, mut b) = start(member(&grid, "b", 7_002));
        let (tasks_c, c) = start(member("another", "c", 7_003));
        let limit = Duration::from_secs(20);
        let port = |port: u16| -> Peers { [SocketAddr::from(([127, 0, 0, 1], port))].into() };
        let sees = |found: &Peers, only: u16| *found == port(only);
        tokio::time::timeout(limit, a.wait_for(|found| sees(found, 7_002))).await.unwrap().unwrap();
        tokio::time::timeout(limit, b.wait_for(|found| sees(found, 7_001))).await.unwrap().unwrap();
        assert!(c.borrow().is_empty(), "another grid");
        assert!(tasks_b.stop(limit).await);
        tokio::time::timeout(limit, a.wait_for(Peers::is_empty)).await.unwrap().unwrap();
        assert!(tasks_a.stop(limit).await && tasks_c.stop(limit).await);
    }
}
