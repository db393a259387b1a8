//! Asking several members at once, until every partition has its answer.
//!
//! ```text
//! wanted ─▶ plan (cover.rs) ─┬▶ here ───────────────┐
//!              ▲             ├▶ member b, one message ├─▶ answers, and partitions that are elsewhere
//!              │             └▶ member c, one message ┘             │
//!              └──── a newer table, or a moment ◀──────────────────────┘  those alone
//! ```
//!
//! A read may be answered by any copy: whoever gave no answer is avoided for the rest of the request, and a member that
//! takes long is not waited for when others have the same (hedging).
//!
//! Promises: a partition is answered once; one message per member and attempt; a member that is away in the table is
//! not waited for, also when it went away after it was asked; whatever happens, it ends by `by`. What was not answered
//! is named with its reason, and where something may have been done without an answer it says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all, pending, ready},
    stream::FuturesUnordered,
};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Parts, RequestContext, Service, ServiceError,
    cover::{Asks, Holder, Plans, Why, describe, plan},
    readable::confirmed,
};
use crate::{
    index::PartitionSet,
    partition::{Hosts, Who},
    telemetry::Metrics,
    types::{ClusterView, Member, MemberId, PartitionId},
};

/// Between attempts, when no newer table comes: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// After a twentieth of the time that is left, at least and at most so long, another copy is asked, too.
const HEDGE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// How long is asked for at most where no newer table comes any more.
const WITHOUT_TABLE: Duration = Duration::from_secs(1);

/// What one member answered.
pub struct Part<T> {
    /// For what it answers for.
    pub answer: T,
    /// It does not answer for these, and did nothing.
    pub elsewhere: PartitionSet,
    /// It may have done these, and does not answer for them any more: to be asked again, by the same request id.
    pub overtaken: PartitionSet,
}

impl<T> Part<T> {
    /// An answer without those that are elsewhere.
    pub fn new(answer: T, elsewhere: PartitionSet) -> Self {
        Self { answer, elsewhere, overtaken: PartitionSet::new() }
    }
}

/// Why a member gave no answer.
#[derive(Debug)]
pub enum Miss {
    /// It certainly did nothing: worth another attempt.
    NotDone(String),
    /// It may have done it: worth another attempt where that is harmless.
    MaybeDone(String),
    /// Another attempt would end alike.
    Failed(ServiceError),
}

impl From<ServiceError> for Miss {
    fn from(error: ServiceError) -> Self {
        Self::Failed(error)
    }
}

/// What is wanted.
pub struct Want {
    /// These partitions.
    pub partitions: PartitionSet,
    /// Not later than this.
    pub by: Instant,
    /// Without one of them the others are not needed.
    pub all: bool,
    /// Who may answer.
    pub who: Who,
}

/// What came.
pub struct Gathered<T> {
    /// Of each member that answered, for disjoint sets of partitions.
    pub answers: Vec<T>,
    /// What nobody answered for.
    pub missing: BTreeMap<PartitionId, Why>,
    /// Of these, what may have been done all the same.
    pub unsure: PartitionSet,
    /// How many members were asked, this one included.
    pub members: usize,
}

enum Step<T> {
    Plan { set: PartitionSet, attempt: u32 },
    Told { legs: Vec<Leg<T>>, attempt: u32, seen: u64 },
}

/// One member, what it was asked for, and what came of it.
struct Leg<T> {
    holder: Holder,
    set: PartitionSet,
    told: Result<Part<T>, Miss>,
}

/// What has no answer yet, and the last reason where there is one.
struct Open {
    left: PartitionSet,
    why: BTreeMap<PartitionId, Why>,
}

impl Open {
    fn note(&mut self, set: &PartitionSet, why: &Why) {
        self.why.extend(set.iter().map(|partition| (partition, why.clone())));
    }

    fn missing(mut self) -> BTreeMap<PartitionId, Why> {
        self.left
            .iter()
            .map(|partition| (partition, self.why.remove(&partition).unwrap_or(Why::Late)))
            .collect()
    }
}

/// What is known about who answers for what.
pub struct Router<'r> {
    /// This member.
    pub me: &'r MemberId,
    /// The table.
    pub table: watch::Receiver<Arc<ClusterView>>,
    /// Cancelled when no newer one will come.
    pub frozen: &'r CancellationToken,
    /// What is here.
    pub hosts: &'r Hosts,
    /// Whether the grid has confirmed lately that this member is one of it. Asked at each attempt: a question that came
    /// while nobody led must not wait for its deadline when somebody does.
    pub acts: &'r (dyn Fn() -> bool + Sync),
    /// What was planned before.
    pub plans: &'r Plans,
    /// Numbers for the operator.
    pub metrics: &'r Metrics,
}

