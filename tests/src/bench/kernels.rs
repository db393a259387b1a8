//! `bench kernels`: what one full-precision distance costs, by instruction set, type and dimension.
//!
//! One query against a few rows that stay in the cache, again and again: what memory costs is left out, unless `--rows` asks for
//! more than the cache holds. Scalar kernels are the twins that the others are tested against.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use half::{bf16, f16};
use vecgridd::index::{Component, Kernels};

use super::compare;
use crate::synthetic;

/// Measurements of each kernel; the fastest counts.
const ROUNDS: usize = 5;
/// One measurement takes so long, or a bit more.
const ROUND: Duration = Duration::from_millis(4);

/// Options of `bench kernels`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Dimensions, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "96,384,768,1536")]
    pub dimensions: Vec<usize>,
    /// Rows that are compared in turn, in fours: with 64 they stay in the cache
    #[arg(long, default_value_t = 64)]
    pub rows: usize,
}

/// Measures all kernels of this machine.
///
/// # Errors
/// When there is nothing to measure.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rows >= 4 && options.dimensions.iter().all(|d| *d > 0),
        "--rows is at least 4, dimensions 1"
    );
    println!("ns per distance, one row at a time / four at a time; in brackets: times faster than scalar");
    let names: Vec<&str> = Kernels::all().map(|kernels| kernels.name).collect();
    let columns: String = names.iter().rev().map(|name| format!("{name:>30}")).collect();
    println!("{:<6}{:<5}{:>6}{columns}", "type", "sum", "dim");
    for dimension in &options.dimensions {
        let rows = synthetic::cloud(1, options.rows / 4 * 4, *dimension);
        let query = &synthetic::cloud(2, 1, *dimension)[0];
        measure::<f32>(query, &rows);
        measure::<f16>(query, &rows);
        measure::<bf16>(query, &rows);
    }
    println!("{} rows; {}", options.rows / 4 * 4, compare::machine());
    Ok(())
}

fn measure<T: Component>(query: &[f32], rows: &[Vec<f32>]) {
    let rows: Vec<Vec<T>> = rows.iter().map(|row| row.iter().map(|x| T::of(*x)).collect()).collect();
    let fours: Vec<[&[T]; 4]> =
        rows.as_chunks::<4>().0.iter().map(|rows| rows.each_ref().map(|row| &row[..])).collect();
    let (mut dots, mut squares) = (Vec::new(), Vec::new());
    // The slowest first, which the others are held against.
    let mut all: Vec<&Kernels> = Kernels::all().collect();
    all.reverse();
    for kernels in all {
        let sums = T::sums(kernels);
        for (one, four, out) in
            [(sums.dot, sums.dot_of_four, &mut dots), (sums.l2, sums.l2_of_four, &mut squares)]
        {
            let alone = fastest(rows.len(), || rows.iter().map(|row| one(black_box(query), row)).sum());
            let together =
                fastest(rows.len(), || fours.iter().map(|rows| four(black_box(query), *rows)[3]).sum());
            out.push((alone, together));
        }
    }
    for (name, times) in [("dot", dots), ("l2", squares)] {
        let scalar = times[0];
        let column = |(one, four): &(f64, f64)| {
            let text = format!("{one:.1} / {four:.1} ({:.1}, {:.1})", scalar.0 / one, scalar.1 / four);
            format!("{text:>30}")
        };
        let columns: String = times.iter().map(column).collect();
        println!("{:<6}{name:<5}{:>6}{columns}", T::PRECISION.name(), query.len());
    }
}

/// Nanoseconds per distance of the fastest round; `pass` computes so many.
fn fastest(distances: usize, pass: impl Fn() -> f32) -> f64 {
    let round = |_| {
        let (begun, mut passes) = (Instant::now(), 0);
        while begun.elapsed() < ROUND {
            black_box(pass());
            passes += 1;
        }
        begun.elapsed().as_secs_f64() * 1e9 / (passes * distances) as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
