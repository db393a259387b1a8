//! `vecgrid count`

use clap::Args;
use serde_json::{Value, json};

use crate::{context::Context, exit, inputs, output};

/// Count entries
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid count films
  vecgrid count films --filter '{\"year\": {\"$gte\": 1970}, \"genre\": {\"$in\": [\"horror\", \"sf\"]}}'")]
pub struct Count {
    /// The collection
    collection: String,
    /// Count what matches
    #[arg(long, short, value_name = "JSON", value_parser = inputs::object)]
    filter: Option<Value>,
}

impl Count {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let count = context.client().await?.count(&self.collection, self.filter.as_ref()).await?;
        if context.json() {
            output::json(&json!({"count": count}))?;
        } else {
            output::text(&count.to_string())?;
        }
        Ok(exit::OK)
    }
}
