//! Two grids of one name that meet: an empty one of one member is given up for the other, anything else is refused.

use std::time::Duration;

use serde_json::{Value, json};
use vecgridd_tests::{
    cluster,
    daemon::{Daemon, Options},
    rest, wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A member of its own grid, which is reached at `peer` and looks for others at `seeds`.
fn bootstrap(name: &str, peer: &str, seeds: &str) -> Daemon {
    let args = ["--bootstrap", "--node-name", name, "--peer-listen", peer, "--seeds", seeds];
    Daemon::start_with(Options { args: args.map(str::to_owned).into(), alone: false, ..Options::default() })
}

/// Somewhere nobody listens.
fn free() -> String {
    cluster::free_address()
}

fn grid(daemon: &Daemon) -> Option<Value> {
    // The socket stays where it is when a member starts anew, its ports do not.
    let socket = daemon.ports().socket.clone();
    let (status, body) = rest::get_over_socket(&socket, "/v1/grid", Duration::from_secs(2)).ok()?;
    (status == 200).then(|| serde_json::from_str(&body).ok())?
}

fn id(daemon: &Daemon) -> String {
    wait::until("a member answers", LIMIT, || grid(daemon))["grid_id"].as_str().unwrap().to_owned()
}

/// Waits until both are members of this grid.
fn wait_one(daemons: [&Daemon; 2], id: &str) {
    wait::until("both are members of one grid", LIMIT, || {
        let one = |daemon: &&Daemon| {
            let seen = grid(daemon)?;
            let up = seen["members"].as_array()?.iter().filter(|member| member["state"] == "up").count();
            (seen["grid_id"] == *id && up == 2).then_some(())
        };
        daemons.iter().all(|daemon| one(daemon).is_some()).then_some(())
    });
}

fn foreign(daemon: &Daemon) -> f64 {
    let text = daemon.admin().get("/metrics").text();
    let line = text.lines().find(|line| line.starts_with("vecgrid_foreign_grids_total "));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

#[test]
fn of_two_empty_grids_the_one_with_the_smaller_id_stays() {
    // Only the second knows where the first is: both hear of each other all the same.
    let (one, two) = (free(), free());
    let first = bootstrap("first", &one, &free());
    // Founded while the first cannot be reached, or it would have joined that.
    first.pause();
    let second = bootstrap("second", &two, &one);
    let founded = id(&second);
    first.resume();
    // If the first has joined by now, its own was the greater one.
    let smaller = founded.min(id(&first));
    wait_one([&first, &second], &smaller);
    for daemon in [&first, &second] {
        daemon.assert_no_panic();
    }
    let collection = rest::collection_path("c");
    wait::until("the grid decides", LIMIT, || {
        let body = json!({"dimension": 2, "metric": "euclidean"}).to_string();
        let answer = rest::over_socket(&first.ports().socket, "PUT", &collection, &body, LIMIT);
        answer.is_ok_and(|(status, _)| status / 100 == 2).then_some(())
    });
}

#[test]
fn an_empty_grid_is_given_up_for_one_with_data_and_two_with_data_are_not_merged() {
    let (one, two) = (free(), free());
    let first = bootstrap("first", &one, &two);
    let body = json!({"dimension": 2, "metric": "euclidean"});
    assert_eq!(first.rest().put(&rest::collection_path("c"), &body).status / 100, 2);
    let kept = id(&first);
    first.pause();
    let mut second = bootstrap("second", &two, &one);
    assert_ne!(id(&second), kept);
    first.resume();
    wait_one([&first, &second], &kept);
    // A restart afterwards goes back to the same grid.
    second.stop();
    second.restart();
    wait_one([&first, &second], &kept);

    // A third one with a collection of its own stays what it is, and both sides say so.
    let three = free();
    for daemon in [&first, &second] {
        daemon.pause();
    }
    let third = bootstrap("third", &three, &one);
    assert_eq!(third.rest().put(&rest::collection_path("d"), &body).status / 100, 2);
    let other = id(&third);
    for daemon in [&first, &second] {
        daemon.resume();
    }
    wait::until("both count each other", LIMIT, || {
        (foreign(&third) > 0.0 && foreign(&first) > 0.0).then_some(())
    });
    let told = |daemon: &Daemon| daemon.log().matches("They are not merged").count();
    wait::until("it is asked again", LIMIT, || (foreign(&third) >= 2.0).then_some(()));
    assert_eq!(told(&third), 1, "told once, counted each time");
    assert_eq!((id(&first), id(&third)), (kept, other));
    for daemon in [&first, &second, &third] {
        daemon.assert_no_panic();
    }
}
