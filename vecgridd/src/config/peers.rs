//! How other members reach this one, and which it trusts.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
};

use super::{ConfigError, Discovery, Options};

/// Port of the members' door.
const PORT: u16 = 5701;

/// A member that takes part in a grid of several. Without it a member is alone and listens to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where other members connect.
    pub listen: SocketAddr,
    /// What they are told to connect to; `None` = found out.
    pub advertise: Option<String>,
    /// Where other members may be.
    pub seeds: Vec<String>,
    /// They are also looked for by multicast, and told of this one.
    pub multicast: bool,
    /// Who may be a member.
    pub trust: Trust,
}

/// Who may be a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Whoever can connect.
    Anyone,
    /// Whoever knows the secret in this file.
    Secret(PathBuf),
    /// Whoever has a certificate of this authority; ours and its key.
    Certificates {
        /// Our certificate.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
        /// The authority.
        ca: PathBuf,
    },
}

impl Trust {
    fn check(options: &Options) -> Result<Self, ConfigError> {
        let Options { grid_secret_file, peer_cert, peer_key, peer_ca, .. } = options.clone();
        let wrong = |text: &str| Err(ConfigError::Value(text.to_owned()));
        match (grid_secret_file, peer_cert, peer_key, peer_ca) {
            (None, None, None, None) => Ok(Self::Anyone),
            (Some(file), None, None, None) => Ok(Self::Secret(file)),
            (None, Some(cert), Some(key), Some(ca)) => Ok(Self::Certificates { cert, key, ca }),
            (Some(_), ..) => {
                wrong("pass --grid-secret-file, or --peer-cert, --peer-key and --peer-ca, not both")
            }
            (None, ..) => wrong("--peer-cert, --peer-key and --peer-ca belong together: pass all three"),
        }
    }
}

impl PeerConfig {
    pub(super) fn check(options: &Options) -> Result<Option<Self>, ConfigError> {
        let wrong = |text: String| Err(ConfigError::Value(text));
        let seeds = options.seeds.clone().unwrap_or_default();
        for address in seeds.iter().chain(&options.advertise) {
            let port = address.rsplit_once(':').and_then(|(host, port)| {
                let port: u16 = port.parse().ok()?;
                (!host.is_empty() && port > 0).then_some(port)
            });
            if port.is_none() || address.matches(':').count() > 1 && !address.starts_with('[') {
                return wrong(format!(
                    "`{address}` is not an address: write host:port, as in 10.0.0.7:{PORT} or [fd00::7]:{PORT}"
                ));
            }
        }
        if options.bootstrap == Some(true) && options.bootstrap_expect.is_some_and(|members| members > 1) {
            return wrong(
                "--bootstrap has this member make a grid by itself, and --bootstrap-expect has it wait for the others: with \
                 both on every member there would be as many grids as members. Leave one out"
                    .to_owned(),
            );
        }
        let multicast = options.discovery == Some(Discovery::Mdns);
        let named = options.advertise.is_some() || options.seeds.is_some();
        let wanted = options.peer_listen.is_some() || named || multicast;
        if !wanted {
            return Ok(None);
        }
        let trust = Trust::check(options)?;
        let open = trust != Trust::Anyone || options.insecure_peers.unwrap_or(false);
        let ip = if open { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let listen = options.peer_listen.unwrap_or_else(|| SocketAddr::from((ip, PORT)));
        if !open && !listen.ip().is_loopback() {
            return wrong(format!(
                "anyone who reaches --peer-listen {listen} could join the grid and read its data: give all members the \
                 same --grid-secret-file (`openssl rand -hex 32 > grid.secret`) or certificates (--peer-cert, \
                 --peer-key, --peer-ca), or pass --insecure-peers if only members can reach it"
            ));
        }
        if let Some(seed) = seeds.iter().find(|seed| listen.ip().is_loopback() && !is_local(seed)) {
            return wrong(format!(
                "the member at --seeds {seed} cannot reach this one, which listens on {listen} only: give all members \
                 the same --grid-secret-file (`openssl rand -hex 32 > grid.secret`) or certificates (--peer-cert, \
                 --peer-key, --peer-ca), or pass --insecure-peers if only members can reach it"
            ));
        }
        Ok(Some(Self { listen, advertise: options.advertise.clone(), seeds, multicast, trust }))
    }

    /// What other members are told to connect to, when this one listens on `bound`.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        let found = || {
            if bound.ip().is_unspecified() {
                SocketAddr::new(self.own_address().unwrap_or(Ipv4Addr::LOCALHOST.into()), bound.port())
            } else {
                bound
            }
        };
        self.advertise.clone().unwrap_or_else(|| found().to_string())
    }

    /// The address from which this machine would reach the first seed. Nothing is sent.
    fn own_address(&self) -> Option<IpAddr> {
        let towards = |target: &str| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
            socket.connect(target).ok()?;
            Some(socket.local_addr().ok()?.ip())
        };
        // An address of the documentation range finds the interface of the default route.
        self.seeds.iter().find_map(|seed| towards(seed)).or_else(|| towards("192.0.2.1:9"))
    }
}

