//! A data directory and its grid: the first start, the next ones, and what is refused.

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    data_dir::{self, DataDir},
    grid::{Doors, GridPart, Home, enter},
};
use crate::{
    config::{Config, Options},
    control::{Command, StartError},
    partition::Hosts,
    service::Answers,
    storage::{
        Batch, Engine, Family, MemoryEngine, RocksEngine, RocksOptions,
        keys::{
            FORMAT_VERSION, control,
            member::{Identity, format_key, identity_key, membership_key, old_control_key},
        },
    },
    task::clock,
    telemetry::Metrics,
    types::{ClusterView, CollectionName, MemberId},
};

fn config(folder: &TempDir) -> Config {
    let options = Options {
        data_dir: Some(folder.path().to_owned()),
        bootstrap: Some(true),
        partitions: Some(2),
        ..Options::default()
    };
    options.check().unwrap()
}

/// One start of a daemon, as far as its grid is concerned. `rows` is its row store.
async fn start(folder: &TempDir, rows: &MemoryEngine) -> anyhow::Result<GridPart> {
    let config = config(folder);
    let data_dir = DataDir::take(folder.path())?;
    let identity = data_dir::identity(rows, config.bootstrap)?;
    let home = Home { engine: rows, identity: &identity };
    let metrics = Arc::new(Metrics::new("0", "test")?);
    let (answers, verifier) = (Answers::new(&Arc::default()), Arc::default());
    let doors = Doors { answers, hosts: Hosts::default(), verifier, indexes: Arc::default(), other: None };
    enter(&config, &data_dir, home, &metrics, doors, &CancellationToken::new()).await
}

/// What a daemon of version 0.1.0 left behind, with a collection and one whose rows were not all removed.
fn old_directory(member: &str) -> MemoryEngine {
    let rows = MemoryEngine::default();
    let identity = Identity { member: MemberId(member.to_owned()), store: "disk".to_owned() };
    let placement = format!(r#"{{"epoch":1,"primary":"{member}","in_sync":["{member}"]}}"#);
    let state = format!(
        r#"{{"version":4,"grid":"default","table":[{placement},{placement}],"next_collection":3,
        "collections":{{"c":{{"id":1,"config":{{"name":"c","dimension":3,"metric":"cosine","index":{{"engine":"native",
            "m":16,"ef_construction":200,"ef":null,"target_recall":0.99,"vectors":"memory"}},"durability":"sync"}}}}}},
        "purging":[2]}}"#
    );
    let mut batch = Batch::default();
    batch.put(Family::Member, format_key(), 2_u32.to_be_bytes().to_vec());
    batch.put(Family::Member, identity_key(), serde_json::to_vec(&identity).unwrap());
    batch.put(Family::Member, old_control_key(), state.into_bytes());
    rows.commit(&batch, true).unwrap();
    rows
}

