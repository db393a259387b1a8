//! What every engine must pass.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Append, Batch, Engine, Family, FsyncObserver, LogWriter, MemoryEngine, RocksEngine, RocksOptions, keys,
};
use crate::types::{Durability, PartitionId};

const P0: Family = Family::Partition(PartitionId(0));

fn keys_in(engine: &dyn Engine, family: Family, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        found.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    };
    engine.scan(family, from, to, &mut visit).unwrap();
    found
}

fn put(engine: &dyn Engine, family: Family, key: &[u8], value: &[u8], sync: bool) {
    let mut batch = Batch::default();
    batch.put(family, key.to_vec(), value.to_vec());
    engine.commit(&batch, sync).unwrap();
}

fn conforms(engine: &dyn Engine) {
    engine.create_partitions(&[PartitionId(0), PartitionId(1)]).unwrap();
    engine.create_partitions(&[PartitionId(1), PartitionId(2)]).unwrap();
    assert_eq!(engine.partitions(), [0, 1, 2].map(PartitionId));

    // Families are separate, values are replaced, missing keys are none.
    put(engine, P0, b"a", b"1", false);
    put(engine, P0, b"a", b"2", true);
    put(engine, Family::Oplog, b"a", b"log", false);
    assert_eq!(engine.get(P0, b"a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(engine.get(Family::Oplog, b"a").unwrap().as_deref(), Some(&b"log"[..]));
    assert_eq!(engine.get(Family::Member, b"a").unwrap(), None);
    assert!(engine.get(Family::Partition(PartitionId(9)), b"a").is_err());

    // Many at once: in the order asked for, across families, the same key twice.
    let ask = |keys: &[(Family, &[u8])]| {
        let keys: Vec<_> = keys.iter().map(|(family, key)| (*family, key.to_vec())).collect();
        engine.get_many(&keys)
    };
    let found = ask(&[(Family::Oplog, b"a"), (P0, b"none"), (P0, b"a"), (P0, b"a")]).unwrap();
    let (log, two) = (Some(b"log".to_vec()), Some(b"2".to_vec()));
    assert_eq!(found, [log, None, two.clone(), two]);
    assert_eq!(ask(&[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
    assert!(ask(&[(P0, b"a"), (Family::Partition(PartitionId(9)), b"a")]).is_err());

    // A batch is applied in order; ranges are half-open; scans are ordered and can stop.
    let mut batch = Batch::default();
    for key in [&b"b"[..], b"c", b"d", b"e"] {
        batch.put(P0, key.to_vec(), b"x".to_vec());
    }
    batch.delete_range(P0, b"c".to_vec(), b"e".to_vec());
    batch.put(P0, b"d".to_vec(), b"again".to_vec());
    batch.delete(P0, b"b".to_vec());
    engine.commit(&batch, true).unwrap();
    assert_eq!(keys_in(engine, P0, b"", b"z"), [b"a", b"d", b"e"]);
    assert_eq!(keys_in(engine, P0, b"b", b"e"), [b"d"]);
    let mut seen = 0;
    let mut stop = |_: &[u8], _: &[u8]| {
        seen += 1;
        Ok(ControlFlow::Break(()))
    };
    engine.scan(P0, b"", b"z", &mut stop).unwrap();
    assert_eq!(seen, 1);

    // A batch that names a missing family changes nothing.
    let mut batch = Batch::default();
    batch.put(P0, b"half".to_vec(), vec![]);
    batch.put(Family::Partition(PartitionId(9)), b"x".to_vec(), vec![]);
    assert!(engine.commit(&batch, true).is_err());
    assert_eq!(engine.get(P0, b"half").unwrap(), None);
}

#[test]
fn memory_engine_conforms() {
    conforms(&MemoryEngine::default());
}

#[test]
fn rocks_engine_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conforms(&RocksEngine::open(dir.path(), RocksOptions::default()).unwrap());
}

#[test]
fn rocks_engine_keeps_everything_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = RocksEngine::open(dir.path(), RocksOptions::default()).unwrap();
        engine.create_partitions(&[PartitionId(0)]).unwrap();
        put(&engine, P0, b"a", b"1", true);
    }
    let engine = RocksEngine::open(dir.path(), RocksOptions::default()).unwrap();
    assert_eq!(engine.partitions(), [PartitionId(0)]);
    assert_eq!(engine.get(P0, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn memory_engine_loses_what_was_not_synced() {
    let engine = MemoryEngine::default();
    put(&engine, Family::Oplog, b"kept", b"", true);
    put(&engine, Family::Oplog, b"lost", b"", false);
    engine.crash();
    assert_eq!(keys_in(&engine, Family::Oplog, b"", b"z"), [b"kept"]);
}

#[test]
fn a_flipped_bit_in_a_record_is_found() {
    let record = keys::applied::Applied { epoch: 1, sequence: 7, ..Default::default() };
    let sealed = keys::seal(&record);
    assert_eq!(keys::open::<keys::applied::Applied>("x", &sealed).unwrap(), record);
    for bit in 0..sealed.len() * 8 {
        let mut damaged = sealed.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(keys::open::<keys::applied::Applied>("x", &damaged).is_err(), "bit {bit}");
    }
    assert!(keys::open::<keys::applied::Applied>("x", &sealed[..3]).is_err());
}

#[test]
fn ranges_cover_exactly_a_prefix() {
    assert_eq!(keys::range_of(&[1, 2]), (vec![1, 2], vec![1, 3]));
    assert_eq!(keys::range_of(&[1, 255]), (vec![1, 255], vec![2]));
}

struct Silent;

impl FsyncObserver for Silent {
    fn committed(&self, _: usize, _: Option<Duration>) {}
    fn failed(&self, _: &str) {}
}

#[tokio::test]
async fn an_acknowledged_record_is_durable_and_after_a_failed_fsync_none_is() {
    let engine = Arc::new(MemoryEngine::default());
    let (log, thread) = LogWriter::start(Arc::clone(&engine) as Arc<dyn Engine>, 8, Silent).unwrap();
    let write = async |sequence| {
        let (done, durable) = oneshot::channel();
        let (partition, durability) = (PartitionId(0), Durability::Sync);
        assert!(
            {
                let mut batch = Batch::default();
                batch.put(Family::Oplog, keys::log::key(partition, sequence), vec![1]);
                log.append(Append { batch, bytes: 1, durability, done })
            }
            .await
        );
        durable.await.unwrap()
    };
    assert_eq!(write(1).await, Ok(()));
    engine.fail_syncs();
    assert!(write(2).await.is_err());
    assert!(write(3).await.is_err(), "a failure is for good");
    engine.crash();
    let (from, to) = keys::log::range(PartitionId(0), 0, u64::MAX);
    assert_eq!(keys_in(&*engine, Family::Oplog, &from, &to), [keys::log::key(PartitionId(0), 1)]);
    drop(log);
    thread.join().unwrap();
}
