//! `vecgrid drain`

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::sleep;
use vecgrid_client::{Client, GridStatus, Member};

use crate::{context::Context, exit, exit::Failure, output, progress};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(300);

/// Have the member that is asked leave the grid: other members take its partitions
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid drain                 returns when the member holds nothing any more
  vecgrid drain --no-wait       returns at once; see how far it is: vecgrid members
  vecgrid drain --cancel        it stays after all

The member serves the application beside it all the time. It has left when its daemon is stopped after that; one that
is started again before it has left stays. vecgridd --drain does both when it is told to stop.")]
pub struct Drain {
    /// Do not wait until the member holds nothing any more
    #[arg(long)]
    no_wait: bool,
    /// It stays after all, and gets its share of partitions back
    #[arg(long, conflicts_with = "no_wait")]
    cancel: bool,
}

impl Drain {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let json = context.json();
        if self.cancel {
            let answer = client.cancel_drain().await?;
            say(json, answer.partitions_left, false, "the member stays")?;
            return Ok(exit::OK);
        }
        let begun = client.drain().await?;
        if self.no_wait {
            let left = begun.partitions_left;
            let text =
                format!("the member leaves: {left} partitions left. See how far it is: vecgrid members");
            say(json, left, true, &text)?;
            return Ok(exit::OK);
        }
        wait(&client, begun.partitions_left, json).await?;
        say(
            json,
            0,
            true,
            "the member holds nothing any more: stop its daemon now, and it has left the grid",
        )?;
        Ok(exit::OK)
    }
}

fn say(json: bool, left: u32, draining: bool, text: &str) -> std::io::Result<()> {
    if json {
        output::json(&json!({"draining": draining, "partitions_left": left}))
    } else {
        output::text(text)
    }
}

/// Returns when the member holds nothing and nothing is meant for it.
async fn wait(client: &Client, total: u32, json: bool) -> anyhow::Result<()> {
    let bar = progress::partitions(u64::from(total), json);
    loop {
        let grid = client.grid_status().await?;
        let Some(member) = own(&grid) else {
            bar.finish_and_clear();
            return Ok(());
        };
        if member.state == "up" {
            let cancelled = "the member stays: leaving was cancelled, or its daemon has started again";
            return Err(Failure::conflict(cancelled).hint("Begin anew: vecgrid drain").into());
        }
        bar.set_position(u64::from(total.saturating_sub(member.copies)));
        if member.copies == 0 && member.wanted == 0 {
            bar.finish_and_clear();
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// The member that answers.
fn own(grid: &GridStatus) -> Option<&Member> {
    grid.members.iter().find(|member| member.id == grid.member)
}
