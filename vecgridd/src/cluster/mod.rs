//! Being a member: coming into a grid, and answering the other members.
//!
//! A data directory that belongs to a grid goes back to it. A fresh one asks the addresses it was given, joins the
//! grid of its name that it finds there, and founds one only when it was told to ([`arrive`]). [`Door`] answers what
//! other members ask, from the moment the daemon listens to them: before it has a grid it only says who it is.
//!
//! Left out: finding addresses beyond those given, and dissolving one of two grids of a name.

mod arrive;
mod door;
#[cfg(test)]
mod grid_tests;

pub use arrive::{Arrival, ArriveError, Arrived, arrive};
pub use door::Door;
