//! All orders in which threads can take turns, and all values that weak memory lets them see: by loom, of the two places
//! where searches look at what writers change without a lock.
//!
//! - `native/growth`: the arena's memory grows, records are filled and read.
//! - `swap`: rows die and views are published.
//!
//! The sources are those of the daemon, included by path; only `super::sync` is another, with loom's atomics and locks
//! instead of the standard ones. So nothing is compiled with another `cfg`, and nothing but this file again. What stands
//! in for the rest of the index (links, the pointer to the current view) is a few lines here, with the orderings that
//! are there.
//!
//! Each model is a test: `cargo test --release --workspace --test loom`, with a part of a name to run some. It must hold, or, where the name says
//! so, loom must see that it does not.

mod native;
mod swap;
mod sync;

#[path = "../../src/index/deaths.rs"]
#[allow(dead_code)]
mod deaths;

/// As small as it can be: there are as many atomics to keep track of.
mod chunk {
    pub const CHUNK: usize = 3;
}

use std::{
    env,
    panic::{catch_unwind, set_hook, take_hook},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Instant,
};

/// Whether a model is right, or wrong on purpose.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    Right,
    Wrong,
}

const MODELS: [(&str, Is, fn()); 6] = [
    ("a_number_leads_to_a_filled_record", Is::Right, native::growth::a_number_leads_to_a_filled_record),
    ("a_number_without_release_does_not", Is::Wrong, native::growth::a_number_without_release_does_not),
    ("two_may_grow_the_same_memory", Is::Right, native::growth::two_may_grow_the_same_memory),
    ("a_replaced_row_is_in_every_view_once", Is::Right, swap::a_replaced_row_is_in_every_view_once),
    ("a_view_without_release_shows_two", Is::Wrong, swap::a_view_without_release_shows_two),
    ("a_death_after_the_view_shows_two", Is::Wrong, swap::a_death_after_the_view_shows_two),
];

/// Whether a panic is what is wanted.
static EXPECTED: AtomicBool = AtomicBool::new(false);

fn main() {
    // Before the first model: loom's threads end by panics, and its own hook, which keeps these quiet, goes before ours.
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        if !EXPECTED.load(SeqCst) {
            print(panic);
        }
    }));
    // As the standard harness does: names to run, and names after --skip.
    let (mut wanted, mut skipped, mut arguments) = (Vec::new(), Vec::new(), env::args().skip(1));
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--skip" => skipped.extend(arguments.next()),
            option if option.starts_with('-') => (),
            _ => wanted.push(argument),
        }
    }
    let mut wrong = 0;
    for (name, is, model) in MODELS {
        let meant = |parts: &[String]| parts.iter().any(|part| name.contains(part.as_str()));
        if meant(&skipped) || !(wanted.is_empty() || meant(&wanted)) {
            continue;
        }
        let begun = Instant::now();
        EXPECTED.store(is == Is::Wrong, SeqCst);
        let held = catch_unwind(model).is_ok();
        let ok = held == (is == Is::Right);
        wrong += u32::from(!ok);
        let verdict = if ok { "ok" } else { "FAILED" };
        println!("loom {name} ... {verdict}, {:.1} s", begun.elapsed().as_secs_f64());
    }
    assert_eq!(wrong, 0, "models that failed");
}
