//! Are the copies of a partition the same, and is each what it should be? Checked in the background, and when an
//! operator asks.
//!
//! ```text
//!  every few minutes   glance   digests that are kept up with each write: primary ═ others, rows ═ index
//!  once a day, or on   scan     all rows are read, slowly: what is there ═ what was written ═ what the index shows,
//!  a difference                 and their content ═ that of the other copies
//!
//!  primary ── Question ═▶ another copy: answers what it has, judges nothing
//!  report.rs              pure: what is different, and with whom
//!          ─▶ the copy of another member: it counts no more, and is taken anew    (Handle::retake)
//!          ─▶ an index: made equal to its rows by the applier
//!          ─▶ the primary's own rows: nobody can say what they should be: said, and left to the operator
//! ```
//!
//! Promises: copies are compared at one version only (two that are never at the same one by the digests that each
//! remembers of some versions before); one that is behind is asked again a few times and then in the next round; a
//! difference is counted, told with the ids of some rows, and mended only from a primary whose own rows are sound. Rows are
//! read at a bounded speed by one thread at the lowest priority; nothing is locked, no write waits.
//!
//! Digests say which rows there are, by id and version. What is *in* a row is compared when two copies were read at the
//! same version; damage on a disk is found by the checksum of each row anyway.
//!
//! Left out: mending a primary by handing over to a copy that is sound; mending row by row.

mod moments;
mod report;
mod run;
mod scan;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot, watch};

use super::{Hosts, applier::Looker};
use crate::{
    storage::Engine,
    task::background,
    telemetry::Metrics,
    types::{ClusterView, CollectionId, Member, MemberId, PartitionId},
};

pub use moments::Moments;
pub use report::{CopyVerdict, Difference, Findings, Glance, Moment, Scan, What};
pub use run::{VerifyOptions, run};

/// How fast rows are read in the background, bytes per second: a fraction of what a disk gives.
pub const SLOWLY: u64 = 16 << 20;
/// How fast when somebody waits for it.
pub const QUICKLY: u64 = 256 << 20;
/// How often copies are asked that are not at one version, and how long that waits.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_millis(200);

/// What a primary asks another copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Its digests.
    Glance,
    /// Read all of its rows.
    Scan {
        /// How fast.
        bytes_per_second: u64,
        /// Collections whose rows are to be listed.
        list: BTreeSet<CollectionId>,
    },
    /// For the primary: compare all copies of the partition.
    Verify,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a glance.
    Glance(Glance),
    /// To a scan.
    Scan(Scan),
    /// To the primary.
    Verified(Findings),
    /// The partition is not here, or this member is not its primary: nothing was done.
    NotHere,
}

/// The way to other copies.
pub trait Others: Send + Sync + 'static {
    /// Asks a member about its copy; `None` when no answer came.
    fn ask(
        &self,
        member: MemberId,
        partition: PartitionId,
        question: Question,
    ) -> BoxFuture<'static, Option<Answer>>;
}

/// What verifying needs.
pub struct VerifierParts {
    /// This member.
    pub member: MemberId,
    /// The rows.
    pub engine: Arc<dyn Engine>,
    /// The copies that are here.
    pub hosts: Hosts,
    /// Looks at copies between two batches.
    pub looker: Looker,
    /// What the grid agreed on.
    pub view: watch::Receiver<Arc<ClusterView>>,
    /// The other members.
    pub others: Arc<dyn Others>,
    /// Numbers for the operator.
    pub metrics: Arc<Metrics>,
}

/// Compares copies, and answers those that do. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Shared>,
}

struct Shared {
    parts: VerifierParts,
    /// One scan at a time.
    scans: Arc<Semaphore>,
    /// When all rows of a partition's copies were compared last, by this member as its primary. Never held across an
    /// await.
    verified: Mutex<BTreeMap<PartitionId, Instant>>,
}

impl Verifier {
    /// Over these parts.
    pub fn new(parts: VerifierParts) -> Self {
        let scans = Arc::new(Semaphore::new(1));
        Self { shared: Arc::new(Shared { parts, scans, verified: Mutex::default() }) }
    }

    fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.shared.parts.view.borrow())
    }

    fn live(&self) -> BTreeSet<CollectionId> {
        self.view().collections().map(|collection| collection.id).collect()
    }

    /// Whether this member is the primary of a partition, and answers for it.
    pub fn leads(&self, partition: PartitionId) -> bool {
        let view = self.view();
        partition.0 < view.partitions()
            && view.partition(partition).primary == self.shared.parts.member
            && self.shared.parts.hosts.leads().contains(partition)
    }

    /// How long ago the rows of the partitions that this member leads were compared, of the one for which that is
    /// longest; `None` while one of them was not since the daemon's start.
    pub fn age(&self) -> Option<Duration> {
        let verified = self.shared.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let led = self.shared.parts.hosts.leads();
        let ages = led.iter().map(|partition| verified.get(&partition).map(Instant::elapsed));
        ages.collect::<Option<Vec<Duration>>>()?.into_iter().max()
    }

    /// Answers another member.
    pub async fn answer(&self, partition: PartitionId, question: Question) -> Option<Answer> {
        let here = self.shared.parts.hosts.get(partition).is_some();
        match question {
            Question::Verify if self.leads(partition) => {
                self.verify(partition, QUICKLY).await.map(Answer::Verified)
            }
            Question::Verify => Some(Answer::NotHere),
            _ if !here => Some(Answer::NotHere),
            Question::Glance => self.glance(partition).await.map(Answer::Glance),
            Question::Scan { bytes_per_second, list } => {
                self.scan(partition, bytes_per_second, list).await.map(Answer::Scan)
            }
        }
    }

    /// What the copy here says without reading rows. An index that shows something else is mended at once.
    pub(super) async fn glance(&self, partition: PartitionId) -> Option<Glance> {
        let glance = self.shared.parts.looker.look(partition).await?.glance;
        if !glance.index.is_empty() {
            self.mend_index(partition, &glance.index).await;
        }
        Some(glance)
    }

    /// Reads the copy here. An index that shows something else is mended.
    async fn scan(
        &self,
        partition: PartitionId,
        bytes_per_second: u64,
        list: BTreeSet<CollectionId>,
    ) -> Option<Scan> {
        let _turn = Arc::clone(&self.shared.scans).acquire_owned().await.ok()?;
        let boundary = self.shared.parts.looker.look(partition).await?;
        let order = scan::Order {
            partition,
            at: boundary.glance.moments.first()?.at,
            table_version: boundary.glance.table_version,
            views: boundary.views,
            list,
            bytes_per_second,
        };
        let (done, scanned) = oneshot::channel();
        let engine = Arc::clone(&self.shared.parts.engine);
        let started = std::thread::Builder::new().name("verify".into()).spawn(move || {
            background::step_behind();
            let scan = scan::scan(&*engine, order, || done.is_closed());
            let _ = done.send(scan);
        });
        if let Err(error) = started {
            tracing::warn!(%error, "no thread to read rows: tried again later");
            return None;
        }
        let scan = scanned.await.ok()?;
        self.shared.parts.metrics.rows_verified(scan.rows());
        let wrong: BTreeSet<CollectionId> =
            scan.collections.iter().filter(|(_, read)| read.index.count > 0).map(|(id, _)| *id).collect();
        if !wrong.is_empty() {
            self.mend_index(partition, &wrong).await;
        }
        Some(scan)
    }

    async fn mend_index(&self, partition: PartitionId, collections: &BTreeSet<CollectionId>) {
        self.shared.parts.metrics.digest_mismatch(What::Index.name());
        let changed = self.shared.parts.looker.level_index(partition).await;
        tracing::error!(
            %partition,
            ?collections,
            ?changed,
            "an index did not show the rows that it should, and was made equal to them"
        );
    }

    /// The other copies in sync, and whether their members are there.
    fn others(&self, partition: PartitionId) -> Vec<(MemberId, bool)> {
        let view = self.view();
        let me = &self.shared.parts.member;
        let others = view.partition(partition).in_sync.iter().filter(|member| *member != me);
        others.map(|id| (id.clone(), view.member(id).is_some_and(Member::is_alive))).collect()
    }

    /// Asks another member.
    pub async fn ask(&self, member: &MemberId, partition: PartitionId, question: Question) -> Option<Answer> {
        self.shared.parts.others.ask(member.clone(), partition, question).await
    }

    /// The collections whose digests differ between the copy here and another one, at one version; `None` when they
    /// were not found at one.
    async fn differing(&self, partition: PartitionId, member: &MemberId) -> Option<BTreeSet<CollectionId>> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(AGAIN).await;
            }
            let theirs = match self.ask(member, partition, Question::Glance).await {
                Some(Answer::Glance(theirs)) => theirs,
                Some(Answer::NotHere | Answer::Scan(_) | Answer::Verified(_)) | None => continue,
            };
            let ours = self.glance(partition).await?;
            // A collection that was dropped is purged by each in its time: the newer table tells.
            let mut view = self.shared.parts.view.clone();
            let known = view.wait_for(|view| view.version() >= theirs.table_version);
            if tokio::time::timeout(AGAIN, known).await.is_err() {
                continue;
            }
            let differ = report::differing(&ours, &theirs, &self.live());
            if differ.is_some() {
                return differ;
            }
        }
        None
    }

    /// Compares the digests of all copies of a partition that this member leads. True when something is different, or
    /// may be: then rows are to be read.
    pub(super) async fn compare_digests(&self, partition: PartitionId) -> bool {
        let index = self.glance(partition).await.is_some_and(|glance| !glance.index.is_empty());
        let present = self.others(partition).into_iter().filter(|(_, alive)| *alive);
        let asked = present.map(|(member, _)| async move { self.differing(partition, &member).await });
        let differ = |differ: &Option<BTreeSet<CollectionId>>| differ.as_ref().is_some_and(|d| !d.is_empty());
        index || join_all(asked).await.iter().any(differ)
    }

    /// Reads and compares all copies of a partition that this member leads, mends what can be mended, and says what was
    /// different; `None` when it does not lead it, or could not read its own copy.
    pub async fn verify(&self, partition: PartitionId, bytes_per_second: u64) -> Option<Findings> {
        if !self.leads(partition) {
            return None;
        }
        let others = self.others(partition);
        let none = BTreeSet::new();
        let (ours, theirs) = self.scan_all(partition, bytes_per_second, &none, &others).await?;
        let mut differ = BTreeMap::new();
        for (member, alive) in &others {
            if *alive {
                differ.insert(member.clone(), self.differing(partition, member).await);
            }
        }
        let live = self.live();
        let verdict = |member: &MemberId, scan: &Scan, differences, unverified| CopyVerdict {
            member: member.clone(),
            at: Some(scan.at),
            rows: scan.rows(),
            differences,
            unverified,
        };
        let me = &self.shared.parts.member;
        let mut copies = vec![verdict(me, &ours, report::alone(&ours, &live), None)];
        for (member, alive) in &others {
            let unread = |why: &str| CopyVerdict {
                member: member.clone(),
                at: None,
                rows: 0,
                differences: Vec::new(),
                unverified: Some(why.to_owned()),
            };
            copies.push(match (theirs.get(member), differ.get(member)) {
                _ if !alive => unread("its member is away"),
                (Some(scan), Some(Some(differ))) => {
                    verdict(member, scan, report::beside(&ours, scan, differ, &live), None)
                }
                (Some(scan), _) => {
                    let why = "it was not found at the version of the primary: ask again later";
                    let found = report::beside(&ours, scan, &none, &live);
                    verdict(member, scan, found, Some(why.to_owned()))
                }
                (None, _) => unread("it gave no answer"),
            });
        }
        self.name_rows(partition, bytes_per_second, &mut copies).await;
        let findings = Findings { partition, copies };
        // Asked for when it was ours, and of use only if it still is.
        if !self.leads(partition) {
            return None;
        }
        let others_are = theirs.values().any(|scan| scan.is_sound(&live));
        self.act(&findings, (ours.is_sound(&live), others_are)).await;
        let mut verified = self.shared.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.insert(partition, Instant::now());
        drop(verified);
        Some(findings)
    }

    async fn scan_all(
        &self,
        partition: PartitionId,
        bytes_per_second: u64,
        list: &BTreeSet<CollectionId>,
        others: &[(MemberId, bool)],
    ) -> Option<(Scan, BTreeMap<MemberId, Scan>)> {
        let question = Question::Scan { bytes_per_second, list: list.clone() };
        let present = others.iter().filter(|(_, alive)| *alive);
        let asked = present.map(|(member, _)| {
            let question = question.clone();
            async move {
                match self.ask(member, partition, question).await {
                    Some(Answer::Scan(scan)) => Some((member.clone(), scan)),
                    Some(Answer::NotHere | Answer::Glance(_) | Answer::Verified(_)) | None => None,
                }
            }
        });
        let ours = self.scan(partition, bytes_per_second, list.clone());
        let (ours, theirs) = tokio::join!(ours, join_all(asked));
        Some((ours?, theirs.into_iter().flatten().collect()))
    }

    /// Finds out which rows differ, where copies do.
    async fn name_rows(&self, partition: PartitionId, bytes_per_second: u64, copies: &mut [CopyVerdict]) {
        let unnamed = |found: &Difference| found.what != What::Index && found.ids.is_empty();
        let collections = |copy: &CopyVerdict| -> BTreeSet<CollectionId> {
            copy.differences
                .iter()
                .filter(|found| unnamed(found))
                .filter_map(|found| found.collection)
                .collect()
        };
        let Some((_, others)) = copies.split_first_mut() else { return };
        let list: BTreeSet<CollectionId> = others.iter().flat_map(&collections).collect();
        if list.is_empty() {
            return;
        }
        let asked: Vec<(MemberId, bool)> =
            others.iter().map(|copy| (copy.member.clone(), !collections(copy).is_empty())).collect();
        let scanned = self.scan_all(partition, bytes_per_second, &list, &asked).await;
        let Some((ours, theirs)) = scanned else { return };
        for copy in others {
            let Some(theirs) = theirs.get(&copy.member) else { continue };
            for found in copy.differences.iter_mut().filter(|found| unnamed(found)) {
                let few = found.collection.and_then(|id| report::rows_that_differ(&ours, theirs, id));
                if let Some(few) = few.filter(|few| few.count > 0) {
                    (found.rows, found.ids) = (few.count, few.ids);
                }
            }
        }
    }

    /// Counts and tells what is different, and has copies of others taken anew.
    async fn act(&self, findings: &Findings, (sound, others_are): (bool, bool)) {
        let (partition, view) = (findings.partition, self.view());
        for (place, copy) in findings.copies.iter().enumerate() {
            // Each counts and mends its own index.
            let wrong: Vec<&Difference> =
                copy.differences.iter().filter(|found| found.what != What::Index).collect();
            for found in &wrong {
                self.shared.parts.metrics.digest_mismatch(found.what.name());
                let collection = found.collection.and_then(|id| view.collection_by_id(id));
                tracing::error!(
                    %partition,
                    member = view.name_of(&copy.member),
                    what = found.what.name(),
                    collection = collection.map_or("", |c| c.config.name.as_str()),
                    rows = found.rows,
                    ids = found.ids.len(),
                    "a copy differs"
                );
            }
            if wrong.is_empty() {
                continue;
            }
            if place == 0 || !sound {
                let member = view.name_of(&copy.member);
                tracing::error!(
                    %partition, member, others_are,
                    "the rows of the primary are not those that were written: nothing is mended from them, and where \
                     another copy is sound that one leads from now on"
                );
                if let (0, true, Some(owner)) = (place, others_are, self.shared.parts.hosts.get(partition)) {
                    owner.quarantine().await;
                }
                continue;
            }
            let owner = self.shared.parts.hosts.get(partition);
            let retaken = match owner {
                Some(owner) => owner.retake(copy.member.clone()).await,
                None => false,
            };
            if retaken {
                self.shared.parts.metrics.copy_retaken();
                tracing::warn!(%partition, member = view.name_of(&copy.member), "this copy is taken anew");
            }
        }
    }
}
