//! `vecgridd recover`: what an operator may say.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What the daemon's binary does besides serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Make a new grid out of one member when the majority of the others is lost for good
    Recover(RecoverOptions),
}

/// See the module.
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
