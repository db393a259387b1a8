//! Questions about copies, over the wire.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use vecgrid_proto::peer as wire;

use crate::{
    partition::{Answer, Others, Question},
    peer::Pool,
    types::{MemberId, PartitionId},
};

/// How long digests may take: they are looked up, between two batches.
const GLANCE: Duration = Duration::from_secs(5);
/// How long reading a copy may take: whoever waits for it has a deadline of its own.
const SCAN: Duration = Duration::from_secs(1_800);

/// The way to other members' copies. Cheap to clone.
#[derive(Clone)]
pub struct Inspect {
    pool: Pool,
}

impl Inspect {
    /// Speaks to the members that this pool knows.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

impl Others for Inspect {
    fn ask(
        &self,
        member: MemberId,
        partition: PartitionId,
        question: Question,
    ) -> BoxFuture<'static, Option<Answer>> {
        let pool = self.pool.clone();
        async move {
            let patience = if question == Question::Glance { GLANCE } else { SCAN };
            let question = Bytes::from(serde_json::to_vec(&question).ok()?);
            let message = wire::InspectRequest { partition: partition.0.into(), question };
            match pool.inspect(&member, message, patience).await {
                Ok(response) => serde_json::from_slice(&response.answer).ok(),
                Err(error) => {
                    tracing::debug!(%partition, %member, %error, "nothing is known of a copy");
                    None
                }
            }
        }
        .boxed()
    }
}
