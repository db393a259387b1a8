//! Tests: the centre of a graph is replaced, and walks go on.

use std::sync::{
    Arc,
    atomic::{
        AtomicUsize,
        Ordering::{Acquire, Release},
    },
};

use super::{
    super::{
        centre::Centre,
        checkpoint::{Sections, Writer},
        engine::{Engine, EngineError},
    },
    Native, Records,
    tests::{DIMENSION, ROWS, numbered, options, recall, rows},
    vectors::Operand,
};
use crate::types::Quantization;

/// One that is far from all others.
fn centre(number: usize) -> Centre {
    let point = (0..DIMENSION).map(|at| ((at + number) % 7) as f32 / 7.0).collect();
    Centre { slots: number as u32, ..Centre::at(point) }
}

fn move_to(engine: &Native, number: usize, rows: &[Vec<f32>]) {
    engine.recentre(&centre(number), &|slot| rows.get(slot as usize).map(|row| &row[..])).unwrap();
}

/// Whether these are, to the last bit, what rows from a slot on are encoded as.
fn assert_encoded(records: &Records, rows: &[Vec<f32>], from: usize) {
    let fresh = Records::new(records.frame().around(records.frame().centre()), 0);
    let (mut found, mut expected) = (Operand::default(), Operand::default());
    for (slot, row) in (0..).zip(rows).skip(from) {
        fresh.add(slot, row).unwrap();
        assert_eq!(records.code(slot).0, fresh.code(slot).0);
        records.vectors().take(slot, &mut found);
        fresh.vectors().take(slot, &mut expected);
        assert_eq!((&found.numbers, &found.floats), (&expected.numbers, &expected.floats));
        let fine = |records: &Records| records.vectors().fine_products(&expected, &[slot]);
        assert_eq!(fine(records), fine(&fresh));
    }
}

#[test]
fn every_point_is_encoded_around_the_new_centre() {
    let rows = rows(1_000, 21);
    for quantization in Quantization::ALL {
        let engine = Native::new(&options(2, quantization));
        move_to(&engine, 1, &[]);
        engine.insert(numbered(&rows, 0)).unwrap();
        assert_eq!(engine.has_outgrown_centre(4), quantization != Quantization::None);
        let (links, bytes) = (engine.graph.state(), engine.bytes());
        for number in 2..4 {
            move_to(&engine, number, &rows);
            assert_encoded(&engine.records.load(), &rows, 0);
            assert_eq!(engine.records.load().frame().centre(), centre(number).point);
            assert_eq!((engine.graph.state(), engine.bytes()), (links, bytes));
            assert!(!engine.has_outgrown_centre(7));
        }
        assert!(recall(&engine, &rows, 128, None) >= 0.97, "{quantization:?}");
    }
}

/// A walk that began before goes on with what it began with, and is led to points that came after.
#[test]
fn what_a_walk_still_reads_gets_the_points_that_come_after() {
    let rows = rows(900, 22);
    let engine = Native::new(&options(2, Quantization::Int8));
    let mut held = Vec::new();
    for (number, until) in [(1, 300), (2, 600), (3, 900)] {
        engine.insert(numbered(&rows[until - 300..until], until as u32 - 300)).unwrap();
        held.push(engine.walk(&rows[0], 40, None).unwrap());
        move_to(&engine, number, &rows);
    }
    for walked in &held {
        let records = walked.records.as_ref().unwrap();
        // The last centre came after the last points.
        assert_encoded(records, &rows, 0);
        let mut near = walked.near.clone();
        assert!(engine.refine(walked, &mut near) > 0.0 && near[0].0 == 0);
    }
    assert_eq!(engine.known().former.len(), 3);
    let weak: Vec<_> = held.iter().map(|walked| Arc::downgrade(walked.records.as_ref().unwrap())).collect();
    drop(held);
    assert!(weak.iter().all(|records| records.strong_count() == 0), "their memory is free");
    assert!(engine.known().former.is_empty());
}

