//! A grid of real daemons.
//!
//! ```text
//! TestCluster::launch(5, Finding::Seeds) ─▶ five processes, started at once
//!   wait_one_grid(limit)      everybody sees the same five members of the same grid
//!   wait_balanced(limit)      and each holds its share of the partitions
//!   kill9(n) stop(n) pause(n) resume(n) relaunch(n) add() remove(n)
//!   isolate(n) cut(a, b) heal()                       in a network of namespaces only
//! ```
//!
//! On loopback each member has a peer port that was free a moment ago; in a [`Network`] each has an address. Every wait
//! says what it waited for. When a test fails, the logs of all members are kept, and it says where.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    daemon::{Daemon, Options},
    net::Network,
    rest, wait,
};

/// Where members listen for each other in a network of their own.
const PEER_PORT: u16 = 5701;
/// A member that does not answer a question within this is taken for one that does not answer.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// How members find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Each is told the addresses of all.
    Seeds,
    /// By multicast alone.
    Multicast,
}

/// What is the same for all members.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How they find each other.
    pub finding: Finding,
    /// Partitions of the grid.
    pub partitions: u16,
    /// Copies of each row besides the first.
    pub backups: u8,
    /// The data of each is on a disk of its own.
    pub own_disks: bool,
    /// More arguments for every member.
    pub args: Vec<String>,
}

impl ClusterOptions {
    /// With few partitions, so that starts are quick, and one copy of everything.
    pub fn new(finding: Finding) -> Self {
        Self { finding, partitions: 8, backups: 0, own_disks: false, args: Vec::new() }
    }
}

/// The grid as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GridView {
    /// Made at the grid's birth.
    pub grid_id: String,
    /// Who answers.
    pub member: String,
    /// Who leads, as far as it knows.
    pub leader: Option<String>,
    /// Number of the leader's election.
    pub term: u64,
    /// Grows with each decision.
    pub table_version: u64,
    /// Partitions that are not held yet as they should be.
    pub moving: usize,
    /// All members.
    pub members: Vec<MemberView>,
}

/// A member as another sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MemberView {
    /// Its id.
    pub id: String,
    /// Its name: `n0`, `n1`, …
    pub name: String,
    /// `up`, or what else.
    pub state: String,
    /// Takes part in decisions: a grid bears the loss of fewer than half of those.
    pub votes: bool,
    /// Partitions that it answers for.
    pub primaries: usize,
}

#[derive(Debug)]
struct Node {
    daemon: Daemon,
    peer: String,
    running: bool,
    paused: bool,
}

/// See the module.
#[derive(Debug)]
pub struct TestCluster {
    // Daemons go before the network that they are in.
    nodes: BTreeMap<usize, Node>,
    network: Option<Network>,
    options: ClusterOptions,
    /// The addresses that all are told, of those that were started together.
    seeds: Vec<String>,
    expect: usize,
}

impl TestCluster {
    /// Starts `size` members at once on loopback.
    pub fn launch(size: usize, options: ClusterOptions) -> Self {
        // All held before the first is given back, so that they differ.
        let held: Vec<TcpListener> = (0..size).map(|_| free_port()).collect();
        let peers = held.iter().map(address_of).collect();
        drop(held);
        Self::launch_at(peers, None, options)
    }

    /// Starts `size` members at once, each in a namespace of the network.
    pub fn launch_in(network: Network, size: usize, options: ClusterOptions) -> Self {
        let peers = (0..size).map(|number| format!("{}:{PEER_PORT}", network.address(number))).collect();
        Self::launch_at(peers, Some(network), options)
    }

    fn launch_at(peers: Vec<String>, network: Option<Network>, options: ClusterOptions) -> Self {
        let expect = peers.len();
        let mut cluster = Self { nodes: BTreeMap::new(), network, options, seeds: peers.clone(), expect };
        for (number, peer) in peers.into_iter().enumerate() {
            cluster.spawn(number, peer);
        }
        cluster
    }