/// Whether an address is of this machine for certain.
fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Options)) -> Result<Option<PeerConfig>, ConfigError> {
        let mut options = Options::default();
        change(&mut options);
        PeerConfig::check(&options)
    }

    #[test]
    fn a_member_that_was_told_nothing_listens_to_nobody() {
        assert_eq!(check(|_| ()).unwrap(), None);
    }

    #[test]
    fn the_door_stays_local_unless_it_was_opened() {
        let local = check(|o| o.seeds = Some(vec!["127.0.0.1:5701".into()])).unwrap().unwrap();
        assert_eq!(local.listen, SocketAddr::from(([127, 0, 0, 1], 5701)));
        let far = || Some(vec!["10.0.0.7:5701".to_owned()]);
        assert!(check(|o| o.seeds = far()).unwrap_err().to_string().contains("--grid-secret-file"));
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 5701));
        assert!(check(|o| o.peer_listen = Some(everywhere)).is_err());
        let open = check(|o| (o.seeds, o.insecure_peers) = (far(), Some(true))).unwrap().unwrap();
        assert_eq!(open.listen, everywhere);
        let secret = |o: &mut Options| (o.seeds, o.grid_secret_file) = (far(), Some("s".into()));
        assert_eq!(check(secret).unwrap().unwrap().listen, everywhere);
        assert!(check(|o| (o.seeds, o.peer_key) = (far(), Some("k".into()))).is_err(), "half of it");
    }

    #[test]
    fn a_grid_is_made_by_one_member_or_by_all_that_are_expected() {
        let both = |expect| check(move |o| (o.bootstrap, o.bootstrap_expect) = (Some(true), Some(expect)));
        assert!(both(3).unwrap_err().to_string().contains("as many grids"));
        assert!(both(1).is_ok(), "they say the same");
    }

    #[test]
    fn an_address_has_a_port() {
        for bad in ["host", "host:", ":5701", "host:0", "host:99999", "fd00::1:5701"] {
            assert!(check(|o| o.seeds = Some(vec![bad.into()])).is_err(), "{bad}");
        }
        assert!(check(|o| o.seeds = Some(vec!["[::1]:5701".into()])).is_ok());
    }

    #[test]
    fn what_is_advertised_can_be_connected_to() {
        let config = check(|o| o.seeds = Some(vec!["127.0.0.1:5701".into()])).unwrap().unwrap();
        assert_eq!(config.advertised(SocketAddr::from(([0, 0, 0, 0], 7))), "127.0.0.1:7");
        assert_eq!(config.advertised(SocketAddr::from(([10, 0, 0, 1], 7))), "10.0.0.1:7");
        let named = PeerConfig { advertise: Some("me:9".into()), ..config };
        assert_eq!(named.advertised(SocketAddr::from(([10, 0, 0, 1], 7))), "me:9");
    }
}
