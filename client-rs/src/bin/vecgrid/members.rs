//! `vecgrid members`

use clap::Args;
use serde_json::json;
use vecgrid_client::{GridStatus, Member};

use crate::{context::Context, exit, output};

/// Show the members of the grid and what each of them holds
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid members
  vecgrid members --json | jq -r '.members[] | select(.state != \"up\").name'

Columns: primaries are partitions whose writes it orders, copies all that it holds, wanted those that it should hold
when all moves are done.")]
pub struct Members {}

impl Members {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let grid = context.client().await?.grid_status().await?;
        if context.json() {
            output::json(&json!({"leader": grid.leader, "members": grid.members}))?;
            return Ok(exit::OK);
        }
        let head =
            ["name", "state", "primaries", "copies", "wanted", "decides", "zone", "version", "address", "id"];
        output::table(&head, &rows(&grid))?;
        Ok(exit::OK)
    }
}

fn rows(grid: &GridStatus) -> Vec<Vec<String>> {
    let row = |member: &Member| {
        let decides = match (member.id == grid.leader, member.votes) {
            (true, _) => "leads",
            (false, true) => "votes",
            (false, false) => "-",
        };
        vec![
            label(member),
            member.state.clone(),
            member.primaries.to_string(),
            member.copies.to_string(),
            member.wanted.to_string(),
            decides.to_owned(),
            shown(&member.zone),
            shown(&member.version),
            shown(&member.address),
            member.id.clone(),
        ]
    };
    grid.members.iter().map(row).collect()
}

fn shown(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { output::printable(text) }
}

/// What to call a member: its name, else its id.
pub fn label(member: &Member) -> String {
    output::printable(if member.name.is_empty() { &member.id } else { &member.name })
}

/// How evenly partitions are held, and how many are on their way, for people.
pub fn balance(grid: &GridStatus) -> String {
    let moving = grid.partitions.iter().filter(|partition| partition.moving).count();
    let holds = grid.members.iter().filter(|member| member.state != "draining").map(|member| member.copies);
    let held = match (holds.clone().min(), holds.max()) {
        (Some(least), Some(most)) if least == most => format!("{least} on each member"),
        (Some(least), Some(most)) => format!("{least} to {most} on a member"),
        _ => "on no member".to_owned(),
    };
    let moves = match moving {
        0 => "none is moving".to_owned(),
        moving => format!("{moving} of {} to move", grid.partitions.len()),
    };
    format!("{held}, {moves}")
}