    fn spawn(&mut self, number: usize, peer: String) {
        let name = format!("n{number}");
        let expect = self.expect.to_string();
        let mut args: Vec<String> = ["--node-name", &name, "--peer-listen", &peer].map(str::to_owned).into();
        args.extend(["--bootstrap-expect".to_owned(), expect]);
        args.extend(["--backups".to_owned(), self.options.backups.to_string()]);
        match self.options.finding {
            Finding::Seeds => args.extend(["--seeds".to_owned(), self.seeds.join(",")]),
            Finding::Multicast => args.extend(["--discovery".to_owned(), "mdns".to_owned()]),
        }
        if self.network.is_some() {
            args.push("--insecure-peers".to_owned());
        }
        args.extend(self.options.args.clone());
        let place = self.network.as_ref().map(|network| network.place(number));
        let (partitions, own_disk) = (self.options.partitions, self.options.own_disks);
        let options = Options { partitions, args, alone: false, place, own_disk };
        let daemon = Daemon::launch_with(options);
        self.nodes.insert(number, Node { daemon, peer, running: true, paused: false });
    }

    /// One more member; its number. In a network it must have been made large enough.
    pub fn add(&mut self) -> usize {
        let number = self.nodes.last_key_value().map_or(0, |(last, _)| last + 1);
        let peer = match &self.network {
            Some(network) => format!("{}:{PEER_PORT}", network.address(number)),
            None => address_of(&free_port()),
        };
        self.spawn(number, peer);
        number
    }

    /// Takes a member away with its data.
    pub fn remove(&mut self, number: usize) {
        self.node(number);
        self.nodes.remove(&number);
    }

    fn node(&mut self, number: usize) -> &mut Node {
        self.nodes.get_mut(&number).unwrap_or_else(|| panic!("there is no member {number}"))
    }

    /// The daemon of a member.
    pub fn daemon(&mut self, number: usize) -> &mut Daemon {
        &mut self.node(number).daemon
    }

    /// Where other members reach it.
    pub fn peer_address(&mut self, number: usize) -> String {
        self.node(number).peer.clone()
    }

    /// Numbers of the members whose processes run.
    pub fn running(&self) -> Vec<usize> {
        self.nodes.iter().filter(|(_, node)| node.running).map(|(number, _)| *number).collect()
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self, number: usize) {
        let node = self.node(number);
        node.daemon.stop();
        node.running = false;
    }

    /// `kill -9`.
    pub fn kill9(&mut self, number: usize) {
        let node = self.node(number);
        node.daemon.kill9();
        (node.running, node.paused) = (false, false);
    }

    /// Starts a member again on its data, and does not wait.
    pub fn relaunch(&mut self, number: usize) {
        let node = self.node(number);
        node.daemon.relaunch();
        node.running = true;
    }

    /// SIGSTOP.
    pub fn pause(&mut self, number: usize) {
        let node = self.node(number);
        node.daemon.pause();
        node.paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self, number: usize) {
        let node = self.node(number);
        node.daemon.resume();
        node.paused = false;
    }

    /// The network, for cuts.
    ///
    /// # Panics
    /// When the members are on loopback.
    pub fn network(&self) -> &Network {
        self.network.as_ref().unwrap_or_else(|| panic!("these members are on loopback: nothing to cut"))
    }

    /// The grid as a member sees it; `None` when it does not answer (yet).
    pub fn view(&mut self, number: usize) -> Option<GridView> {
        let node = self.nodes.get_mut(&number).filter(|node| node.running && !node.paused)?;
        // Over the socket, so that a member that is cut off can be asked, too.
        let socket = node.daemon.try_ports()?.socket.clone();
        let (status, body) = rest::get_over_socket(&socket, "/v1/grid", ASK_LIMIT).ok()?;
        serde_json::from_str(&body).ok().filter(|_| status == 200)
    }

    /// The views of all members that run, by number, of those that answer.
    pub fn views(&mut self) -> BTreeMap<usize, GridView> {
        let running = self.running();
        running.into_iter().filter_map(|number| Some((number, self.view(number)?))).collect()
    }

