//! An arena that grows while it is read.
//!
//! A number is given away as `graph.rs` does it: a link is stored with Release and loaded with Acquire.

#![allow(unsafe_code)]

use loom::{
    sync::{
        Arc,
        atomic::{
            AtomicU32,
            Ordering::{self, Acquire, Relaxed, Release},
        },
    },
    thread,
};

use super::arena::Arena;

/// The first record of the second chunk of memory.
const FAR: u32 = 1 << 17;

fn arena() -> Arc<Arena<u8>> {
    Arc::new(Arena::new(2, 0))
}

fn add(arena: &Arena<u8>, slot: u32, record: [u8; 2]) {
    arena.reserve(slot).expect("memory for a few records");
    // SAFETY: each model gives each slot to one thread, and its number away afterwards.
    unsafe { arena.fill(slot, &record) };
}

/// One thread adds a record in new memory and links it, another one makes other memory, a third walks.
fn grow_and_walk(order: Ordering) {
    loom::model(move || {
        let (arena, link) = (arena(), Arc::new(AtomicU32::new(0)));
        let linker = {
            let (arena, link) = (Arc::clone(&arena), Arc::clone(&link));
            thread::spawn(move || {
                add(&arena, FAR, [3, 4]);
                link.store(FAR + 1, order);
            })
        };
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || add(&arena, 0, [1, 2]))
        };
        if let Some(slot) = link.load(Acquire).checked_sub(1) {
            assert_eq!(arena.get(slot), [3, 4]);
        }
        linker.join().expect("no panic");
        other.join().expect("no panic");
        assert_eq!((arena.get(0), arena.get(FAR)), (&[1, 2][..], &[3, 4][..]));
        assert_eq!(arena.end(), FAR + 1);
    });
}

pub fn a_number_leads_to_a_filled_record() {
    grow_and_walk(Release);
}

pub fn a_number_without_release_does_not() {
    grow_and_walk(Relaxed);
}

/// Two threads find no memory for their neighbouring records at the same time: one makes it for both.
pub fn two_may_grow_the_same_memory() {
    loom::model(|| {
        let arena = arena();
        let other = {
            let arena = Arc::clone(&arena);
            thread::spawn(move || {
                add(&arena, 1, [3, 4]);
                assert_eq!(arena.get(1), [3, 4]);
            })
        };
        add(&arena, 0, [1, 2]);
        assert_eq!(arena.get(0), [1, 2]);
        other.join().expect("no panic");
        assert_eq!((arena.get(0), arena.get(1)), (&[1, 2][..], &[3, 4][..]));
        assert_eq!(arena.end(), 2);
    });
}
