//! `vecgrid.v1`: the public wire contract of vecgridd, generated at build time.
//!
//! The source of truth is `vecgrid/v1/vecgrid.proto`; its comments are the reference.

/// Version 1 of the contract: messages, the client stub and the server trait.
pub mod v1 {
    tonic::include_proto!("vecgrid.v1");
}

/// The compiled descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vecgrid_descriptor.bin"));