impl<'r> Router<'r> {
    /// Asks whoever answers for the wanted partitions.
    ///
    /// # Errors
    /// What failed here, and, when all are wanted, what failed anywhere for good.
    pub async fn gather<T, F>(
        &self,
        want: Want,
        ask: impl Fn(Holder, PartitionSet) -> F + Sync,
    ) -> Result<Gathered<T>, ServiceError>
    where
        T: Send,
        F: Future<Output = Result<Part<T>, Miss>> + Send,
    {
        let ask = &ask;
        // Of a read, once they gave no answer.
        let mut avoid = BTreeSet::new();
        let mut open = Open { left: want.partitions.clone(), why: BTreeMap::new() };
        let (mut answers, mut asked) = (Vec::new(), BTreeSet::new());
        let (mut unsure, mut sent) = (PartitionSet::new(), PartitionSet::new());
        let mut steps: FuturesUnordered<BoxFuture<'_, Step<T>>> = FuturesUnordered::new();
        steps.push(ready(Step::Plan { set: want.partitions.clone(), attempt: 0 }).boxed());
        let mut late = pin!(sleep_until(want.by));
        // What the table that is known does not bring soon will not come.
        let mut hopeless = pin!(async {
            self.frozen.cancelled().await;
            sleep(WITHOUT_TABLE).await;
        });
        loop {
            // An answer that is there counts, also at the last moment.
            let step = tokio::select! {
                biased;
                step = steps.next() => step,
                () = &mut late => {
                    unsure = unsure.union(&sent);
                    break;
                }
                // What is being done here has not had its last word either.
                () = &mut hopeless => {
                    unsure = unsure.union(&open.left);
                    break;
                }
            };
            match step {
                None => break,
                Some(Step::Plan { set, attempt }) => {
                    let view = self.view();
                    let behind = want.who == Who::InSync && avoid.contains(&Holder::Here);
                    let here = self.hosts.read_by(want.who, !behind && (self.acts)());
                    let here = confirmed(&view, self.me, want.who, here);
                    let asks = Asks { me: self.me, who: want.who, avoid: &avoid };
                    let plan = self.plans.plan(&view, &here, &set, asks);
                    let legs = plan.others.iter().map(|(to, set)| (Holder::There(to.clone()), set.clone()));
                    let here = (!plan.here.is_empty()).then(|| (Holder::Here, plan.here.clone()));
                    // Others work while this one does.
                    let asks_others = !plan.others.is_empty();
                    for (holder, set) in legs.chain(here) {
                        if let Holder::There(member) = &holder {
                            sent = sent.union(&set);
                            asked.insert(member.clone());
                        }
                        let (view, by) = (Arc::clone(&view), want.by);
                        let hedged = want.who == Who::InSync && holder != Holder::Here;
                        let work = async move {
                            let seen = view.version();
                            if asks_others && holder == Holder::Here {
                                // What is done here may hold this thread, which has messages to send.
                                yield_now().await;
                            }
                            let legs = if hedged {
                                self.hedged(ask, &view, holder, set, by).await
                            } else {
                                vec![self.leg(ask, holder, set).await]
                            };
                            Step::Told { legs, attempt, seen }
                        };
                        steps.push(work.boxed());
                    }
                    for (member, set) in &plan.away {
                        let why = format!("{} is away", view.name_of(member));
                        open.note(set, &Why::Because(why));
                        if want.all {
                            let missing = open.missing();
                            return Ok(Gathered { answers, missing, unsure, members: asked.len() + 1 });
                        }
                    }
                    if !plan.nobody.is_empty() {
                        open.note(&plan.nobody, &Why::Moving);
                        steps.push(self.again(plan.nobody.clone(), attempt, view.version()));
                    }
                }
                Some(Step::Told { legs, attempt, seen }) => {
                    for Leg { holder, set, told } in legs {
                        sent = sent.without(&set);
                        if want.who == Who::InSync
                            && told.as_ref().is_ok_and(|part| !part.elsewhere.is_empty()) | told.is_err()
                        {
                            avoid.insert(holder.clone());
                        }
                        let (why, again) = match told {
                            Ok(part) => {
                                unsure = unsure.union(&part.overtaken);
                                let again = part.elsewhere.union(&part.overtaken);
                                let done = set.without(&again);
                                open.left = open.left.without(&done);
                                if !done.is_empty() {
                                    answers.push(part.answer);
                                }
                                (Why::Moving, again)
                            }
                            Err(Miss::NotDone(why)) => (Why::Because(why), set),
                            Err(Miss::MaybeDone(why)) => {
                                unsure = unsure.union(&set);
                                (Why::Because(why), set)
                            }
                            Err(Miss::Failed(error)) if want.all || holder == Holder::Here => {
                                return Err(error);
                            }
                            Err(Miss::Failed(error)) => {
                                open.note(&set, &Why::Because(error.to_string()));
                                continue;
                            }
                        };
                        if !again.is_empty() {
                            // At the end of the time every question ends without an answer: that is no reason.
                            let why = if Instant::now() >= want.by { Why::Late } else { why };
                            self.metrics.route_retried();
                            open.note(&again, &why);
                            steps.push(self.again(again, attempt, seen));
                        }
                    }
                }
            }
        }
        Ok(Gathered { answers, missing: open.missing(), unsure, members: asked.len() + 1 })
    }

