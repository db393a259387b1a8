//! Create, look at and drop collections.

use std::sync::Arc;

use vecgrid_proto::peer as wire;

use super::{
    CollectionDraft, Effort, RequestContext, Service, ServiceError,
    answer::Scope,
    cover::Holder,
    scatter::{Miss, Part},
};
use crate::{
    control::{Command, Decision},
    index::{IndexStats, PartitionSet, View},
    peer::Rows,
    types::{Collection, CollectionConfig, CollectionId, CollectionName, MemberId},
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

    /// One collection, with its size in the whole grid.
    ///
    /// # Errors
    /// `collection_not_found`; `incomplete`.
    pub async fn get_collection(
        &self,
        ctx: &RequestContext,
        name: &str,
    ) -> Result<CollectionInfo, ServiceError> {
        let collection = self.collection(ctx, name).await?;
        let unmeasured = || ServiceError::Internal("a collection was not measured".into());
        self.measure(ctx, vec![collection]).await?.pop().ok_or_else(unmeasured)
    }

    /// All collections, by name.
    ///
    /// # Errors
    /// `incomplete`, if there are any.
    pub async fn list_collections(&self, ctx: &RequestContext) -> Result<Vec<CollectionInfo>, ServiceError> {
        let collections: Vec<Collection> = self.view().collections().cloned().collect();
        if collections.is_empty() {
            return Ok(Vec::new());
        }
        self.measure(ctx, collections).await
    }

    /// Adds up what each member has of collections.
    async fn measure(
        &self,
        ctx: &RequestContext,
        collections: Vec<Collection>,
    ) -> Result<Vec<CollectionInfo>, ServiceError> {
        let ids = &collections.iter().map(|collection| collection.id).collect::<Vec<_>>();
        let ask = |holder, set: PartitionSet| async move {
            match holder {
                Holder::Here => Ok(self.sizes_here(ctx, ids.clone(), &set).await?),
                Holder::There(member) => self.sizes_there(ctx, &member, ids, &set).await,
            }
        };
        let mut sums = vec![wire::Size::default(); collections.len()];
        for sizes in self.gather_all(ctx, ask).await? {
            for (sum, size) in sums.iter_mut().zip(sizes) {
                sum.count += size.count;
                sum.indexed += size.indexed;
                sum.index_bytes += size.index_bytes;
                sum.search_ef = sum.search_ef.max(size.search_ef);
                sum.calibrated_rows += size.calibrated_rows;
            }
        }
        let info = |(collection, size): (Collection, wire::Size)| CollectionInfo {
            config: collection.config,
            count: size.count,
            indexed: size.indexed,
            index_bytes: size.index_bytes,
            search_ef: size.search_ef,
            calibrated_rows: size.calibrated_rows,
        };
        Ok(collections.into_iter().zip(sums).map(info).collect())
    }

    async fn sizes_here(
        &self,
        ctx: &RequestContext,
        ids: Vec<CollectionId>,
        set: &PartitionSet,
    ) -> Result<Part<Vec<wire::Size>>, ServiceError> {
        let index = |id: CollectionId| self.parts.indexes.get(id).map(|index| (index.stats(), index.view()));
        let indexes: Vec<_> = ids.into_iter().map(index).collect();
        let (kept, elsewhere) = self.still(ctx, set);
        let measure = move |_: &_| {
            let size = |(stats, view): (IndexStats, Arc<View>)| {
                // Rows that are here for another reason are counted by whoever answers for them.
                let count = view.count(None, &kept);
                wire::Size {
                    count,
                    indexed: stats.indexed.min(count),
                    index_bytes: stats.bytes.total(),
                    search_ef: u32::try_from(stats.search_ef).unwrap_or(u32::MAX),
                    calibrated_rows: stats.calibrated_rows,
                }
            };
            Ok(indexes.into_iter().map(|index| index.map(size).unwrap_or_default()).collect())
        };
        Ok(Part::new(self.compute(ctx, Effort::Long, measure).await?, elsewhere))
    }

    async fn sizes_there(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        ids: &[CollectionId],
        set: &PartitionSet,
    ) -> Result<Part<Vec<wire::Size>>, Miss> {
        let collections = ids.iter().map(|id| id.0).collect();
        let message = wire::SizesRequest { asked: Some(self.asked(ctx, set)), collections };
        let send = |mut rows: Rows, request| async move { rows.sizes(request).await };
        let (answer, elsewhere) =
            self.ask_member::<_, wire::SizesResponse, _>(ctx, to, ("sizes", message), send).await?;
        Ok(Part::new(answer.sizes, elsewhere))
    }

    /// Measures for another member. A collection that was dropped meanwhile has no rows.
    pub(super) async fn answer_sizes(
        &self,
        scope: Scope,
        message: wire::SizesRequest,
    ) -> Result<Option<Part<wire::SizesResponse>>, ServiceError> {
        let ids = message.collections.into_iter().map(CollectionId).collect();
        let part = self.sizes_here(&scope.ctx, ids, &scope.partitions).await?;
        Ok(Some(Part::new(wire::SizesResponse { told: None, sizes: part.answer }, part.elsewhere)))
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
