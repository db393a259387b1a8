//! Has the copies of a partition compared.

use vecgrid_proto::v1 as pb;

use crate::{
    Client, CopyVerdict, Difference, Result, Verified,
    call::{Effect, Stub},
};

impl Client {
    /// Reads all copies of one partition and compares them: with each other, with what was written, and with their
    /// indexes. What can be mended is mended. A grid is verified partition by partition: [`Client::grid_status`] lists
    /// them.
    ///
    /// # Errors
    /// When there is no such partition or its primary is away, and what any call may meet.
    pub async fn verify(&self, partition: u32) -> Result<Verified> {
        let send = |mut stub: Stub, request| async move { stub.verify(request).await };
        let answer = self.call(Effect::Read, pb::VerifyRequest { partition }, send).await?;
        let difference = |found: pb::Difference| Difference {
            what: found.what,
            collection: found.collection,
            rows: found.rows,
            ids: found.ids,
        };
        let copy = |copy: pb::CopyVerdict| CopyVerdict {
            member: copy.member,
            rows: copy.rows,
            version: copy.version,
            differences: copy.differences.into_iter().map(difference).collect(),
            unverified: copy.unverified,
        };
        Ok(Verified {
            partition: answer.partition,
            verdict: answer.verdict,
            copies: answer.copies.into_iter().map(copy).collect(),
        })
    }
}
