//! `vecgrid list`

use clap::Args;

use crate::{context::Context, exit, output};

/// List the collections
#[derive(Debug, Args)]
#[command(
    visible_alias = "ls",
    after_long_help = "\
Examples:
  vecgrid list
  vecgrid list --json | jq -r '.[].name'"
)]
pub struct List {}

impl List {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let collections = context.client().await?.list_collections().await?;
        if context.json() {
            output::json(&collections)?;
            return Ok(exit::OK);
        }
        if collections.is_empty() {
            eprintln!("No collections yet. Make one: vecgrid create NAME --dimension N");
            return Ok(exit::OK);
        }
        let rows: Vec<Vec<String>> = collections
            .iter()
            .map(|info| {
                let config = &info.config;
                vec![
                    config.name.clone(),
                    info.count.to_string(),
                    config.dimension.to_string(),
                    config.metric.to_string(),
                    config.index.engine.clone(),
                    config.durability.to_string(),
                ]
            })
            .collect();
        output::table(&["name", "entries", "dimension", "metric", "engine", "durability"], &rows)?;
        Ok(exit::OK)
    }
}