#[test]
fn walks_inserts_and_new_centres_do_not_wait_for_each_other() {
    let rows = rows(ROWS, 23);
    let engine = Native::new(&options(2, Quantization::Int8));
    let linked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let walk = |seed: usize| {
            let (mut found, mut asked) = (0, 0);
            while linked.load(Acquire) < ROWS {
                let known = linked.load(Acquire);
                let slot = (asked * 31 + seed) % known.max(1);
                let walked = engine.walk(&rows[slot], 64, None).unwrap();
                let mut near = walked.near.clone();
                engine.refine(&walked, &mut near);
                assert!(near.iter().all(|(slot, rank)| (*slot as usize) < ROWS && rank.is_finite()));
                if known > 0 {
                    asked += 1;
                    found += usize::from(near[0].0 == slot as u32);
                }
            }
            (found, asked)
        };
        let walkers: Vec<_> = (0..3).map(|seed| scope.spawn(move || walk(1_000 * seed))).collect();
        for (batch, part) in rows.chunks(160).enumerate() {
            engine.insert(numbered(part, 160 * batch as u32)).unwrap();
            linked.fetch_add(part.len(), Release);
            move_to(&engine, batch, &rows);
        }
        for walker in walkers {
            let (found, asked) = walker.join().unwrap();
            assert!(asked > 0 && found * 100 >= asked * 98, "{found} of {asked}");
        }
    });
    assert!(engine.known().former.is_empty());
    assert_encoded(&engine.records.load(), &rows, 0);
    assert!(recall(&engine, &rows, 128, None) >= 0.97);
}

#[test]
fn a_graph_around_a_new_centre_is_stored_and_comes_back() {
    let (folder, rows) = (tempfile::TempDir::new().unwrap(), rows(1_000, 24));
    let path = folder.path().join("graph");
    let engine = Native::new(&options(2, Quantization::Int8));
    engine.insert(numbered(&rows[..900], 0)).unwrap();
    move_to(&engine, 50, &rows);
    let mut file = Writer::create(&path).unwrap();
    assert!(engine.save(&mut file).unwrap());
    file.finish().unwrap();
    let again = Native::restore(&options(2, Quantization::Int8), &Sections::open(&path).unwrap()).unwrap();
    assert_encoded(&again.records.load(), &rows[..900], 0);
    let near = |engine: &Native| engine.walk(&rows[3], 40, None).unwrap().near;
    assert_eq!(near(&again), near(&engine));
    assert!(!again.has_outgrown_centre(199) && again.has_outgrown_centre(200));
    again.insert(numbered(&rows[900..], 900)).unwrap();
    assert_encoded(&again.records.load(), &rows, 0);
}

/// When nobody wants the graph any more, or a vector is not there.
#[test]
fn a_graph_keeps_its_centre_when_it_cannot_have_another() {
    let rows = rows(600, 25);
    let engine = Native::new(&options(2, Quantization::Int8));
    engine.insert(numbered(&rows, 0)).unwrap();
    let before = engine.records.load_full();
    engine.stop.store(true, Release);
    let stopped = engine.recentre(&centre(9), &|slot| rows.get(slot as usize).map(|row| &row[..]));
    assert!(matches!(stopped, Err(EngineError::Stopped)));
    assert!(engine.has_outgrown_centre(9), "it is tried again");
    engine.stop.store(false, Release);
    move_to(&engine, 9, &rows[..599]);
    assert!(!engine.has_outgrown_centre(9), "it is not tried again");
    assert!(Arc::ptr_eq(&before, &engine.records.load()));
    // Nor when the new one is where the old one is.
    let same = Centre { slots: 20, spread: 1.0, ..Centre::at(before.frame().centre().to_vec()) };
    engine.recentre(&same, &|_| None).unwrap();
    assert!(Arc::ptr_eq(&before, &engine.records.load()) && !engine.has_outgrown_centre(79));
}
