//! `vecgrid drop`

use std::io::{IsTerminal, stdin};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::{context::Context, exit, exit::Failure, output};

/// Drop a collection with all its entries
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid drop films            asks for the name again
  vecgrid drop films --yes      for scripts")]
pub struct Drop {
    /// The collection
    collection: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Drop {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        if !self.yes {
            let info = client.get_collection(&self.collection).await?;
            confirm(&self.collection, info.count).await?;
        }
        let dropped = client.drop_collection(&self.collection).await?;
        if !dropped {
            let message = format!("there is no collection `{}`", self.collection);
            return Err(Failure::not_found(message).hint("See what there is: vecgrid list").into());
        }
        if context.json() {
            output::json(&json!({"dropped": true}))?;
        } else {
            output::text(&format!("dropped {}", self.collection))?;
        }
        Ok(exit::OK)
    }
}

async fn confirm(collection: &str, count: u64) -> anyhow::Result<()> {
    if !stdin().is_terminal() {
        return Err(Failure::usage("dropping needs a person to type the name, or --yes").into());
    }
    eprint!(
        "This drops `{collection}` and its {} entries for good. Type the name to go on: ",
        output::grouped(count)
    );
    // On a thread of its own, so that Ctrl-C works while it waits.
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        stdin().read_line(&mut line).map(|_| line)
    });
    let line = line.await.context("reading the name")?.context("reading the name")?;
    if line.trim_end_matches(['\r', '\n']) != collection {
        return Err(Failure::usage("the name does not match: nothing was dropped").into());
    }
    Ok(())
}
