//! Comparing the copies of one partition, because somebody asks.
//!
//! The primary does it; whoever is asked passes the question on. A grid is verified partition by partition, so that each
//! answer has its deadline, whoever asks sees how far it is, and nothing is left behind when nobody waits any more.

use std::time::Duration;

use super::{RequestContext, Service, ServiceError};
use crate::{
    partition::{Answer, CopyVerdict, Findings, QUICKLY, Question},
    types::{CollectionId, Invalid, Member, PartitionId},
};

/// Between two attempts while a partition is on its way.
const AGAIN: Duration = Duration::from_millis(50);

/// What became of it, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All copies are the same, and what they should be.
    Equal,
    /// Some differ.
    Differs,
    /// No difference was found, and not all copies could be compared.
    Unverified,
}

impl Verdict {
    /// For people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Unverified => "unverified",
        }
    }
}

/// What was found out about a partition.
#[derive(Debug, Clone)]
pub struct VerifyAnswer {
    /// Which one.
    pub partition: PartitionId,
    /// In a word.
    pub verdict: Verdict,
    /// By copy, the primary's first.
    pub copies: Vec<CopyVerdict>,
}

impl From<Findings> for VerifyAnswer {
    fn from(findings: Findings) -> Self {
        let verdict = if findings.differs() {
            Verdict::Differs
        } else if findings.copies.iter().any(|copy| copy.unverified.is_some()) {
            Verdict::Unverified
        } else {
            Verdict::Equal
        };
        Self { partition: findings.partition, verdict, copies: findings.copies }
    }
}

impl Service {
    /// Reads and compares all copies of a partition, and mends what can be mended.
    ///
    /// # Errors
    /// `invalid_partition`, `partition_unavailable` while its primary is away, `deadline_exceeded`.
    pub async fn verify(&self, ctx: &RequestContext, partition: u32) -> Result<VerifyAnswer, ServiceError> {
        let total = self.view().partitions();
        let known = u16::try_from(partition).ok().filter(|partition| *partition < total);
        let partition = PartitionId(known.ok_or_else(|| {
            let text = format!("the grid has partitions 0 to {}", total.saturating_sub(1));
            ServiceError::from(Invalid::new("invalid_partition", "partition", text))
        })?);
        loop {
            let view = self.view();
            let primary = &view.partition(partition).primary;
            if *primary == self.parts.member {
                let found = self.parts.verifier.verify(partition, QUICKLY);
                if let Some(findings) = ctx.before(found).await? {
                    return Ok(findings.into());
                }
            } else if view.member(primary).is_some_and(Member::is_alive) {
                let asked = self.parts.verifier.ask(primary, partition, Question::Verify);
                if let Some(Answer::Verified(findings)) = ctx.before(asked).await? {
                    return Ok(findings.into());
                }
            } else {
                let why = format!("{partition} ({} is away)", view.name_of(primary));
                return Err(ServiceError::Unavailable { why, unsure: false });
            }
            // It is on its way to another member, or its primary has just started.
            ctx.before(tokio::time::sleep(AGAIN)).await?;
        }
    }

    /// How long ago the partitions that this member leads were compared, of the one for which that is longest.
    pub fn verify_age(&self) -> Option<Duration> {
        self.parts.verifier.age()
    }

    /// What people call a collection.
    pub fn collection_name(&self, id: CollectionId) -> String {
        self.view().collection_by_id(id).map_or_else(String::new, |c| c.config.name.as_str().to_owned())
    }
}
