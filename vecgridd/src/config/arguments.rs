//! The command line of the daemon's binary: it serves, or does one of a few other things.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::Options;

/// The whole command line.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "vecgridd",
    version,
    about = "Vector search beside your app: one daemon, one socket, nothing to operate.",
    after_help = "Examples:
  vecgridd --dev                                  one member, temporary data, prints what to try next
  vecgridd --data-dir /var/lib/vecgridd --bootstrap    a grid of one member that keeps its data
  vecgridd --data-dir D2 --seeds 127.0.0.1:5701 --peer-listen 127.0.0.1:5711 …   a second member, on one machine
  vecgrid status                                  (the other command) what this daemon holds

The app talks to the Unix socket or to 127.0.0.1:5700, by gRPC or REST (/openapi.json).
Every flag has a variable (VECGRID_DATA_DIR) and a key in the TOML file (data_dir)."
)]
pub struct Arguments {
    /// Of the daemon.
    #[command(flatten)]
    pub options: Options,
    /// Something else than to serve.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What the daemon's binary does besides serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Make a new grid out of one member when the majority of the others is lost for good
    Recover(RecoverOptions),
}

/// What an operator says to `recover`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
For a grid that can decide nothing any more, because more than half of its voters will never come back. If they can
come back, start them instead: nothing is lost then.

  1. stop the daemon of the member that is left; of several, take the one with the most copies in sync
  2. vecgridd recover --force-new-grid --data-dir DIR     shows what would be kept and what lost, and asks
  3. start the daemon as before; other members join with empty data directories

The new grid has a new id: a member of the old one that comes back is refused, and its data is not merged.")]
pub struct RecoverOptions {
    /// Make this member the only one of a new grid, with the rows that it has
    #[arg(long, required = true)]
    pub force_new_grid: bool,
    /// The data directory of the stopped member
    #[arg(long, env = "VECGRID_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Partitions of which this member has no copy begin empty: their rows are lost
    #[arg(long)]
    pub begin_empty: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}
