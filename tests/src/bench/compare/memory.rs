//! Rows 9 and 10: bytes per row, and what is left of recall and memory after every row was replaced.
//!
//! Memory is the growth of the daemon's private memory (`RssAnon`) from before the import until the
//! graph is whole, with ids, metadata and field indexes; RocksDB gets the least buffers it takes,
//! because they are a fixed budget and not bytes per row. Replacing gives every id the vector of
//! another row, in random order: the vectors are the same ones as before, under other ids, so a
//! fresh build of them is what was measured before.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use super::{
    Bench,
    door::flat,
    served::{self, Door, Served},
    verdict::{Figure, Verdict, Wanted},
};
use crate::{bench::index::PARTITIONS, load};

/// Bytes per row that are wanted, with vectors in memory and on disk.
const WANTED: [(&str, f64); 2] = [("memory", 2_300.0), ("disk", 700.0)];
/// Breadths at which recall before and after is compared.
const BREADTHS: [usize; 4] = [32, 64, 128, 256];
/// Memory has settled when it changes by less than a thousandth in this time; and when it is given up. The allocator gives
/// pages back over ten seconds, less and less of them.
const SETTLE: Duration = Duration::from_secs(2);
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Measures rows 9 and 10.
///
/// # Errors
/// When ours cannot be measured.
pub fn measure(bench: &mut Bench) -> Result<()> {
    bench.progress.say("rows 9, 10: memory, and every row replaced");
    let filled = fill(bench, &bench.index_body.clone())?;
    if bench.rows.contains(&9) {
        bytes_per_row(bench, WANTED[0], Ok(&filled))?;
    }
    if bench.rows.contains(&10) {
        replace(bench, &filled)?;
    }
    drop(filled);
    if bench.rows.contains(&9) {
        let mut index = bench.index_body.clone();
        index["vectors"] = json!("disk");
        let filled = fill(bench, &index);
        bytes_per_row(bench, WANTED[1], filled.as_ref())?;
    }
    Ok(())
}

/// A daemon with all rows in its graph.
struct Filled {
    served: Served,
    /// Private memory before the rows came, and with them.
    empty: u64,
    full: u64,
    /// By its own count.
    own: u64,
}

fn fill(bench: &Bench, index: &Value) -> Result<Filled> {
    let threads = bench.options.build_threads.to_string();
    let (tables, cache) = ((16 << 20).to_string(), (1 << 20).to_string());
    let args = ["--build-threads", &threads, "--memtable-bytes", &tables, "--block-cache-bytes", &cache];
    let served = Served::start(PARTITIONS, args.map(str::to_owned).to_vec())?;
    served.create(bench.data.base.columns, index)?;
    let empty = served.anonymous_bytes()?;
    bench.progress.now("the daemon imports");
    served.import(served::all_rows(&bench.data), flat(bench))?;
    let full = settled(&served)?;
    let own = served.info()?.index_bytes;
    Ok(Filled { served, empty, full, own })
}

/// Private memory once it stands still.
fn settled(served: &Served) -> Result<u64> {
    let begun = Instant::now();
    let mut last = served.anonymous_bytes()?;
    loop {
        std::thread::sleep(SETTLE);
        let now = served.anonymous_bytes()?;
        if now.abs_diff(last) < last / 1_000 || begun.elapsed() > SETTLE_LIMIT {
            return Ok(now);
        }
        last = now;
    }
}

fn bytes_per_row(
    bench: &mut Bench,
    (place, wanted): (&str, f64),
    filled: Result<&Filled, &anyhow::Error>,
) -> Result<()> {
    let name = format!("bytes per row, vectors: {place}");
    let rows = bench.data.base.rows() as f64;
    let verdict = match filled {
        Ok(Filled { empty, full, own, .. }) => {
            let grown = full.saturating_sub(*empty) as f64 / rows;
            let own = *own as f64 / rows;
            bench.note(9, place, json!({"grown": grown, "own_count": own}));
            let figure = Some(Figure::new(grown, "RssAnon"));
            Verdict::bound(9, name, "bytes", figure, Wanted::AtMost(wanted))
                .note(format!("by its own count {own:.0} bytes per row"))
        }
        Err(error) => {
            Verdict::bound(9, name, "bytes", None, Wanted::AtMost(wanted)).note(format!("{error:#}"))
        }
    };
    bench.verdicts.push(verdict);
    Ok(())
}

fn replace(bench: &mut Bench, filled: &Filled) -> Result<()> {
    let served = &filled.served;
    let rows = bench.data.base.rows();
    let moved = move |row: usize| (row + rows / 2) % rows;
    let fresh = recalls(bench, served, |row| row)?;
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut StdRng::seed_from_u64(3));
    bench.progress.now("every row is replaced");
    let requests = served::upserts(
        &bench.data,
        order.into_iter(),
        |row| bench.data.rows[row].id.clone(),
        moved,
        load::BATCH,
    );
    served.import(requests, flat(bench))?;
    let after = settled(served)?;
    let churned = recalls(bench, served, moved)?;
    let loss = fresh.iter().zip(&churned).map(|(fresh, churned)| fresh - churned).fold(f64::MIN, f64::max);

    let list = |recalls: &[f64]| recalls.iter().map(|r| format!("{r:.4}")).collect::<Vec<_>>().join(" ");
    let verdict = Verdict::bound(
        10,
        "recall lost by replacing all rows",
        "",
        Some(Figure::new(loss, "largest")),
        Wanted::AtMost(0.01),
    )
    .note(format!("at ef {BREADTHS:?}: fresh {}, after {}", list(&fresh), list(&churned)));
    bench.verdicts.push(verdict);
    let per_row = |bytes: u64| bytes as f64 / rows as f64;
    let grown = |full: u64| per_row(full.saturating_sub(filled.empty));
    let own = (per_row(served.info()?.index_bytes), per_row(filled.own));
    for (name, now, then) in [("RssAnon", grown(after), grown(filled.full)), ("own count", own.0, own.1)] {
        let figures = (Some(Figure::new(now, "after")), Some(Figure::new(then, "fresh")));
        let name = format!("memory after replacing all rows, {name}");
        bench.verdicts.push(Verdict::time(10, name, "bytes/row", figures, Wanted::AtMost(1.3)));
    }
    bench.note(10, "recall", json!({"ef": BREADTHS, "fresh": fresh, "after": churned}));
    bench.note(
        10,
        "bytes_per_row",
        json!({"fresh": grown(filled.full), "after": grown(after), "own_fresh": own.1, "own_after": own.0}),
    );
    Ok(())
}

/// Recall at each breadth, where the entry of row `i` holds the vector of row `vector(i)`.
fn recalls(bench: &Bench, served: &Served, vector: impl Fn(usize) -> usize) -> Result<Vec<f64>> {
    let one = |&ef: &usize| {
        let answers = served.ask(Door::Unary(1), served::searches(&bench.data, ef)?)?;
        let mut rows = answers.rows(&bench.data)?;
        rows.iter_mut().flatten().for_each(|row| *row = vector(*row));
        Ok(bench.recall(&rows))
    };
    BREADTHS.iter().map(one).collect()
}
