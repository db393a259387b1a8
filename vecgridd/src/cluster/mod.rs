//! Being a member: finding the others, and coming into a grid.
//!
//! [`discovery`] finds addresses, [`birth`] decides what to do with what is found there: rejoin, join,
//! create, wait, or refuse.

pub mod birth;
#[cfg(test)]
mod birth_tests;
pub mod discovery;
