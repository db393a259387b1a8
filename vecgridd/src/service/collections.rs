//! Create, look at and drop collections.

use super::{CollectionDraft, RequestContext, Service, ServiceError};
use crate::{
    control::{Command, Decision},
    types::{Collection, CollectionConfig, CollectionName},
};

/// After the grid could not record that rows are gone: removing them again does no harm.
const PURGE_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// A collection and its size.
#[derive(Debug, Clone)]
pub struct CollectionInfo {
    /// What it is.
    pub config: CollectionConfig,
    /// Live entries.
    pub count: u64,
    /// Entries linked into the graph; the others are scanned exactly.
    pub indexed: u64,
    /// Memory of its index, bytes.
    pub index_bytes: u64,
    /// Breadth of a walk for ten hits that names none; zero without a graph.
    pub search_ef: u32,
    /// Entries in the graph when it was last measured which breadth reaches which recall; zero = not yet.
    pub calibrated_rows: u64,
}

impl Service {
    /// Creates a collection; `false` when an equal one exists.
    ///
    /// # Errors
    /// `collection_exists` when a different one exists; what [`CollectionDraft::check`] refuses.
    pub async fn create_collection(
        &self,
        ctx: &RequestContext,
        draft: CollectionDraft,
    ) -> Result<(CollectionConfig, bool), ServiceError> {
        let config = draft.check()?;
        match self.decide(ctx, Command::CreateCollection(config)).await? {
            Decision::Created(collection) => Ok((collection.config, true)),
            Decision::Exists(collection) => Ok((collection.config, false)),
            Decision::Dropped(_) | Decision::Noted => {
                Err(ServiceError::Internal("unexpected decision".into()))
            }
        }
    }

    /// One collection.
    ///
    /// # Errors
    /// `collection_not_found`; `not_hosted`, because sizes are those of the rows here.
    pub fn get_collection(&self, name: &str) -> Result<CollectionInfo, ServiceError> {
        Ok(self.info(&self.collection_here(name)?))
    }

    /// All collections, by name.
    ///
    /// # Errors
    /// `not_hosted`, if there are any.
    pub fn list_collections(&self) -> Result<Vec<CollectionInfo>, ServiceError> {
        let view = self.view();
        if view.collections().next().is_some() {
            self.refuse_elsewhere()?;
        }
        Ok(view.collections().map(|collection| self.info(collection)).collect())
    }

    /// Drops a collection; `false` when there was none. When this returns the collection does not
    /// exist any more; its rows are removed in the background, across restarts if need be.
    ///
    /// # Errors
    /// When the decision could not be made durable.
    pub async fn drop_collection(&self, ctx: &RequestContext, name: &str) -> Result<bool, ServiceError> {
        let name = CollectionName::new(name)?;
        let decision = self.decide(ctx, Command::DropCollection(name)).await?;
        Ok(matches!(decision, Decision::Dropped(Some(_))))
    }

    /// From now on this member removes its rows of dropped collections, whoever dropped them, also before it started.
    pub fn spawn_purges(&self) {
        self.parts.tasks.spawn("purges", purges(self.clone()));
    }

    pub(super) async fn decide(
        &self,
        ctx: &RequestContext,
        command: Command,
    ) -> Result<Decision, ServiceError> {
        if self.parts.health.is_draining() {
            return Err(ServiceError::ShuttingDown);
        }
        let decision = tokio::time::timeout_at(ctx.deadline, self.parts.control.propose(command)).await;
        Ok(decision.map_err(|_| ServiceError::DeadlineDuring)??)
    }

    fn info(&self, collection: &Collection) -> CollectionInfo {
        let stats = self.parts.indexes.get(collection.id).map(|index| index.stats());
        CollectionInfo {
            config: collection.config.clone(),
            count: stats.as_ref().map_or(0, |s| s.live),
            indexed: stats.as_ref().map_or(0, |s| s.indexed),
            index_bytes: stats.as_ref().map_or(0, |s| s.bytes.total()),
            search_ef: stats.as_ref().map_or(0, |s| u32::try_from(s.search_ef).unwrap_or(u32::MAX)),
            calibrated_rows: stats.as_ref().map_or(0, |s| s.calibrated_rows),
        }
    }
}

async fn purges(service: Service) {
    let stop = service.parts.tasks.token();
    let mut view = service.parts.control.watch();
    loop {
        let next = view.borrow_and_update().purging_at(&service.parts.member).next();
        let Some(dropped) = next else {
            tokio::select! {
                changed = view.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            continue;
        };
        let purged = service.parts.purger.purge(dropped).await.await;
        service.parts.recall.forget(dropped);
        // If the applier has stopped, the next start goes on.
        if purged.is_err() {
            return;
        }
        let done = Command::Purged { collection: dropped, member: service.parts.member.clone() };
        let told = tokio::select! {
            told = service.parts.control.propose(done) => told,
            () = stop.cancelled() => return,
        };
        if let Err(error) = told {
            tracing::debug!(%error, "that a dropped collection's rows are gone could not be recorded yet");
            tokio::select! { () = tokio::time::sleep(PURGE_AGAIN) => {}, () = stop.cancelled() => return }
        }
    }
}
