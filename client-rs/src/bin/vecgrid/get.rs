//! `vecgrid get`

use clap::Args;

use crate::{context::Context, exit, exit::Failure, output};

/// Show one entry
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid get films alien
  vecgrid get films alien --json | jq .vector")]
pub struct Get {
    /// The collection
    collection: String,
    /// Id of the entry
    id: String,
}

impl Get {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let Some(entry) = context.client().await?.get(&self.collection, &self.id).await? else {
            let message = format!("`{}` has no entry `{}`", self.collection, output::printable(&self.id));
            let hint = format!("See some that it has: vecgrid scroll {} --limit 10", self.collection);
            return Err(Failure::not_found(message).hint(hint).into());
        };
        if context.json() {
            output::json(&output::entry_json(&entry))?;
            return Ok(exit::OK);
        }
        let version = entry.version.map(|version| version.to_string()).unwrap_or_default();
        let vector = match &entry.vector {
            None => "none".to_owned(),
            Some(vector) => {
                let first: Vec<String> = vector.iter().take(6).map(ToString::to_string).collect();
                let more = if vector.len() > 6 { ", …" } else { "" };
                format!("[{}{more}] ({} components)", first.join(", "), vector.len())
            }
        };
        let metadata = serde_json::to_string_pretty(&entry.metadata)?;
        output::text(&format!(
            "id        {}\nversion   {version}\nvector    {vector}\nmetadata  {}",
            output::printable(&entry.id),
            metadata.replace('\n', "\n          ")
        ))?;
        Ok(exit::OK)
    }
}
