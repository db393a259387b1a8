//! `vecgrid scroll`

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{context::Context, exit, inputs, output};

/// Show entries page by page, in a stable order
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid scroll films
  vecgrid scroll films --limit 100 --filter '{\"genre\": \"sf\"}'
  vecgrid scroll films --cursor CURSOR          the next page; each page prints its cursor
  vecgrid scroll films --json --include-vector | jq .entries

For everything at once use: vecgrid export")]
pub struct Scroll {
    /// The collection
    collection: String,
    /// Entries of this page, at most 10000
    #[arg(long, short, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Where an earlier page ended
    #[arg(long, default_value = "", hide_default_value = true)]
    cursor: String,
    /// Only entries that match
    #[arg(long, short, value_name = "JSON", value_parser = inputs::object)]
    filter: Option<Value>,
    /// Answer with vectors
    #[arg(long)]
    include_vector: bool,
}

#[derive(Serialize)]
struct PageJson<'a> {
    entries: Vec<output::EntryJson<'a>>,
    cursor: Option<String>,
}

impl Scroll {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let mut scroll = vecgrid_client::Scroll::new(&self.collection)
            .page(self.limit)
            .cursor(self.cursor)
            .include_vector(self.include_vector);
        scroll.filter = self.filter;
        let page = context.client().await?.scroll_page(&scroll).await?;
        if context.json() {
            let entries = page.entries.iter().map(output::entry_json).collect();
            output::json(&PageJson { entries, cursor: page.cursor })?;
            return Ok(exit::OK);
        }
        let mut head = vec!["id", "metadata"];
        if self.include_vector {
            head.push("vector");
        }
        let rows: Vec<Vec<String>> = page
            .entries
            .iter()
            .map(|entry| {
                let mut row = vec![output::printable(&entry.id), output::metadata_line(&entry.metadata)];
                if self.include_vector {
                    row.push(json!(entry.vector).to_string());
                }
                row
            })
            .collect();
        if rows.is_empty() {
            eprintln!("No entries.");
        } else {
            output::table(&head, &rows)?;
        }
        if let Some(cursor) = page.cursor {
            eprintln!("Next page: --cursor {cursor}");
        }
        Ok(exit::OK)
    }
}