    /// Plans once more, by a newer table than the one that did not fit, or after a moment.
    fn again<'a, T: Send + 'a>(&self, set: PartitionSet, attempt: u32, seen: u64) -> BoxFuture<'a, Step<T>> {
        let mut view = self.table.clone();
        let (first, most) = BACK_OFF;
        let moment = first.saturating_mul(1 << attempt.min(8)).min(most);
        async move {
            // When nobody publishes tables any more, the moment passes nevertheless.
            let newer = async {
                if view.wait_for(|view| view.version() > seen).await.is_err() {
                    pending::<()>().await;
                }
            };
            let _ = timeout(moment, newer).await;
            Step::Plan { set, attempt: attempt + 1 }
        }
        .boxed()
    }

    async fn leg<T, F>(
        &self,
        ask: &(impl Fn(Holder, PartitionSet) -> F + Sync),
        holder: Holder,
        set: PartitionSet,
    ) -> Leg<T>
    where
        F: Future<Output = Result<Part<T>, Miss>> + Send,
    {
        let told = self.unless_away(&holder, ask(holder.clone(), set.clone())).await;
        Leg { holder, set, told }
    }

    /// Asks a member, and when it takes long others that have the same, if there are any: whoever has everything first.
    async fn hedged<T, F>(
        &self,
        ask: &(impl Fn(Holder, PartitionSet) -> F + Sync),
        view: &ClusterView,
        holder: Holder,
        set: PartitionSet,
        by: Instant,
    ) -> Vec<Leg<T>>
    where
        T: Send,
        F: Future<Output = Result<Part<T>, Miss>> + Send,
    {
        let left = by.saturating_duration_since(Instant::now());
        let mut first = pin!(self.leg(ask, holder.clone(), set.clone()));
        if let Ok(leg) = timeout((left / 20).clamp(HEDGE.0, HEDGE.1), &mut first).await {
            return vec![leg];
        }
        let avoid = [holder.clone()].into();
        let asks = Asks { me: self.me, who: Who::InSync, avoid: &avoid };
        let plan = plan(view, &PartitionSet::new(), &set, asks);
        let covered: usize = plan.others.values().map(PartitionSet::len).sum();
        let again = plan.others.keys().any(|member| Holder::There(member.clone()) == holder);
        if again || covered < set.len() {
            return vec![first.await];
        }
        self.metrics.read_hedged();
        let others = plan.others.into_iter().map(|(to, set)| self.leg(ask, Holder::There(to), set));
        let mut others = pin!(join_all(others));
        let whole = |leg: &Leg<T>| leg.told.as_ref().is_ok_and(|part| part.elsewhere.is_empty());
        tokio::select! {
            leg = &mut first => if whole(&leg) { vec![leg] } else { others.await },
            legs = &mut others => if legs.iter().all(whole) { legs } else { vec![first.await] },
        }
    }

    /// A member that goes away is not waited for.
    async fn unless_away<T>(
        &self,
        holder: &Holder,
        answer: impl Future<Output = Result<T, Miss>>,
    ) -> Result<T, Miss> {
        let Holder::There(member) = holder else { return answer.await };
        let mut view = self.table.clone();
        let away = view.wait_for(|view| !view.member(member).is_some_and(Member::is_alive));
        tokio::select! {
            answer = answer => answer,
            Ok(_) = away => Err(Miss::MaybeDone(format!("{} is away", self.view().name_of(member)))),
        }
    }

    fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.table.borrow())
    }
}

