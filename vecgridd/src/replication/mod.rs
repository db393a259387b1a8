//! Copies of partitions on other members: carries what owners of partitions decide to other members and to the
//! control plane, and hands in what comes.
//!
//! It decides nothing. `migration/` has the rules, `partition/` keeps them, and here are the sockets: each message
//! has a deadline, what is not answered is answered with nothing, and how fast rows go to others is bounded for the
//! whole member, so that searches keep their pace while partitions move.

mod grid;
mod inspect;
mod links;
mod outbox;
mod pace;
mod service;
mod wire;

pub use grid::{CopyOptions, Grid};
pub use inspect::Inspect;
pub use links::Links;
pub use service::CopiesService;
