//! `vecgrid delete`

use clap::Args;
use serde_json::{Value, json};

use crate::{context::Context, exit, inputs, output};

/// Delete entries, by id or by filter
#[derive(Debug, Args)]
#[command(
    visible_alias = "rm",
    after_long_help = "\
Examples:
  vecgrid delete films alien gattaca
  vecgrid delete films --filter '{\"year\": {\"$lt\": 1950}}' --dry-run     how many would go?
  vecgrid delete films --filter '{\"year\": {\"$lt\": 1950}}'

Ids that do not exist are no error; the answer says how many existed."
)]
pub struct Delete {
    /// The collection
    collection: String,
    /// Ids of the entries
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    ids: Vec<String>,
    /// Delete what matches
    #[arg(long, short, value_name = "JSON", value_parser = inputs::object)]
    filter: Option<Value>,
    /// Only say how many match the filter
    #[arg(long, requires = "filter")]
    dry_run: bool,
}

impl Delete {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let (name, count) = match &self.filter {
            Some(filter) if self.dry_run => {
                ("would_delete", client.count(&self.collection, Some(filter)).await?)
            }
            Some(filter) => ("deleted", client.delete_by_filter(&self.collection, filter).await?.deleted),
            None => ("deleted", client.delete(&self.collection, self.ids).await?.deleted),
        };
        if context.json() {
            output::json(&json!({name: count}))?;
        } else {
            output::text(&format!("{} {}", name.replace('_', " "), output::grouped(count)))?;
        }
        Ok(exit::OK)
    }
}
