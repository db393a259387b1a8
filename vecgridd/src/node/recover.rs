//! `vecgridd recover --force-new-grid`: a new grid out of the data directory of one stopped member.
//!
//! It changes nothing before it has said what may be lost and was told to go on; then it writes one batch to the control
//! store. Rows are not touched: copies that are of no use are cleared by the next start, which founds the grid and says
//! once more what was done. So a power cut at any moment leaves the old grid or the new one.

use std::{
    fmt::Write as _,
    io::{BufRead, IsTerminal, Write as _},
    sync::Arc,
};

use anyhow::{Context, bail};

use super::data_dir::{self, DataDir};
use crate::{
    config::RecoverOptions,
    control::{ControlStore, LastKnown, Rescue, Rescued, StartError, rescue},
    partition::{self, CopyOnDisk},
    storage::{
        Batch, Engine, Family, RocksEngine, RocksOptions, StorageError,
        keys::member::{Membership, membership_key},
    },
    types::{MemberId, PartitionId},
};

/// Both stores are only looked at.
const BUDGETS: RocksOptions = RocksOptions { memtable_bytes: 16 << 20, block_cache_bytes: 8 << 20 };
/// How many partitions a line names.
const NAMED: usize = 16;

/// Does it.
///
/// # Errors
/// When it is not possible, not needed, or not wanted; then nothing was changed.
pub fn recover(options: &RecoverOptions) -> anyhow::Result<()> {
    let RecoverOptions { data_dir: path, begin_empty, yes, .. } = options;
    for part in ["rows", "control"] {
        if !path.join(part).is_dir() {
            bail!("{} is not the data directory of a member: it has no folder `{part}`", path.display());
        }
    }
    let data_dir = DataDir::take(path)?;
    let rows = RocksEngine::open(&data_dir.rows(), BUDGETS).context("cannot open the row store")?;
    let store = RocksEngine::open(&data_dir.control(), BUDGETS).map_err(StartError::of_open)?;
    let store = ControlStore::new(Arc::new(store));
    let identity = data_dir::identity(&rows, false)?;
    let Some(known) = store.last_known()? else {
        bail!("this member never was in a grid: there is nothing to recover");
    };
    if (&known.owner.member, &known.owner.store) != (&identity.member, &identity.store) {
        bail!("the folder `control` belongs to another member: do not mix data directories");
    }
    let me = &identity.member;
    if known.view.version() == 0 {
        bail!("this member had not heard of its grid's state yet: there is nothing to recover");
    }
    if known.view.members().all(|member| member.id == *me) {
        bail!("this member is the only one of its grid, which nothing stops: just start it");
    }
    let copies = (0..known.view.partitions()).map(|n| partition::copy_on_disk(&rows, PartitionId(n)));
    let copies = copies.collect::<Result<Vec<CopyOnDisk>, StorageError>>()?;
    let copy = |partition: PartitionId| copies[usize::from(partition.0)];
    let grid = uuid::Uuid::new_v4().to_string();
    let Some(found) = rescue(&known.view, me, &grid, copy) else {
        bail!("this member has left its grid for good: it has nothing to recover");
    };

    say(&describe(&known, me, &found));
    if !found.empty.is_empty() && !begin_empty {
        bail!(
            "of {} partitions this member has no copy. If another data directory has them, recover that one instead. \
             To let them begin empty, and their rows be lost, pass --begin-empty. Nothing was changed",
            found.empty.len()
        );
    }
    if !yes && !is_wanted()? {
        bail!("not confirmed: nothing was changed");
    }
    let rescued = Rescued {
        from: known.view.id().to_owned(),
        first: found.first,
        behind: found.behind,
        empty: found.empty,
    };
    store.begin_anew(&known.owner, &rescued)?;
    // For people who look: a start goes by the control store.
    let mut batch = Batch::default();
    batch.put(Family::Member, membership_key(), serde_json::to_vec(&Membership { grid: grid.clone() })?);
    rows.commit(&batch, true)?;
    say(&format!(
        "\nDone: the grid {grid} begins when this member is started. Other members join it with empty data directories;\n\
         those of the old grid are refused."
    ));
    Ok(())
}

/// What is known, what is kept, and what may be lost.
fn describe(known: &LastKnown, me: &MemberId, found: &Rescue) -> String {
    let view = &known.view;
    let names = |ids: Vec<&MemberId>| {
        let names: Vec<String> = ids.into_iter().map(|id| view.name_of(id)).collect();
        names.join(", ")
    };
    let others = view.members().map(|member| &member.id).filter(|id| *id != me).collect();
    let voters = known.voters.iter().collect();
    let collections: Vec<&str> = view.collections().map(|c| c.config.name.as_str()).collect();
    let list = |partitions: &[PartitionId]| {
        let first: Vec<String> = partitions.iter().take(NAMED).map(ToString::to_string).collect();
        let more = partitions.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", first.join(", "))
    };
    let mut text = format!(
        "!!! A NEW GRID IS MADE BY FORCE. DATA MAY BE LOST. !!!\n\
         grid            {} ({}), as this member knew it at version {}\n\
         this member     {} ({me})\n\
         others          {}: given up, and refused if they come back\n\
         voters          {}: if more than half of them can still be started, start them instead\n\
         collections     {}\n\
         kept            {} of {} partitions with a copy that was in sync: everything acknowledged, as far as this\n\
        \x20               member knows. What the others took without it after it last heard of them is lost",
        view.grid(),
        view.id(),
        view.version(),
        view.name_of(me),
        names(others),
        names(voters),
        if collections.is_empty() { "none".to_owned() } else { collections.join(", ") },
        found.whole.len(),
        view.partitions(),
    );
    // Writing to a string does not fail.
    if !found.behind.is_empty() {
        let _ = write!(
            text,
            "\nbehind          {} partitions with a copy that was NOT in sync, kept as it is: WRITES ARE LOST\n\
            \x20               {}",
            found.behind.len(),
            list(&found.behind)
        );
    }
    if !found.empty.is_empty() {
        let _ = write!(
            text,
            "\nno copy         {} partitions: ALL THEIR ROWS ARE LOST unless another member has them\n\
            \x20               {}",
            found.empty.len(),
            list(&found.empty)
        );
    }
    let least = view.copies().min_in_sync;
    if least > 1 {
        let _ = write!(
            text,
            "\nwrites          are refused until {least} members hold each partition: that is how this grid is set"
        );
    }
    text
}

fn say(text: &str) {
    println!("{text}");
}

/// Asks whoever is at the terminal.
fn is_wanted() -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("nobody is there to confirm: pass --yes. Nothing was changed");
    }
    print!("\nType yes to go on: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}
