//! The task that owns the control state.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    command::{Command, Decision, Refused},
    state::decide,
};
use crate::{
    storage::{Batch, Engine, Family, StorageError, keys::member},
    task::Tasks,
    types::{ClusterView, MemberId},
};

/// Commands that may wait.
const MAILBOX: usize = 64;

/// Why a command was not decided.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlError {
    /// By the rules.
    #[error("refused: {0:?}")]
    Refused(Refused),
    /// The decision could not be made durable.
    #[error(transparent)]
    Storage(StorageError),
    /// The daemon is stopping.
    #[error("the control plane has stopped")]
    Closed,
}

struct Proposal {
    command: Command,
    decided: oneshot::Sender<Result<Decision, ControlError>>,
}

/// Asks the owner, and looks at what it published. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    proposals: mpsc::Sender<Proposal>,
    view: watch::Receiver<Arc<ClusterView>>,
}

impl Control {
    /// Reads the state of this member, or starts a grid of one, and starts the owner.
    ///
    /// # Errors
    /// When the disk fails or the stored state is damaged.
    pub fn start(
        tasks: &Tasks,
        engine: Arc<dyn Engine>,
        grid: &str,
        partitions: u16,
        member: &MemberId,
    ) -> Result<Self, StorageError> {
        let view = match engine.get(Family::Member, &member::control_key())? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| StorageError::corrupt("the control state", e))?
            }
            None => {
                let view = ClusterView::bootstrap(grid, partitions, member);
                save(&*engine, &view)?;
                view
            }
        };
        let (publish, view) = watch::channel(Arc::new(view));
        let (proposals, inbox) = mpsc::channel(MAILBOX);
        tasks.spawn("control", run(engine, publish, inbox, tasks.token()));
        Ok(Self { proposals, view })
    }

    /// Decides a command. When this returns, the decision is durable and published.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn propose(&self, command: Command) -> Result<Decision, ControlError> {
        let (decided, decision) = oneshot::channel();
        let proposal = Proposal { command, decided };
        self.proposals.send(proposal).await.map_err(|_| ControlError::Closed)?;
        decision.await.map_err(|_| ControlError::Closed)?
    }

    /// What is agreed now.
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view.borrow())
    }

    /// To look at what is agreed, and be woken by changes.
    pub fn watch(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.clone()
    }
}

async fn run(
    engine: Arc<dyn Engine>,
    publish: watch::Sender<Arc<ClusterView>>,
    mut inbox: mpsc::Receiver<Proposal>,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        let proposal = tokio::select! {
            proposal = inbox.recv() => proposal,
            () = stop.cancelled() => break,
        };
        let Some(Proposal { command, decided }) = proposal else { break };
        let mut next = (**publish.borrow()).clone();
        let before = next.version();
        let result = match decide(&mut next, command) {
            Ok(decision) if next.version() == before => Ok(decision),
            Ok(decision) => {
                let (engine, next) = (Arc::clone(&engine), Arc::new(next));
                let saving = Arc::clone(&next);
                match tokio::task::spawn_blocking(move || save(&*engine, &saving)).await {
                    Ok(Ok(())) => {
                        publish.send_replace(next);
                        Ok(decision)
                    }
                    Ok(Err(error)) => Err(ControlError::Storage(error)),
                    Err(error) => Err(ControlError::Storage(StorageError::Io(error.to_string()))),
                }
            }
            Err(refused) => Err(ControlError::Refused(refused)),
        };
        // A proposer that has gone needs no answer.
        let _ = decided.send(result);
    }
}

fn save(engine: &dyn Engine, view: &ClusterView) -> Result<(), StorageError> {
    let bytes = serde_json::to_vec(view).map_err(|e| StorageError::Io(e.to_string()))?;
    let mut batch = Batch::default();
    batch.put(Family::Member, member::control_key(), bytes);
    engine.commit(&batch, true)
}
