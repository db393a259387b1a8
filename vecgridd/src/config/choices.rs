//! Settings that are one of a few words.

use serde::Deserialize;

/// How members find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// They do not: a grid of one member.
    None,
    /// At addresses they were given.
    Seeds,
    /// By multicast in the local network, and at addresses they were given.
    Mdns,
}

/// What a member does while it reaches no majority of the voters. Writes are refused in any case: two halves of a grid
/// that both take them could not be put together again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMinority {
    /// Only the partitions whose primary it was are read, and no strong reads are answered.
    #[default]
    Refuse,
    /// Its backups are read, too: they may be far behind by then.
    ReadOnly,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStyle {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}
