//! `vecgrid create`

use clap::Args;
use vecgrid_client::{CollectionConfig, Durability, IndexOptions, Metric};

use crate::{context::Context, exit, output};

/// Make a collection
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid create films --dimension 384
  vecgrid create films --dimension 384 --metric euclidean --engine flat
  vecgrid create films --dimension 384 --target-recall 0.95      faster searches that find less
  vecgrid create pages --dimension 768 --quantization int4 --vectors disk      least memory per entry
  vecgrid create events --dimension 768 --durability interval     faster writes, up to a second at risk

Making an equal collection again is no error.")]
pub struct Create {
    /// Its name: A-Z a-z 0-9 _ . -
    name: String,
    /// Components per vector
    #[arg(long, short, value_name = "N")]
    dimension: u32,
    #[command(flatten)]
    shape: Shape,
}

/// What `create` and `import --create` have in common.
#[derive(Debug, Args)]
pub struct Shape {
    /// cosine, euclidean or dot
    #[arg(long, default_value_t = Metric::Cosine)]
    pub metric: Metric,
    /// native, hnsw_rs or flat [default: the daemon's]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub engine: String,
    /// When writes are acknowledged: sync (after fsync), interval or none
    #[arg(long, default_value_t = Durability::Sync)]
    pub durability: Durability,
    /// Links per node, 4 to 64 [default: the daemon's]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub m: u32,
    /// Breadth of the build, 16 to 2000 [default: the daemon's]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub ef_construction: u32,
    /// Recall that searches reach on average, 0.5 to 0.999 [default: the daemon's]
    #[arg(long, value_name = "SHARE", conflicts_with = "ef")]
    pub target_recall: Option<f64>,
    /// Breadth of every search, 1 to 10000, instead of --target-recall
    #[arg(long, value_name = "N")]
    pub ef: Option<u32>,
    /// Where full vectors and metadata are: memory, or disk (mapped files) [default: the daemon's]
    #[arg(long, value_name = "WHERE", default_value = "", hide_default_value = true)]
    pub vectors: String,
    /// What the graph keeps of a vector: int8, int4, f16, bf16 or none [default: the daemon's]
    #[arg(long, value_name = "KIND", default_value = "", hide_default_value = true)]
    pub quantization: String,
}

impl Shape {
    pub fn config(&self, name: &str, dimension: u32) -> CollectionConfig {
        let mut index = IndexOptions::default();
        index.engine.clone_from(&self.engine);
        index.vectors.clone_from(&self.vectors);
        index.quantization.clone_from(&self.quantization);
        (index.m, index.ef_construction) = (self.m, self.ef_construction);
        (index.ef, index.target_recall) = (self.ef.unwrap_or(0), self.target_recall.unwrap_or(0.0));
        CollectionConfig::new(name, dimension).metric(self.metric).durability(self.durability).index(index)
    }
}

impl Create {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let created = client.create_collection(self.shape.config(&self.name, self.dimension)).await?;
        if context.json() {
            output::json(&created)?;
        } else {
            let config = &created.config;
            let what = if created.created { "created" } else { "exists already, equal:" };
            output::text(&format!(
                "{what} {}: dimension {}, {}, engine {}, durability {}",
                config.name, config.dimension, config.metric, config.index.engine, config.durability
            ))?;
            if created.created {
                eprintln!("Next: vecgrid put {0} ID --vector '[…]', or vecgrid import {0} FILE", config.name);
            }
        }
        Ok(exit::OK)
    }
}
