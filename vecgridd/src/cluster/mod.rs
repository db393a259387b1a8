//! Being a member: finding the others, coming into a grid, and answering the other members.
//!
//! A data directory that belongs to a grid goes back to it. [`discovery`] finds addresses where others may be, [`birth`]
//! decides what to do with what is found there (join, create, wait, refuse), [`arrive`] asks and does it. [`Door`] answers
//! what other members ask, from the moment the daemon listens to them: before it has a grid it only says who it is, and
//! whom it sees. A member of a grid goes on looking ([`lookout`]): others may have moved while nobody could record
//! it, and there may be a second grid of the name. If ours never held anything and has one member, it may be given up for
//! that one; anything else is reported and counted.

mod arrive;
pub mod birth;
#[cfg(test)]
mod birth_tests;
pub mod discovery;
mod door;
#[cfg(test)]
mod grid_tests;
mod lookout;

pub use arrive::{Arrival, ArriveError, Arrived, arrive};
pub use door::Door;
pub use lookout::{Lookout, lookout};
