//! `vecgrid info`

use clap::Args;
use vecgrid_client::CollectionInfo;

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
             index       {}, m {}, ef_construction {}, vectors in {}\n  search      {}\n  \
             memory      {}\n  durability  {}",
            config.name,
            output::grouped(info.count),
            output::grouped(info.indexed),
            config.dimension,
            config.metric,
            index.engine,
            index.m,
            index.ef_construction,
            index.vectors,
            breadth(&info),
            output::bytes(info.index_bytes),
            config.durability,
        ))?;
        Ok(exit::OK)
    }
}

/// How wide searches walk that do not say.
fn breadth(info: &CollectionInfo) -> String {
    let index = &info.config.index;
    if index.ef > 0 {
        return format!("ef {}", index.ef);
    }
    let ef = match (info.search_ef, info.calibrated_rows) {
        (0, _) => "every entry is read".to_owned(),
        (ef, 0) => format!("ef {ef}, not measured yet"),
        (ef, rows) => format!("ef {ef}, measured with {} entries in the graph", output::grouped(rows)),
    };
    format!("recall {}: {ef}", index.target_recall)
}
