//! `vecgrid copies`

use clap::Args;

use crate::{context::Context, exit, output};

/// Show, or say, how many copies of each row the grid keeps
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid copies                     what is kept, and is it all there?
  vecgrid copies --backups 2         two besides the first: any two members may be lost for ever
  vecgrid copies --min-in-sync 2     no write is acknowledged that is on fewer than two disks

Copies are on different members, in different zones and on different machines where there are any. They are made, or
go, in the background; see how far that is: vecgrid status")]
pub struct Copies {
    /// Copies besides the first, 0 to 4
    #[arg(long, value_name = "N")]
    backups: Option<u32>,
    /// Members that must be in sync for writes to be taken, 1 to backups + 1
    #[arg(long, value_name = "N")]
    min_in_sync: Option<u32>,
}

impl Copies {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let copies = if self.backups.is_none() && self.min_in_sync.is_none() {
            client.grid_status().await?.copies
        } else {
            client.keep_copies(self.backups, self.min_in_sync).await?
        };
        if context.json() {
            output::json(&copies)?;
        } else {
            output::text(&shown(&copies))?;
        }
        Ok(exit::OK)
    }
}

/// In a line.
pub fn shown(copies: &vecgrid_client::Copies) -> String {
    let there = match copies.under_replicated {
        0 => "all are there".to_owned(),
        1 => "1 partition has fewer".to_owned(),
        n => format!("{n} partitions have fewer"),
    };
    let (backups, least) = (copies.backups, copies.min_in_sync);
    format!("backups {backups}, writes need {least} in sync; {there}")
}