    /// Waits until all that run see one grid in which exactly they are up, and the same leader. How long
    /// that took.
    ///
    /// # Panics
    /// When it does not come true in time; says what was seen last.
    pub fn wait_one_grid(&mut self, limit: Duration) -> Duration {
        let begun = Instant::now();
        let running: BTreeSet<usize> = self.running().into_iter().collect();
        let names: BTreeSet<String> = running.iter().map(|number| format!("n{number}")).collect();
        let mut seen = BTreeMap::new();
        loop {
            self.assert_running();
            seen.extend(self.views());
            let views: Vec<&GridView> = running.iter().filter_map(|number| seen.get(number)).collect();
            let first = views.first().map(|view| (&view.grid_id, &view.leader));
            let agreed = |view: &&GridView| {
                let up = view.members.iter().filter(|member| member.state == "up");
                let up: BTreeSet<String> = up.map(|member| member.name.clone()).collect();
                view.leader.is_some() && Some((&view.grid_id, &view.leader)) == first && up == names
            };
            if views.len() == running.len() && views.iter().all(agreed) {
                return begun.elapsed();
            }
            let what = || {
                let line = |(number, view): (&usize, &GridView)| {
                    let members: Vec<String> =
                        view.members.iter().map(|m| format!("{} {}", m.name, m.state)).collect();
                    format!(
                        "  n{number}: grid {}, leader {:?}, {}\n",
                        view.grid_id,
                        view.leader,
                        members.join(", ")
                    )
                };
                seen.iter().map(line).collect::<String>()
            };
            assert!(
                begun.elapsed() < limit,
                "waited {limit:?} in vain for one grid of {names:?}; seen last:\n{}",
                what()
            );
            // The next look, not a guess how long it takes.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `count` members take part in decisions, in the eyes of all that run.
    ///
    /// # Panics
    /// When it does not come true in time.
    pub fn wait_voters(&mut self, count: usize, limit: Duration) {
        wait::until(&format!("{count} members that decide"), limit, || {
            let (views, running) = (self.views(), self.running().len());
            let enough = |view: &GridView| view.members.iter().filter(|member| member.votes).count() == count;
            (views.len() == running && views.values().all(enough)).then_some(())
        });
    }

    /// Waits until the members that run, and no others, share the partitions evenly and none is to move, in the
    /// eyes of all of them. How long that took.
    ///
    /// # Panics
    /// When it does not come true in time.
    pub fn wait_balanced(&mut self, limit: Duration) -> Duration {
        let begun = Instant::now();
        let running = self.running().len();
        wait::until(&format!("{running} members share the partitions evenly"), limit, || {
            let even = |view: &GridView| {
                let shares = view.members.iter().map(|member| member.primaries);
                let apart = shares.clone().max()?.checked_sub(shares.min()?)?;
                (view.moving == 0 && view.members.len() == running && apart <= 1).then_some(())
            };
            let views = self.views();
            (views.len() == running && views.values().all(|view| even(view).is_some())).then_some(())
        });
        begun.elapsed()
    }

    /// Waits until a member that runs leads, in the eyes of all that run and answer, in a term greater than
    /// `above`. Its number, and the term.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn wait_leader(&mut self, above: u64, limit: Duration) -> (usize, u64) {
        wait::until(&format!("a leader in a term above {above}"), limit, || {
            let views = self.views();
            let newest = views.values().map(|view| view.term).max().filter(|term| *term > above)?;
            let leads =
                |view: &&GridView| view.term == newest && view.leader.as_deref() == Some(&view.member);
            let leader = views.iter().find(|(_, view)| leads(view)).map(|(number, _)| *number)?;
            Some((leader, newest))
        })
    }

    /// A member that ended by itself is never part of a plan.
    fn assert_running(&mut self) {
        for (number, node) in self.nodes.iter_mut().filter(|(_, node)| node.running) {
            assert!(node.daemon.is_running(), "n{number} ended by itself:\n{}", node.daemon.log_tail());
        }
    }

    /// Fails when a member has panicked somewhere.
    pub fn assert_no_panic(&self) {
        self.nodes.values().for_each(|node| node.daemon.assert_no_panic());
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for node in self.nodes.values().filter(|node| node.paused) {
            node.daemon.resume();
        }
        if std::thread::panicking() {
            let folder = tempfile::Builder::new().prefix("vecgrid-failed-").tempdir();
            let Ok(folder) = folder.map(tempfile::TempDir::keep) else { return };
            for (number, node) in &self.nodes {
                let _ = fs::write(folder.join(format!("n{number}.log")), node.daemon.log());
            }
            eprintln!("the logs of all members are kept in {}", folder.display());
        }
    }
}

/// A port that the system gives to no outgoing connection: those begin at 32768, and one of them could take
/// it between our look and the daemon's start.
fn free_port() -> TcpListener {
    let free = || TcpListener::bind(("127.0.0.1", rand::random_range(10_000..32_000))).ok();
    (0..100).find_map(|_| free()).unwrap_or_else(|| panic!("no free port among a hundred"))
}

/// An address on loopback at which nobody listens.
pub fn free_address() -> String {
    address_of(&free_port())
}

fn address_of(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|e| panic!("no address: {e}"), |address| address.to_string())
}