fn view_of(part: &GridPart) -> Arc<ClusterView> {
    part.control.view()
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Returns when it has a lease. A member alone is its own majority; the consensus says so a moment after it has applied
/// the first decision of its term, which is when [`enter`] returns.
pub(super) async fn may_act(part: &GridPart) {
    let lease = async {
        while !part.control.lease().holds(clock::now()) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, lease).await.expect("a member alone is its own majority");
}

/// The state when it has no collections. After a start it is first the one that was known to be decided, which may be
/// a step behind the one that was.
pub(super) async fn without_collections(part: &GridPart) -> Arc<ClusterView> {
    let mut view = part.control.watch();
    let gone = view.wait_for(|view| view.collections().count() == 0);
    let gone = timeout(PATIENCE, gone).await.expect("what was dropped stays dropped").unwrap();
    Arc::clone(&gone)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_directory_becomes_the_grid_that_it_was() {
    let folder = TempDir::new().unwrap();
    let member = uuid::Uuid::new_v4().to_string();
    let rows = old_directory(&member);
    let part = start(&folder, &rows).await.unwrap();
    let view = view_of(&part);
    assert_eq!((view.version(), view.partitions(), view.grid()), (4, 2, "default"));
    assert!(view.collection(&CollectionName::new("c").unwrap()).is_some());
    assert_eq!(view.purging_at(&MemberId(member)).map(|id| id.0).collect::<Vec<_>>(), [2]);
    may_act(&part).await;
    assert!(rows.get(Family::Member, &old_control_key()).unwrap().is_none());
    let format = rows.get(Family::Member, &format_key()).unwrap().unwrap();
    assert_eq!(format, FORMAT_VERSION.to_be_bytes(), "an older daemon must not open it");
    let dropped = CollectionName::new("c").unwrap();
    part.control.propose(Command::DropCollection(dropped)).await.unwrap();
    let before = view_of(&part);
    part.stop().await;
    // And again: the state is in the control store now.
    let part = start(&folder, &rows).await.unwrap();
    let after = without_collections(&part).await;
    assert_eq!(after.id(), before.id());
    assert!(after.version() >= before.version());
    part.stop().await;
}

fn control_store(folder: &Path) -> RocksEngine {
    let budgets = RocksOptions { memtable_bytes: 8 << 20, block_cache_bytes: 1 << 20 };
    RocksEngine::open(&folder.join("control"), budgets).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_damaged_control_store_does_not_start_and_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let rows = MemoryEngine::default();
    let part = start(&folder, &rows).await.unwrap();
    assert!(rows.get(Family::Member, &membership_key()).unwrap().is_some());
    part.stop().await;
    start(&folder, &rows).await.unwrap().stop().await;

    let mut damaged = Batch::default();
    damaged.put(Family::Oplog, control::entry_key(1), b"not what was written".to_vec());
    control_store(folder.path()).commit(&damaged, true).unwrap();
    let error = start(&folder, &rows).await.err().unwrap().to_string();
    assert!(error.contains("Restore the folder `control`") && error.contains("--seeds"), "{error}");

    std::fs::remove_dir_all(folder.path().join("control")).unwrap();
    let error = start(&folder, &rows).await.err().unwrap().to_string();
    assert!(error.contains("Restore the folder `control`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_directories_are_not_mixed() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (rows, others) = (MemoryEngine::default(), MemoryEngine::default());
    start(&one, &rows).await.unwrap().stop().await;
    start(&two, &others).await.unwrap().stop().await;
    let error = start(&two, &rows).await.err().unwrap().to_string();
    assert!(error.contains("do not mix"), "{error}");
}

/// At each point a power cut leaves one of two: the member of the grid that is to be given up, or a fresh one.
#[tokio::test(flavor = "multi_thread")]
async fn a_grid_that_is_given_up_is_gone_or_goes_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let rows = MemoryEngine::default();
    let part = start(&folder, &rows).await.unwrap();
    let before = view_of(&part);
    part.stop().await;
    let part = start(&folder, &rows).await.unwrap();
    assert_eq!(view_of(&part).id(), before.id(), "nothing was decided: it is the same grid");
    part.control.propose(Command::Dissolve { at: "127.0.0.1:7".to_owned() }).await.unwrap();
    assert_eq!(part.control.dissolved().await, "127.0.0.1:7");
    part.stop().await;
    // Decided, and nothing more: the next start finds out.
    for _ in 0..2 {
        let error = start(&folder, &rows).await.err().unwrap();
        assert!(
            matches!(error.downcast_ref(), Some(StartError::Dissolved(at)) if at == "127.0.0.1:7"),
            "{error}"
        );
    }
    // Interrupted in the middle: marked, and one folder is gone.
    std::fs::create_dir_all(folder.path().join("rows")).unwrap();
    std::fs::write(folder.path().join("rows/CURRENT"), "of the old grid").unwrap();
    std::fs::write(folder.path().join("given-up"), "").unwrap();
    std::fs::remove_dir_all(folder.path().join("index")).ok();
    let data_dir = DataDir::take(folder.path()).unwrap();
    let left = || -> Vec<String> {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(left(), ["LOCK"]);
    // All at once.
    std::fs::create_dir_all(folder.path().join("control")).unwrap();
    data_dir.give_up().unwrap();
    assert_eq!(left(), ["LOCK"]);
    drop(data_dir);
    let part = start(&folder, &MemoryEngine::default()).await.unwrap();
    assert_ne!(view_of(&part).id(), before.id());
    part.stop().await;
}
