//! How many files this process may have open.
//!
//! A partition's rows are in a few table files, so a member with 271 partitions has a thousand and more. The usual limit of
//! 1,024 is a soft one, kept low for programs that wait with `select`, which this one does not; up to the hard one a
//! process may raise it by itself.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as nobody needs a right for; it stays where that is refused.
pub fn raise_limit() {
    let mut limits = getrlimit(Resource::Nofile);
    if limits.current != limits.maximum {
        limits.current = limits.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limits) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Files that may be open at the same time.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
