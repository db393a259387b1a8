//! The networks that other tests rely on: they carry, they can be cut, and they heal.

use std::time::Duration;

use vecgridd_tests::{
    daemon::{Daemon, Options},
    net::Network,
    report, rest, wait,
};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_network_carries_is_cut_and_heals() {
    let network = match Network::new(2) {
        Ok(network) => network,
        Err(why) => {
            report!("left out: {why}");
            return;
        }
    };
    let daemon = Daemon::start_with(Options { place: Some(network.place(0)), ..Options::default() });
    let (host, port) = daemon.ports().admin.rsplit_once(':').unwrap();
    let connect = format!(": </dev/tcp/{host}/{port}");
    let from_there = || network.inside(1, &["timeout", "1", "bash", "-c", &connect]).is_ok();
    let from_here = || {
        let address = daemon.ports().admin.parse().unwrap();
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    };
    wait::until("the namespaces reach each other", LIMIT, || from_there().then_some(()));
    assert!(from_here());

    match network.cut(0, 1) {
        Ok(()) => {
            assert!(!from_there(), "cut");
            assert!(from_here(), "others see both");
            network.heal();
            wait::until("the cut is mended", LIMIT, || from_there().then_some(()));
        }
        Err(why) => report!("cuts left out: {why}"),
    }

    network.isolate(0);
    assert!(!from_here() && !from_there(), "isolated");
    let (status, _) = rest::get_over_socket(&daemon.ports().socket, "/v1/grid", LIMIT).unwrap();
    assert_eq!(status, 200, "its app reaches it all the same");
    network.rejoin(0);
    wait::until("the cable is in again", LIMIT, || (from_here() && from_there()).then_some(()));
}
