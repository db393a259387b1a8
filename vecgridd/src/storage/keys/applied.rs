//! How far a partition's log has been applied to its rows, and how long it is.

/// Written in the same batch as the effects, so it is never ahead of them or behind.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Applied {
    /// Epoch of the last applied record.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Sequence of the last applied record.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// The first record that the log still holds; 0 when this was not counted yet.
    #[prost(uint64, tag = "3")]
    pub log_first: u64,
    /// Bytes of the log from there up to the last applied record.
    #[prost(uint64, tag = "4")]
    pub log_bytes: u64,
    /// The partition has digests of its rows.
    #[prost(bool, tag = "5")]
    pub has_digests: bool,
}

/// The only key of this kind.
pub fn key() -> Vec<u8> {
    vec![0x01]
}
