//! `vecgrid status`

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;
use vecgrid_client::{CollectionInfo, GridStatus};

use crate::{context::Context, copies, exit, members, output};

/// Show the grid, its members, partitions and collections
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid status
  vecgrid status --endpoint unix:/run/vecgridd/vecgridd.sock
  vecgrid status --json | jq .collections")]
pub struct Status {}

impl Status {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let (grid, collections) = tokio::join!(client.grid_status(), client.list_collections());
        let grid = grid?;
        // Sizes are sums over the members; when one does not answer, the grid is shown all the same.
        let unknown = matches!(&collections, Err(error) if error.code() == "incomplete");
        let collections = if unknown { Vec::new() } else { collections? };
        let states = states(&grid);
        if context.json() {
            output::json(&json!({
                "endpoint": client.endpoint().to_string(),
                "grid": grid.grid,
                "member": grid.member,
                "table_version": grid.table_version,
                "leader": grid.leader,
                "term": grid.term,
                "copies": grid.copies,
                "members": grid.members,
                "partitions": {
                    "total": grid.partitions.len(),
                    "by_state": states,
                    "moving": grid.partitions.iter().filter(|partition| partition.moving).count(),
                },
                "collections": collections,
            }))?;
        } else {
            let collections = (!unknown).then_some(collections.as_slice());
            output::text(&shown(&client.endpoint().to_string(), &grid, collections))?;
        }
        Ok(exit::OK)
    }
}

fn states(grid: &GridStatus) -> BTreeMap<&str, usize> {
    let mut states = BTreeMap::new();
    for partition in &grid.partitions {
        *states.entry(partition.state.as_str()).or_insert(0) += 1;
    }
    states
}

fn shown(endpoint: &str, grid: &GridStatus, collections: Option<&[CollectionInfo]>) -> String {
    let name = |id: &str| match grid.members.iter().find(|member| member.id == id) {
        Some(member) if !member.name.is_empty() => format!("{} ({id})", member.name),
        _ => id.to_owned(),
    };
    let mut lines = vec![
        format!("daemon      {endpoint}"),
        format!("grid        {}, partition table version {}", grid.grid, grid.table_version),
    ];
    for member in &grid.members {
        let here = if member.id == grid.member { ", answers here" } else { "" };
        let leads = if member.id == grid.leader { ", leads" } else { "" };
        lines.push(format!(
            "member      {}: {}, version {}{leads}{here}",
            name(&member.id),
            member.state,
            member.version
        ));
    }
    let states: Vec<String> =
        states(grid).into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    lines.push(format!("partitions  {}: {}", grid.partitions.len(), states.join(", ")));
    lines.push(format!("copies      {}", copies::shown(&grid.copies)));
    lines.push(format!("balance     {}", members::balance(grid)));
    match collections {
        None => lines
            .push("collections not counted: a member that holds a part of them does not answer".to_owned()),
        Some([]) => {
            lines.push("collections none yet; make one: vecgrid create NAME --dimension N".to_owned())
        }
        Some(_) => {}
    }
    for info in collections.unwrap_or_default() {
        let config = &info.config;
        lines.push(format!(
            "collection  {}: {} entries, dimension {}, {}, {}, index {}",
            config.name,
            output::grouped(info.count),
            config.dimension,
            config.metric,
            config.index.engine,
            output::bytes(info.index_bytes),
        ));
    }
    lines.iter().map(|line| output::printable(line)).collect::<Vec<_>>().join("\n")
}
