//! Where the binaries under test are: beside the test's own.

use std::path::PathBuf;

/// The daemon.
pub fn vecgridd() -> PathBuf {
    beside_this_one("vecgridd")
}

/// The command.
pub fn vecgrid() -> PathBuf {
    beside_this_one("vecgrid")
}

/// This crate's folder. Cargo says where it is run: a binary may have been built for another copy of the sources
/// that shares its cache.
pub fn crate_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

/// The workspace's root: the folder above this crate.
pub fn workspace() -> PathBuf {
    let here = crate_folder();
    here.parent().unwrap_or(&here).to_owned()
}

/// A test runs as `…/release/deps/name-hash`, the benchmark as `…/release/bench`.
fn beside_this_one(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|e| panic!("no path of this executable: {e}"));
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("`{name}` is not beside {}: run `cargo build --release --workspace` first", own.display())
    })
}