impl Service {
    /// As [`Router::gather`].
    ///
    /// # Errors
    /// As there.
    pub(super) async fn gather<T, F>(
        &self,
        want: Want,
        ask: impl Fn(Holder, PartitionSet) -> F + Sync,
    ) -> Result<Gathered<T>, ServiceError>
    where
        T: Send,
        F: Future<Output = Result<Part<T>, Miss>> + Send,
    {
        let Parts { member: me, control, hosts, metrics, .. } = &*self.parts;
        let who = want.who;
        let (acts, plans) = (|| self.acts_for(who), &*self.plans);
        let (table, frozen) = (control.watch(), control.failed());
        Router { me, table, frozen, hosts, acts: &acts, plans, metrics }.gather(want, ask).await
    }

    /// As [`Service::gather`], for a read: what is here is asked for when it shows what an app wrote through this
    /// member.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn gather_read<T, F>(
        &self,
        ctx: &RequestContext,
        want: Want,
        ask: impl Fn(Holder, PartitionSet) -> F + Sync,
    ) -> Result<Gathered<T>, ServiceError>
    where
        T: Send,
        F: Future<Output = Result<Part<T>, Miss>> + Send,
    {
        let ask = &ask;
        let fresh = |holder: Holder, set: PartitionSet| async move {
            if holder != Holder::Here || self.shows_enough(ctx, &set) {
                return ask(holder, set).await;
            }
            let (kept, behind) = self.reach(ctx, &set, |partition| self.floors.get(partition)).await;
            if kept.is_empty() {
                return Err(Miss::NotDone("the copy here is behind".to_owned()));
            }
            let mut part = ask(holder, kept).await?;
            part.elsewhere = part.elsewhere.union(&behind);
            Ok(part)
        };
        self.gather(want, fresh).await
    }

    /// Asks for all partitions of the grid, and needs every answer.
    ///
    /// # Errors
    /// `incomplete`, `deadline_exceeded`, and what failed anywhere.
    pub(super) async fn gather_all<T, F>(
        &self,
        ctx: &RequestContext,
        ask: impl Fn(Holder, PartitionSet) -> F + Sync,
    ) -> Result<Vec<T>, ServiceError>
    where
        T: Send,
        F: Future<Output = Result<Part<T>, Miss>> + Send,
    {
        let partitions = PartitionSet::all(self.view().partitions());
        let wanted = partitions.len();
        let want = Want { partitions, by: ctx.deadline, all: true, who: ctx.who() };
        let gathered = self.gather_read(ctx, want, ask).await?;
        if gathered.missing.is_empty() {
            return Ok(gathered.answers);
        }
        Err(incomplete(wanted, &gathered.missing))
    }

    /// Asks for one partition.
    ///
    /// # Errors
    /// `partition_unavailable`, `deadline_exceeded`, and what failed there.
    pub(super) async fn gather_one<T, F>(
        &self,
        ctx: &RequestContext,
        partition: PartitionId,
        ask: impl Fn(Holder, PartitionSet) -> F + Sync,
    ) -> Result<T, ServiceError>
    where
        T: Send,
        F: Future<Output = Result<Part<T>, Miss>> + Send,
    {
        let partitions = [partition].into_iter().collect();
        let want = Want { partitions, by: ctx.deadline, all: true, who: ctx.who() };
        let mut gathered = self.gather_read(ctx, want, ask).await?;
        match (gathered.missing.get(&partition), gathered.answers.pop()) {
            (None, Some(answer)) => Ok(answer),
            (None | Some(Why::Late), _) => Err(ServiceError::DeadlineBefore),
            _ => Err(ServiceError::Unavailable { why: describe(&gathered.missing), unsure: false }),
        }
    }

    /// What people call a member.
    pub(super) fn name_of(&self, member: &MemberId) -> String {
        self.view().name_of(member)
    }
}

/// Why a question about several partitions has no answer.
pub fn incomplete(wanted: usize, missing: &BTreeMap<PartitionId, Why>) -> ServiceError {
    if missing.values().all(|why| *why == Why::Late) {
        return ServiceError::DeadlineBefore;
    }
    ServiceError::Incomplete {
        answered: wanted - missing.len(),
        wanted,
        why: describe(missing),
        unsure: false,
    }
}
