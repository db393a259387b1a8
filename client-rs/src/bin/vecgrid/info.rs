//! `vecgrid info`

use clap::Args;

use crate::{context::Context, exit, output};

/// Describe a collection
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid info films
  vecgrid info films --json | jq .count")]
pub struct Info {
    /// The collection
    collection: String,
}

impl Info {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let info = context.client().await?.get_collection(&self.collection).await?;
        if context.json() {
            output::json(&info)?;
            return Ok(exit::OK);
        }
        let (config, index) = (&info.config, &info.config.index);
        output::text(&format!(
            "{}\n  entries     {}, {} of them in the graph\n  dimension   {}\n  metric      {}\n  \
             index       {}, m {}, ef_construction {}, ef {}, vectors in {}\n  memory      {}\n  durability  {}",
            config.name,
            output::grouped(info.count),
            output::grouped(info.indexed),
            config.dimension,
            config.metric,
            index.engine,
            index.m,
            index.ef_construction,
            index.ef,
            index.vectors,
            output::bytes(info.index_bytes),
            config.durability,
        ))?;
        Ok(exit::OK)
    }
}
