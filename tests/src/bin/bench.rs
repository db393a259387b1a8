//! `bench`: measures the index, the daemon, and other engines on the same vectors.
//!
//! ```text
//! cargo run --release -p vecgridd-tests --bin bench -- index --base B.npy --queries Q.npy \
//!     --engine flat|hnsw_rs|native --ef 16,32,64,128,256 --build-threads 2 --json OUT
//! ```

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use vecgridd_tests::bench::{
    daemon,
    data::Data,
    filters,
    index::{self, Engine},
    peers,
    report::Report,
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
    /// The same, with the eight filters of the WordNet set
    Filters(filters::Options),
    /// A daemon over its Unix socket
    Daemon(daemon::Options),
    /// hnswlib, faiss, usearch and Qdrant's engine (needs Python; makes its own environment)
    Peers(peers::Options),
    /// All of the above, one table
    All(All),
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
            // Said before files are read.
            ensure!(
                options.engine != Engine::Native,
                "the engine `native` comes with issue 3: use flat or hnsw_rs"
            );
            let set = options.data.load()?;
            index::run(&options, &set, &mut Report::new(options.data.json.as_deref())?)
        }
        What::Filters(options) => filters::run(&options),
        What::Daemon(options) => {
            let set = options.data.load()?;
            daemon::run(&options, &set, &mut Report::new(options.data.json.as_deref())?)
        }
        What::Peers(options) => {
            let set = options.data.load()?;
            peers::run(&options, &set, &mut Report::new(options.data.json.as_deref())?)
        }
        What::All(All { data, concurrency }) => all(data, concurrency),
    }
}

fn all(data: Data, concurrency: Vec<usize>) -> Result<()> {
    let set = data.load()?;
    let mut report = Report::new(data.json.as_deref())?;
    for engine in [Engine::Flat, Engine::HnswRs] {
        index::run(&index::Options { data: data.clone(), engine }, &set, &mut report)?;
    }
    let engine = "hnsw_rs".to_owned();
    daemon::run(
        &daemon::Options { data: data.clone(), engine, concurrency, socket: None },
        &set,
        &mut report,
    )?;
    peers::run(&peers::Options { data, engines: None }, &set, &mut report)?;
    println!("{} lines", report.rows());
    Ok(())
}
