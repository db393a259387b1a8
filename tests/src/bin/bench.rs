//! `bench`: measures the index, the daemon, and other engines on the same vectors.
//!
//! ```text
//! cargo run --release -p vecgridd-tests --bin bench -- index --base B.npy --queries Q.npy \
//!     --engine flat|hnsw_rs --ef 16,32,64,128,256 --build-threads 2 --json OUT
//! cargo run --release -p vecgridd-tests --bin bench -- compare --json OUT
//! ```

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use vecgridd::types::EngineKind;
use vecgridd_tests::bench::{
    compare, copies, daemon, data::Data, floor, grid, growth, index, kernels, peers, recall, report::Report,
    shapes,
};

/// Measure vector search: queries per second, latency, recall, build time, memory
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The collection index inside this process, one search thread
    Index(index::Options),
    /// Does a search with a target reach it? In this process
    Recall(recall::Options),
    /// A daemon over its Unix socket
    Daemon(daemon::Options),
    /// The client and the transport alone: what `daemon` cannot go below on this machine
    Floor(floor::Options),
    /// hnswlib, faiss, usearch and Qdrant's engine (needs Python; makes its own environment)
    Peers(peers::Options),
    /// All of the above, one table
    All(All),
    /// What the project promises about speed, beside peers, with a verdict on each
    Compare(compare::Options),
    /// Other dimensions and metrics, beside peers: rates at a recall, and builds
    Shapes(shapes::Options),
    /// What asking the members of a grid costs over asking one that holds everything
    Grid(grid::Options),
    /// What backups cost writes, and what a search costs where every member has a copy of everything
    Copies(copies::Options),
    /// What a query, a build and a row cost as rows become more, 10,000 to a million
    Growth(growth::Options),
    /// What one full-precision distance costs, by instruction set, type of components and dimension
    Kernels(kernels::Options),
}

#[derive(Debug, Args)]
struct All {
    #[command(flatten)]
    data: Data,
    /// Queries in flight over the socket
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    concurrency: Vec<usize>,
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Index(options) => {
            let set = options.data.load()?;
            index::run(&options, &set, &mut Report::new(options.data.json.as_deref())?)
        }
        What::Daemon(options) => {
            let set = options.data.load()?;
            daemon::run(&options, &set, &mut Report::new(options.data.json.as_deref())?)
        }
        What::Recall(options) => recall::run(&options, &options.data.load()?),
        What::Floor(options) => floor::run(&options),
        What::Peers(options) => {
            let set = options.data.load()?;
            peers::run(&options, &set, &mut Report::new(options.data.json.as_deref())?)
        }
        What::All(All { data, concurrency }) => all(data, concurrency),
        What::Compare(options) => compare::run(options),
        What::Shapes(options) => shapes::run(&options),
        What::Grid(options) => grid::run(&options),
        What::Copies(options) => copies::run(&options),
        What::Growth(options) => growth::run(&options),
        What::Kernels(options) => kernels::run(&options),
    }
}

fn all(data: Data, concurrency: Vec<usize>) -> Result<()> {
    let set = data.load()?;
    let mut report = Report::new(data.json.as_deref())?;
    let default = EngineKind::default();
    for engine in [EngineKind::Flat, default] {
        let ours = index::Ours { engine: Some(engine), index: serde_json::json!({}) };
        index::run(&index::Options { data: data.clone(), ours }, &set, &mut report)?;
    }
    let engine = index::engine_name(default);
    daemon::run(
        &daemon::Options {
            data: data.clone(),
            engine,
            concurrency,
            call: vec![daemon::Call::Unary, daemon::Call::Stream],
            repeat: 1,
            socket: None,
        },
        &set,
        &mut report,
    )?;
    peers::run(&peers::Options { data, engines: None }, &set, &mut report)?;
    println!("{} lines", report.rows());
    Ok(())
}
