//! The store on RocksDB.
//!
//! One column family per partition, one for all logs, one for the member: `DESIGN.md` §6 has the
//! measurements. Budgets hold for the whole database, however many families there are.
//!
//! After a failed fsync RocksDB turns read-only; so does this engine, which refuses every later
//! write by itself as well, since retrying an fsync proves nothing about the pages that were lost.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, FlushOptions, IteratorMode, Options, ReadOptions, WriteBatch, WriteBufferManager,
    WriteOptions, properties,
};

use super::{
    engine::{Batch, Engine, Family, StorageError, Usage, Visit, Write},
    under_way::UnderWay,
};
use crate::types::PartitionId;

const MEMBER: &str = "member";
const OPLOG: &str = "oplog";

/// Budgets of the database.
#[derive(Debug, Clone, Copy)]
pub struct RocksOptions {
    /// Memory tables of all families together, bytes.
    pub memtable_bytes: usize,
    /// Block cache, bytes.
    pub block_cache_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        // 192 MiB of memory tables keeps flushes of 271 families coarse; the cache serves `get`,
        // scroll and recovery, searches never read it.
        Self { memtable_bytes: 192 << 20, block_cache_bytes: 128 << 20 }
    }
}

/// See the module.
pub struct RocksEngine {
    db: DB,
    cache: Cache,
    partition_options: Options,
    failed: AtomicBool,
    /// Bytes of batches since the last flush: opening flushes too.
    unflushed: AtomicU64,
    under_way: UnderWay,
}

/// By level; level 1 of a partition has up to 256 MiB. Rows are mostly vectors, which do not shrink: of 384 components and some
/// metadata by a thirtieth, for an eighth of a core while 2,000 of them were written per second.
const COMPRESSION: [DBCompressionType; 7] = {
    use DBCompressionType::{Lz4, None};
    [None, None, Lz4, Lz4, Lz4, Lz4, Lz4]
};

impl RocksEngine {
    /// Opens or creates the database in a folder.
    ///
    /// # Errors
    /// When the folder cannot be used, another process has it open, or its log is damaged.
    pub fn open(path: &Path, budgets: RocksOptions) -> Result<Self, StorageError> {
        let cache = Cache::new_lru_cache(budgets.block_cache_bytes);
        let db_options = db_options(budgets);
        let partition_options = family_options(&cache);
        let mut names: BTreeSet<String> = [MEMBER, OPLOG, "default"].map(str::to_owned).into();
        if path.join("CURRENT").exists() {
            names.extend(DB::list_cf(&db_options, path).map_err(io)?);
        }
        let descriptors =
            names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache)));
        let db = DB::open_cf_descriptors(&db_options, path, descriptors).map_err(io)?;
        Ok(Self {
            db,
            cache,
            partition_options,
            failed: AtomicBool::new(false),
            unflushed: AtomicU64::new(0),
            under_way: UnderWay::default(),
        })
    }

    fn handle(&self, family: Family) -> Result<Arc<BoundColumnFamily<'_>>, StorageError> {
        let handle = match family {
            Family::Member => self.db.cf_handle(MEMBER),
            Family::Oplog => self.db.cf_handle(OPLOG),
            Family::Partition(partition) => self.db.cf_handle(&partition.to_string()),
        };
        handle.ok_or_else(|| StorageError::Io(format!("this member does not host {family:?}")))
    }

    fn guard<T>(&self, result: Result<T, rocksdb::Error>) -> Result<T, StorageError> {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result.map_err(io)
    }

    fn refuse_after_failure(&self) -> Result<(), StorageError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StorageError::Io("read-only since an earlier write or fsync failed".into()));
        }
        Ok(())
    }
}

fn io(error: rocksdb::Error) -> StorageError {
    if error.kind() == rocksdb::ErrorKind::Corruption {
        return StorageError::corrupt("a block of the store", error.into_string());
    }
    StorageError::Io(error.to_string())
}

fn db_options(budgets: RocksOptions) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_max_total_wal_size(512 << 20);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(
        budgets.memtable_bytes,
        false,
    ));
    // 271 families would otherwise keep every table file open, above the usual limit of 1,024.
    options.set_max_open_files(512);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    // A torn last record is normal after a crash; damage before it must be seen, not skipped.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(8 << 20);
    options.set_arena_block_size(64 << 10);
    options.set_target_file_size_base(32 << 20);
    options.set_compression_per_level(&COMPRESSION);
    options
}

