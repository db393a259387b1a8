//! `vecgrid put`

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use vecgrid_client::Entry;

use crate::{context::Context, exit, inputs, inputs::VectorInput, output};

/// Insert or replace one entry
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid put films alien --vector '[0.1, 0.9, 0.2]' --metadata '{\"year\": 1979}'
  vecgrid put films alien --vector-file alien.json
  embed 'in space' | vecgrid put films alien --vector-file -

An entry without a vector is stored and filtered, but no search finds it.
For many entries use: vecgrid import")]
pub struct Put {
    /// The collection
    collection: String,
    /// Id of the entry: any text of 1 to 512 bytes
    id: String,
    #[command(flatten)]
    vector: VectorInput,
    /// A JSON object
    #[arg(long, short, value_name = "JSON", value_parser = inputs::object)]
    metadata: Option<Value>,
}

impl Put {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let mut entry = Entry::new(&self.id).metadata(self.metadata.unwrap_or_default());
        entry.vector = self.vector.read()?;
        let summary = context.client().await?.upsert(&self.collection, [&entry]).await?;
        if let Some(error) = summary.errors.first() {
            bail!("{} ({}; outcome {})", error.message, error.code, error.outcome.as_str());
        }
        let version = summary.versions.first().copied().flatten().map(|version| version.to_string());
        if context.json() {
            output::json(&json!({"id": self.id, "version": version}))?;
        } else {
            let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
            output::text(&format!("stored {}{version}", output::printable(&self.id)))?;
        }
        Ok(exit::OK)
    }
}
