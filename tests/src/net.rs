//! Machines that are none: network namespaces on one bridge, each with an address of its own.
//!
//! ```text
//!   this machine ── bridge 10.77.x.254 ─┬─ namespace 1: 10.77.x.1
//!                                       ├─ namespace 2: 10.77.x.2     multicast goes to all of them
//!                                       └─ …
//! ```
//!
//! A cable can be pulled ([`Network::isolate`]), and two machines can be kept from seeing each other while a
//! third sees both ([`Network::cut`], which drops both directions on both sides, without a word to anybody). Needs root,
//! `ip`, and for cuts `nft`; without them a test says why it is left out. Everything is removed when the handle
//! is dropped.

use std::{net::IpAddr, process::Command};

use crate::daemon::Place;

/// The table that holds our rules in each namespace.
const TABLE: &str = "vecgrid";

/// A bridge and its namespaces.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    subnet: u8,
    size: usize,
}

impl Network {
    /// Makes `size` namespaces.
    ///
    /// # Errors
    /// Why this machine cannot; tests are then left out, and say so.
    pub fn new(size: usize) -> Result<Self, String> {
        assert!((1..=100).contains(&size), "1 to 100 namespaces");
        if run("id", &["-u"]).as_deref().map(str::trim) != Ok("0") {
            return Err("network namespaces need root".to_owned());
        }
        run("ip", &["-V"])?;
        let process = std::process::id();
        // Two test binaries at a time must not meet: the first subnet that nobody has is ours.
        let (subnet, bridge) = (0..50_u32)
            .map(|offset| (((process + offset) % 250) as u8, format!("vgb{}", (process + offset) % 250)))
            .find(|(_, bridge)| run("ip", &["link", "add", bridge, "type", "bridge"]).is_ok())
            .ok_or("no bridge can be made here")?;
        let network = Self { bridge, subnet, size };
        network.build()?;
        Ok(network)
    }

    fn build(&self) -> Result<(), String> {
        let Self { bridge, subnet, size } = self;
        // Without this the bridge sends multicast only where it has seen somebody ask.
        let _ = run("ip", &["link", "set", bridge, "type", "bridge", "mcast_snooping", "0"]);
        run("ip", &["addr", "add", &format!("10.77.{subnet}.254/24"), "dev", bridge])?;
        run("ip", &["link", "set", bridge, "up"])?;
        for number in 0..*size {
            let (namespace, cable) = (self.namespace(number), self.cable(number));
            run("ip", &["netns", "add", &namespace])?;
            run("ip", &["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            run("ip", &["link", "set", &cable, "master", bridge])?;
            run("ip", &["link", "set", &cable, "up"])?;
            let inside = |args: &[&str]| run("ip", &[&["-n", &namespace], args].concat());
            inside(&["addr", "add", &format!("{}/24", self.address(number)), "dev", "eth0"])?;
            inside(&["link", "set", "lo", "up"])?;
            inside(&["link", "set", "eth0", "up"])?;
            // Multicast without a default route goes nowhere.
            inside(&["route", "add", "default", "via", &format!("10.77.{subnet}.254")])?;
        }
        Ok(())
    }

    fn namespace(&self, number: usize) -> String {
        format!("{}-{}", self.bridge, number + 1)
    }

    fn cable(&self, number: usize) -> String {
        format!("{}c{}", self.bridge, number + 1)
    }

    /// Address of a namespace, counted from 0.
    pub fn address(&self, number: usize) -> IpAddr {
        IpAddr::from([10, 77, self.subnet, number as u8 + 1])
    }

    /// Where a daemon may run.
    pub fn place(&self, number: usize) -> Place {
        assert!(number < self.size, "there are {} namespaces", self.size);
        Place { namespace: self.namespace(number), address: self.address(number) }
    }

    /// Pulls the cable: nobody reaches this namespace, not even the test.
    pub fn isolate(&self, number: usize) {
        must("ip", &["link", "set", &self.cable(number), "down"]);
    }

    /// Plugs the cable in again.
    pub fn rejoin(&self, number: usize) {
        must("ip", &["link", "set", &self.cable(number), "up"]);
    }

    /// Two namespaces no longer hear each other; everybody else hears both.
    ///
    /// # Errors
    /// When `nft` is missing.
    pub fn cut(&self, one: usize, other: usize) -> Result<(), String> {
        for (here, there) in [(one, other), (other, one)] {
            let far = self.address(there).to_string();
            let rules = format!(
                "add table ip {TABLE}\n\
                 add chain ip {TABLE} in {{ type filter hook input priority 0; }}\n\
                 add chain ip {TABLE} out {{ type filter hook output priority 0; }}\n\
                 add rule ip {TABLE} in ip saddr {far} drop\n\
                 add rule ip {TABLE} out ip daddr {far} drop\n"
            );
            self.inside(here, &["nft", &rules])?;
        }
        Ok(())
    }

    /// All cuts are mended, and all cables plugged in.
    pub fn heal(&self) {
        for number in 0..self.size {
            self.rejoin(number);
            // There is no table where nothing was cut.
            let _ = self.inside(number, &["nft", &format!("delete table ip {TABLE}")]);
        }
    }

    /// Runs a program in a namespace; what it said.
    ///
    /// # Errors
    /// What it said, when it fails.
    pub fn inside(&self, number: usize, command: &[&str]) -> Result<String, String> {
        run("ip", &[&["netns", "exec", &self.namespace(number)], command].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 0..self.size {
            let _ = run("ip", &["netns", "del", &self.namespace(number)]);
            let _ = run("ip", &["link", "del", &self.cable(number)]);
        }
        let _ = run("ip", &["link", "del", &self.bridge]);
    }
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("`{program}`: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`{program} {}`: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn must(program: &str, args: &[&str]) {
    run(program, args).unwrap_or_else(|e| panic!("{e}"));
}