impl Engine for RocksEngine {
    fn commit(&self, batch: &Batch, sync: bool) -> Result<(), StorageError> {
        self.refuse_after_failure()?;
        let mut native = WriteBatch::default();
        for write in &batch.writes {
            match write {
                Write::Put { family, key, value } => native.put_cf(&self.handle(*family)?, key, value),
                Write::Delete { family, key } => native.delete_cf(&self.handle(*family)?, key),
                Write::DeleteRange { family, from, to } => {
                    native.delete_range_cf(&self.handle(*family)?, from, to)
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.unflushed.fetch_add(native.size_in_bytes() as u64, Ordering::Relaxed);
        let _way = self.under_way.begin();
        self.guard(self.db.write_opt(&native, &options))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.refuse_after_failure()?;
        let _way = self.under_way.begin();
        self.guard(self.db.flush_wal(true))
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.db.get_cf(&self.handle(family)?, key).map_err(io)
    }

    fn get_many(&self, keys: &[(Family, Vec<u8>)]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        let handles: Vec<_> =
            keys.iter().map(|(family, _)| self.handle(*family)).collect::<Result<_, _>>()?;
        let wanted = handles.iter().zip(keys).map(|(handle, (_, key))| (handle, key));
        self.db.multi_get_cf(wanted).into_iter().map(|value| value.map_err(io)).collect()
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        // A walk over everything must not push the working set out of the cache.
        options.fill_cache(false);
        for item in self.db.iterator_cf_opt(&self.handle(family)?, options, IteratorMode::Start) {
            let (key, value) = item.map_err(io)?;
            if let ControlFlow::Break(()) = visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn create_partitions(&self, partitions: &[PartitionId]) -> Result<(), StorageError> {
        let missing: Vec<String> = partitions
            .iter()
            .map(ToString::to_string)
            .filter(|name| self.db.cf_handle(name).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        // In bulk: one by one rewrites the OPTIONS file each time (8 s for 271, against 0.1 s).
        self.guard(self.db.create_cfs(missing, &self.partition_options))
    }

    fn partitions(&self) -> Vec<PartitionId> {
        let names = self.db.cf_names();
        let mut found: Vec<_> =
            names.iter().filter_map(|n| n.strip_prefix('p')?.parse().ok().map(PartitionId)).collect();
        found.sort_unstable();
        found
    }

    fn keys_of(&self, partition: PartitionId) -> u64 {
        let Ok(handle) = self.handle(Family::Partition(partition)) else { return 0 };
        self.db.property_int_value_cf(&handle, properties::ESTIMATE_NUM_KEYS).ok().flatten().unwrap_or(0)
    }

    fn unflushed(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.refuse_after_failure()?;
        // What comes while this runs may be flushed and counted again: a flush too many, at most.
        let bytes = self.unflushed();
        let families = [Family::Member, Family::Oplog].into_iter();
        let families = families.chain(self.partitions().into_iter().map(Family::Partition));
        let handles: Vec<_> = families.map(|family| self.handle(family)).collect::<Result<_, _>>()?;
        let handles: Vec<_> = handles.iter().collect();
        self.guard(self.db.flush_cfs_opt(&handles, &FlushOptions::default()))?;
        self.unflushed.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn waits(&self) -> Duration {
        self.under_way.longest()
    }

    fn usage(&self) -> Usage {
        let sum = |property: &properties::PropName| {
            let families = [Family::Member, Family::Oplog].into_iter();
            let families = families.chain(self.partitions().into_iter().map(Family::Partition));
            families
                .filter_map(|f| self.handle(f).ok())
                .filter_map(|handle| self.db.property_int_value_cf(&handle, property).ok().flatten())
                .sum()
        };
        Usage {
            tables: sum(properties::TOTAL_SST_FILES_SIZE),
            memtables: sum(properties::CUR_SIZE_ALL_MEM_TABLES),
            block_cache: self.cache.get_usage() as u64,
        }
    }
}
