//! How far a partition's log has been applied to its rows.

/// Written in the same batch as the effects, so it is never ahead of them or behind.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Applied {
    /// Epoch of the last applied record.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Sequence of the last applied record.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
}

/// The only key of this kind.
pub fn key() -> Vec<u8> {
    vec![0x01]
}
