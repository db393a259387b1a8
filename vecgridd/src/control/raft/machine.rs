//! Applies committed entries to the state, publishes each version, and makes snapshots.
//!
//! The state is in memory: after a start it is the last snapshot and the committed entries behind it.

use std::{io::Cursor, sync::Arc};

use openraft::{
    EntryPayload, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError, storage::RaftStateMachine,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Applied, ControlStore, Entry, LogId, Membership, NodeId, RaftStorageError, Types};
use crate::{
    control::state::decide,
    storage::{StorageError, keys::control::snapshot_key},
    types::ClusterView,
};

/// The state as of one entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    applied: Option<LogId>,
    membership: Membership,
    view: ClusterView,
}

/// See the module.
pub struct Machine {
    store: ControlStore,
    state: State,
    publish: watch::Sender<Arc<ClusterView>>,
}

impl Machine {
    /// The state as of the last snapshot.
    pub fn open(store: ControlStore, publish: watch::Sender<Arc<ClusterView>>) -> Result<Self, StorageError> {
        let state = match store.read("the control snapshot", &snapshot_key())? {
            Some(state) => state,
            None => State { applied: None, membership: Membership::default(), view: ClusterView::unborn() },
        };
        let machine = Self { store, state, publish };
        machine.tell();
        Ok(machine)
    }

    /// The state after these entries, too, whether they are committed or not; and who takes part.
    pub fn after(mut self, entries: Vec<Entry>) -> (ClusterView, Membership) {
        for entry in entries {
            self.apply_one(entry);
        }
        (self.state.view, self.state.membership)
    }

    /// The last entry whose effects the state shows.
    pub fn applied(&self) -> Option<LogId> {
        self.state.applied
    }

    /// Shows the state, if it has changed.
    fn tell(&self) {
        self.publish.send_if_modified(|shown| {
            let changed = shown.version() != self.state.view.version();
            if changed {
                *shown = Arc::new(self.state.view.clone());
            }
            changed
        });
    }

    fn apply_one(&mut self, entry: Entry) -> Applied {
        self.state.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Applied(None),
            EntryPayload::Normal(command) => Applied(Some(decide(&mut self.state.view, command))),
            EntryPayload::Membership(membership) => {
                self.state.membership = Membership::new(Some(entry.log_id), membership);
                Applied(None)
            }
        }
    }
}

/// A copy of the state, to be written while the machine goes on.
pub struct Builder {
    store: ControlStore,
    state: State,
}

fn snapshot_of(state: &State) -> Result<Snapshot<Types>, StorageError> {
    let bytes = serde_json::to_vec(state).map_err(|e| StorageError::Io(e.to_string()))?;
    let index = state.applied.as_ref().map_or(0, |id| id.index);
    let meta = SnapshotMeta {
        last_log_id: state.applied,
        last_membership: state.membership.clone(),
        snapshot_id: format!("{index}-{}", state.view.version()),
    };
    Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, RaftStorageError> {
        let failed = |e: StorageError| StorageIOError::write_snapshot(None, &e);
        self.store.put(snapshot_key(), &self.state, true).await.map_err(failed)?;
        Ok(snapshot_of(&self.state).map_err(failed)?)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), RaftStorageError> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let applied = entries.into_iter().map(|entry| self.apply_one(entry)).collect();
        self.tell();
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { store: self.store.clone(), state: self.state.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, RaftStorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, openraft::EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), RaftStorageError> {
        let failed = |e: StorageError| StorageIOError::write_snapshot(Some(meta.signature()), &e);
        let mut state: State = serde_json::from_slice(&snapshot.into_inner())
            .map_err(|e| failed(StorageError::corrupt("a snapshot from the leader", e)))?;
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        self.store.put(snapshot_key(), &state, true).await.map_err(failed)?;
        self.state = state;
        self.tell();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, RaftStorageError> {
        let failed = |e: StorageError| StorageIOError::read_snapshot(None, &e);
        let saved: Option<State> =
            self.store.read("the control snapshot", &snapshot_key()).map_err(failed)?;
        Ok(saved.map(|state| snapshot_of(&state)).transpose().map_err(failed)?)
    }
}
