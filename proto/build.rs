//! Compiles the wire contracts in pure Rust (protox): nobody needs `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=vecgrid");
    let files = protox::compile(["vecgrid/v1/vecgrid.proto"], ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("vecgrid_descriptor.bin"), files.encode_to_vec())?;
    // `bytes` fields arrive as `Bytes`: vectors are decoded without a copy.
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    // Apart, so that reflection at an app's door does not describe it.
    let peer = ["peer", "data", "copies"].map(|file| format!("vecgrid/peer/v1/{file}.proto"));
    let peer = protox::compile(peer, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(peer)?;
    Ok(())
}
