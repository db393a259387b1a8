//! What the operator named: addresses, and DNS names that stand for many.
//!
//! A name is looked up for ever, because what stands behind it changes: a Kubernetes headless service
//! answers with the pods of the moment. Soon again while there is nothing or an error, less often when
//! all is well. A name that fails keeps its last answer; an answer that no longer has an address drops it.

use std::{fmt, future::Future, io, net::SocketAddr, str::FromStr, time::Duration};

use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Peers;

/// Where members listen for each other unless told otherwise.
pub(super) const DEFAULT_PORT: u16 = 5701;
/// A resolver that is slower than this has failed; the next look-up asks again.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait between two look-ups.
pub(super) const PAUSES: Pauses =
    Pauses { shortest: Duration::from_millis(500), longest: Duration::from_secs(10) };
/// The most addresses that one name stands for.
const MAX_PER_NAME: usize = 256;

/// One entry of `--seeds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    host: String,
    port: u16,
}

/// What is wrong with an entry of `--seeds`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no seed: write host:port, as 10.0.0.1:5701, [fd00::1]:5701 or vecgridd.default.svc:5701 \
     (without a port: 5701)"
)]
pub struct BadSeed(String);

impl FromStr for Seed {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        let bad = || BadSeed(text.to_owned());
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: DEFAULT_PORT });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (text, DEFAULT_PORT),
        };
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > 253 || port == 0 || !host.chars().all(letter) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Finds the addresses of a name.
pub trait Resolve: Send + Sync + 'static {
    /// All of them.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Between two look-ups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pauses {
    /// At first, and while a name fails.
    shortest: Duration,
    /// When all names have answered for a while.
    longest: Duration,
}

struct Name {
    seed: Seed,
    found: Vec<SocketAddr>,
    failing: bool,
}

pub(super) async fn run(
    seeds: Vec<Seed>,
    resolver: impl Resolve,
    pauses: Pauses,
    publish: watch::Sender<Peers>,
    stop: CancellationToken,
) {
    let name = |seed| Name { seed, found: Vec::new(), failing: false };
    let mut names: Vec<Name> = seeds.into_iter().map(name).collect();
    let mut pause = pauses.shortest;
    loop {
        let look_up = join_all(names.iter_mut().map(|name| look_up(name, &resolver)));
        let all_answered = tokio::select! {
            answered = look_up => answered.into_iter().all(|answered| answered),
            () = stop.cancelled() => return,
        };
        publish.send_replace(names.iter().flat_map(|name| name.found.iter().copied()).collect());
        pause = if all_answered { (pause * 2).min(pauses.longest) } else { pauses.shortest };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// True when the name has addresses now.
async fn look_up(name: &mut Name, resolver: &impl Resolve) -> bool {
    let Seed { host, port } = &name.seed;
    let answer = tokio::time::timeout(LOOKUP_LIMIT, resolver.resolve(host, *port)).await;
    match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(mut found) => {
            found.truncate(MAX_PER_NAME);
            if name.failing {
                tracing::info!(seed = %name.seed, addresses = found.len(), "this seed is found again");
            }
            (name.found, name.failing) = (found, false);
            !name.found.is_empty()
        }
        Err(error) => {
            // Once per outage: a name may be missing for as long as its members are.
            if !name.failing {
                tracing::warn!(seed = %name.seed, %error, "this seed is not found now; it is asked for again");
            }
            name.failing = true;
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_seed_is_an_address_or_a_name() {
        let seed = |text: &str| text.parse::<Seed>().map(|seed| (seed.host, seed.port));
        assert_eq!(seed("10.0.0.1:7"), Ok(("10.0.0.1".into(), 7)));
        assert_eq!(seed("10.0.0.1"), Ok(("10.0.0.1".into(), 5701)));
        assert_eq!(seed("[fd00::1]:7"), Ok(("fd00::1".into(), 7)));
        assert_eq!(seed("[fd00::1]"), Ok(("fd00::1".into(), 5701)));
        assert_eq!(seed("pods.svc.local:7"), Ok(("pods.svc.local".into(), 7)));
        assert_eq!(seed("pods"), Ok(("pods".into(), 5701)));
        for bad in ["", ":5701", "a b:1", "a:99999", "a:0", "http://a:1", "a:"] {
            assert!(seed(bad).is_err(), "{bad}");
        }
    }

    /// Answers with what the test has put into it.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Option<Vec<SocketAddr>>>>);

    impl Resolve for Told {
        async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            self.0.lock().unwrap().clone().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    const SHORT: Pauses = Pauses { shortest: Duration::from_millis(1), longest: Duration::from_millis(8) };

    #[tokio::test]
    async fn a_name_is_looked_up_for_ever() {
        let told = Told::default();
        let (publish, mut found) = watch::channel(Peers::new());
        let stop = CancellationToken::new();
        let seeds = vec!["pods".parse().unwrap()];
        let running = run(seeds, told.clone(), SHORT, publish, stop.clone());
        let scenario = async {
            let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 5701));
            // At first the name is not there; then it has two addresses, then another, then it is gone again.
            found.changed().await.unwrap();
            assert!(found.borrow_and_update().is_empty());
            *told.0.lock().unwrap() = Some(vec![address(1), address(2)]);
            found.wait_for(|peers| peers.len() == 2).await.unwrap();
            *told.0.lock().unwrap() = Some(vec![address(3)]);
            found.wait_for(|peers| *peers == [address(3)].into()).await.unwrap();
            *told.0.lock().unwrap() = None;
            for _ in 0..3 {
                found.changed().await.unwrap();
                assert_eq!(*found.borrow_and_update(), [address(3)].into(), "the last answer is kept");
            }
            stop.cancel();
        };
        tokio::join!(running, scenario);
    }
}
