//! Views are swapped while they are searched.
//!
//! The only row is replaced, twice: each time a row is added and the one before dies, then the next view is
//! published, as `Owner::apply` and `Core::publish` do. A search must see one row in whatever view it gets. In the
//! place of the crate `arc-swap` is a pointer with the orderings that it promises; views are not freed.

#![allow(unsafe_code)]

use loom::{
    sync::{
        Arc,
        atomic::{
            AtomicPtr,
            Ordering::{self, AcqRel, Acquire, Relaxed},
        },
    },
    thread,
};

use super::deaths::Deaths;

/// So much of a view as deaths depend on.
struct View {
    /// Operations so far.
    at: u64,
    /// Rows so far, dead ones included.
    len: usize,
}

fn new_view(at: u64) -> *mut View {
    Box::into_raw(Box::new(View { at, len: at as usize + 1 }))
}

fn search(view: &View, deaths: &Deaths) {
    let alive = deaths.alive(view.at) & ((1 << view.len) - 1);
    assert_eq!(alive, 1 << view.at, "exactly the newest row of this view");
    for place in 0..view.len {
        assert_eq!(deaths.is_alive(place, view.at), place as u64 == view.at);
    }
}

fn replace_and_search(swap: Ordering, load: Ordering, die_first: bool) {
    loom::model(move || {
        let deaths = Arc::new(Deaths::new());
        let shown = Arc::new(AtomicPtr::new(new_view(0)));
        let applier = {
            let (deaths, shown) = (Arc::clone(&deaths), Arc::clone(&shown));
            thread::spawn(move || {
                for operation in 1..=2 {
                    if die_first {
                        deaths.kill(operation as usize - 1, operation);
                    }
                    shown.swap(new_view(operation), swap);
                    if !die_first {
                        deaths.kill(operation as usize - 1, operation);
                    }
                }
            })
        };
        for _ in 0..2 {
            // SAFETY: views are not freed.
            search(unsafe { &*shown.load(load) }, &deaths);
        }
        applier.join().expect("no panic");
        // SAFETY: as above.
        let last = unsafe { &*shown.load(load) };
        assert_eq!(last.at, 2);
        search(last, &deaths);
    });
}

pub fn a_replaced_row_is_in_every_view_once() {
    replace_and_search(AcqRel, Acquire, true);
}

pub fn a_view_without_release_shows_two() {
    replace_and_search(Relaxed, Relaxed, true);
}

pub fn a_death_after_the_view_shows_two() {
    replace_and_search(AcqRel, Acquire, false);
}
