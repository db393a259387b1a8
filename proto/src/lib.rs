//! The wire contracts of vecgridd, generated at build time: `vecgrid.v1` for apps, `vecgrid.peer.v1`
//! among members.
//!
//! The sources of truth are the files in `vecgrid/`; their comments are the reference.

/// Version 1 of the contract: messages, the client stub and the server trait.
pub mod v1 {
    tonic::include_proto!("vecgrid.v1");
}

/// What members say to each other, version 1.
pub mod peer {
    tonic::include_proto!("vecgrid.peer.v1");
}

/// The compiled descriptors of `vecgrid.v1`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vecgrid_descriptor.bin"));
