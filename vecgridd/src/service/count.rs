//! Count entries.

use tonic::{Request, Response, Status};
use vecgrid_proto::peer as wire;

use super::{
    Effort, FilterDraft, RequestContext, Service, ServiceError,
    answer::Scope,
    cover::Holder,
    scatter::{Miss, Part},
};
use crate::{
    index::PartitionSet,
    peer::Rows,
    types::{Collection, Filter, MemberId},
};

impl Service {
    /// How many entries match; `None` counts all.
    ///
    /// # Errors
    /// `invalid_filter`, `collection_not_found`; `incomplete`.
    pub async fn count(
        &self,
        ctx: &RequestContext,
        collection: &str,
        filter: Option<FilterDraft>,
    ) -> Result<u64, ServiceError> {
        let collection = &self.collection(ctx, collection).await?;
        let json = &filter.as_ref().map(FilterDraft::to_json).unwrap_or_default();
        let filter = &filter.map(|filter| filter.check()).transpose()?;
        let ask = |holder, set| async move {
            match holder {
                Holder::Here => Ok(self.count_here(ctx, collection, filter.clone(), &set).await?),
                Holder::There(member) => {
                    let send = |mut rows: Rows, request| async move { rows.count(request).await };
                    let asked =
                        self.ask_about_matching(ctx, &member, (collection, json), &set, ("count", send));
                    asked.await.map(|part| Part::new(part.answer.count, part.elsewhere))
                }
            }
        };
        Ok(self.gather_all(ctx, ask).await?.into_iter().sum())
    }

    async fn count_here(
        &self,
        ctx: &RequestContext,
        collection: &Collection,
        filter: Option<Filter>,
        set: &PartitionSet,
    ) -> Result<Part<u64>, ServiceError> {
        let view = self.index(collection).map(|index| index.view());
        let (kept, elsewhere) = self.still(ctx, set);
        let Some(view) = view else { return Ok(Part::new(0, elsewhere)) };
        let count = move |_: &_| Ok(view.count(filter.as_ref(), &kept));
        Ok(Part::new(self.compute(ctx, Effort::Long, count).await?, elsewhere))
    }

    /// Asks another member about everything that matches in some partitions: `send` says what.
    pub(super) async fn ask_about_matching<F>(
        &self,
        ctx: &RequestContext,
        to: &MemberId,
        (collection, filter): (&Collection, &str),
        set: &PartitionSet,
        (verb, send): (&'static str, impl FnOnce(Rows, Request<wire::CountRequest>) -> F),
    ) -> Result<Part<wire::CountResponse>, Miss>
    where
        F: Future<Output = Result<Response<wire::CountResponse>, Status>>,
    {
        self.refuse_unknown(collection)?;
        let asked = Some(self.asked(ctx, set));
        let message =
            wire::CountRequest { asked, collection: collection.id.0, filter_json: filter.to_owned() };
        let (answer, elsewhere) = self.ask_member(ctx, to, (verb, message), send).await?;
        Ok(Part::new(answer, elsewhere))
    }

    /// Counts for another member.
    pub(super) async fn answer_count(
        &self,
        scope: Scope,
        message: wire::CountRequest,
    ) -> Result<Option<Part<wire::CountResponse>>, ServiceError> {
        let Some(collection) = self.collection_of(message.collection) else { return Ok(None) };
        let filter = FilterDraft::of_json(&message.filter_json)?;
        let part = self.count_here(&scope.ctx, &collection, filter, &scope.partitions).await?;
        Ok(Some(Part::new(wire::CountResponse { count: part.answer, ..Default::default() }, part.elsewhere)))
    }
}
