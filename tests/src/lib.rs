//! Support for the system tests, and the benchmark harness.
//!
//! The tests in `tests/` run real binaries on real data. What they share lives here: starting,
//! killing and restarting a daemon ([`daemon`]), a grid of them ([`cluster`]) with copies of everything
//! ([`copies`]), perhaps in networks of their own ([`net`]), apps that use it ([`traffic`]), talking to it over both doors ([`rest`],
//! [`grpc`]), reading the data sets ([`npy`], [`sample`]), and judging answers ([`truth`] for
//! searches, [`filters`] for conditions, [`ledger`] for writes). The judges share no code with the
//! daemon, so a mistake there is not repeated here.
//!
//! Nothing here waits blindly: every wait names its condition and has a deadline ([`wait`]).
//! This crate is test code: it panics when a test cannot go on.

pub mod bench;
pub mod binaries;
pub mod cluster;
pub mod copies;
pub mod daemon;
pub mod disk;
pub mod filters;
pub mod grpc;
pub mod ledger;
pub mod load;
pub mod net;
pub mod npy;
pub mod pulse;
pub mod rest;
pub mod sample;
pub mod synthetic;
pub mod traffic;
pub mod truth;
pub mod wait;

use std::{fmt, io::Write};

/// Prints a figure, also of a test that passes: the test runner captures only `println!`.
#[macro_export]
macro_rules! report {
    ($($text:tt)*) => { $crate::report_line(format_args!($($text)*)) };
}

/// What [`report!`] calls.
pub fn report_line(line: fmt::Arguments<'_>) {
    // A closed stderr is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "{line}");
}
