//! An owner while its member is the primary: who holds the partition, who is to, and the lines to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    hosts::Role,
    lead::{ACK_PATIENCE, Done, Lead, Line, PARDON, RECORDS, Records, What, Worker},
    outside::CopyMessage,
    owner::{Ended, NOBODY, Owner},
    state::Event,
};
use tokio::time::Instant;

use crate::{
    migration::{Attempt, Handoff, HandoffEvent, OwnLog, Stream, StreamEffect, StreamEvent},
    telemetry::CopyEvent,
    types::{ClusterView, CollectionId, Member, MemberId, Operation},
};

/// Which run of its daemon a member is in.
fn incarnation_of(view: &ClusterView, member: &MemberId) -> u64 {
    view.member(member).map_or(0, |member| member.details.incarnation)
}

impl Owner {
    /// Looks at the table.
    pub(super) async fn look(&mut self) -> Result<(), Ended> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let placement = view.partition(self.partition);
        let (epoch, promised) = (placement.epoch, self.replica.promised());
        let usable = !self.copy.quarantined && self.replica.have().installing.is_none();
        if placement.primary != self.me || promised > epoch || !usable {
            self.follow().await;
            return Ok(());
        }
        let known = |m: &Member| m.details.incarnation >= self.parts.incarnation;
        if self.copy.shared && epoch == promised && !view.member(&self.me).is_some_and(known) {
            // The grid does not know of this start yet; when it does, this is another epoch.
            self.follow().await;
            return Ok(());
        }
        if let Some(lead) = &mut self.lead
            && lead.handover.take().is_some()
        {
            // It was not proposed yet, and may not be wanted any more.
            lead.handoff.withdraw();
        }
        if self.lead.as_ref().is_none_or(|lead| lead.epoch < epoch) {
            let fresh = epoch > promised || !self.copy.shared;
            if epoch > promised {
                self.replica.promise(epoch);
                self.copy.shared = false;
                self.save().await?;
            }
            if self.lead.is_none() && self.role == Role::Backup {
                self.parts.outside.note(CopyEvent::Promoted);
            }
            self.leads += 1;
            self.lease_missing = None;
            self.lead = Some(Lead {
                epoch,
                number: self.leads,
                handoff: Handoff::new(self.me.clone(), placement.clone(), fresh),
                lines: BTreeMap::new(),
                left_over: BTreeMap::new(),
                told: false,
                from: self.state.last(),
                handover: None,
            });
        }
        for (name, line) in self.lead.iter_mut().flat_map(|lead| &mut lead.lines) {
            let incarnation = incarnation_of(&view, name);
            if std::mem::replace(&mut line.incarnation, incarnation) != incarnation {
                line.told = 0;
            }
        }
        for member in self.retake.clone() {
            self.hand_off(&HandoffEvent::Distrust(&member));
        }
        let mut away: BTreeSet<MemberId> =
            view.members().filter(|member| !member.is_alive()).map(|member| member.id.clone()).collect();
        let now = Instant::now();
        self.slow.retain(|_, until| *until > now);
        away.extend(self.slow.keys().cloned());
        let mut wanted = view.meant(self.partition);
        wanted.others.extend(view.stand_in(self.partition).cloned());
        let copies = usize::from(view.copies().backups) + 1;
        for event in [
            HandoffEvent::Decided(placement),
            HandoffEvent::Wanted(&wanted, copies),
            HandoffEvent::Away(&away),
        ] {
            self.hand_off(&event);
        }
        Ok(())
    }

    /// This member does not order the writes any more.
    pub(super) async fn follow(&mut self) {
        self.lease_missing = None;
        self.retake.clear();
        if self.lead.take().is_some() {
            let effects = self.state.step(Event::Follow);
            self.carry_out(effects).await;
        }
    }

    fn worker(&self) -> Option<Worker<'_>> {
        let (engine, outside) = (&self.parts.engine, &self.parts.outside);
        let number = self.lead.as_ref()?.number;
        Some(Worker { number, line: 0, partition: self.partition, engine, outside })
    }

    /// The line that this belongs to, if it is still there.
    fn line_of(&mut self, to: &MemberId, number: u64) -> Option<&mut Line> {
        self.lead.as_mut()?.lines.get_mut(to).filter(|line| line.number == number)
    }

    pub(super) fn look_for_lease(&self) {
        self.wait_for(|worker| worker.lease());
    }

    fn wait_for(&self, work: impl FnOnce(Worker<'_>) -> super::lead::Work) {
        if let Some(worker) = self.worker() {
            self.work.push(work(worker));
        }
    }

    /// Another member's copy is wrong: it is to count no more, and then to be taken anew as a whole. It keeps counting
    /// until that is decided, so it is cleared only then. False when this member does not lead.
    pub(super) fn retake(&mut self, member: MemberId) -> bool {
        let leads = self.lead.as_ref().is_some_and(|lead| lead.handoff.serves());
        if !leads || member == self.me {
            return false;
        }
        self.hand_off(&HandoffEvent::Distrust(&member));
        self.retake.insert(member);
        true
    }

    /// Whether something is to be proposed.
    fn hand_off(&mut self, event: &HandoffEvent<'_>) -> bool {
        let Some(lead) = &mut self.lead else { return false };
        let Some(proposal) = lead.handoff.step(event) else { return false };
        if lead.handoff.hands_over() {
            lead.handover = Some(proposal);
        } else {
            lead.handover = None;
            self.wait_for(|worker| worker.propose(proposal));
        }
        true
    }

    /// Brings everything in line after something happened: lines, who counts, what is proposed, who answers.
    pub(super) async fn settle(&mut self) -> Result<(), Ended> {
        self.begin_to_serve().await;
        while self.lead.is_some() && self.settle_lines().await? {}
        if let Some(lead) = &mut self.lead
            && lead.handoff.hands_over()
            && self.state.is_idle()
            && let Some(proposal) = lead.handover.take()
        {
            self.wait_for(|worker| worker.propose(proposal));
        }
        // From when another primary is proposed, it may be one, and take writes that this member does not know of.
        let proposed = |lead: &Lead| lead.handoff.hands_over() && lead.handover.is_none();
        let all_there =
            |lead: &Lead| lead.told && self.state.applied().sequence >= lead.from && !proposed(lead);
        let leads = self.lead.as_ref().is_some_and(all_there);
        let role = if leads { Role::Primary } else { self.role_of_copy() };
        if role != self.role {
            self.role = role;
            self.parts.hosts.answer(self.partition, role);
        }
        self.show_copies();
        Ok(())
    }

    async fn begin_to_serve(&mut self) {
        let Some(lead) = &mut self.lead else { return };
        if !lead.told && lead.handoff.serves() {
            lead.told = true;
            let epoch = lead.epoch;
            let counted = self.counted();
            self.step(Event::Lead { epoch, counted }).await;
        }
    }

    /// Who must have a write, and up to where each has the log.
    fn counted(&self) -> BTreeMap<MemberId, u64> {
        let Some(lead) = &self.lead else { return BTreeMap::new() };
        let durable = |member: &MemberId| match lead.lines.get(member) {
            _ if *member == self.me => self.state.durable(),
            Some(line) => line.stream.durable().unwrap_or(0),
            None => 0,
        };
        lead.handoff.counted().into_iter().map(|member| (member.clone(), durable(member))).collect()
    }

    /// True when something was proposed, and all of this has to be looked at again.
    async fn settle_lines(&mut self) -> Result<bool, Ended> {
        let Some(lead) = &mut self.lead else { return Ok(false) };
        if !lead.handoff.leads() || lead.epoch < self.replica.promised() {
            self.follow().await;
            return Ok(false);
        }
        let to: BTreeSet<MemberId> = lead.handoff.streams_to().into_iter().cloned().collect();
        if to.is_empty() && lead.lines.is_empty() {
            self.state.hold_log(None);
            self.recent.clear();
            return Ok(false);
        }
        for (name, line) in lead.lines.extract_if(.., |name, _| !to.contains(name)) {
            lead.left_over.insert(name, line.stream.successor());
        }
        let counted: BTreeSet<MemberId> = lead.handoff.counted().into_iter().cloned().collect();
        let new: Vec<MemberId> = to.into_iter().filter(|name| !lead.lines.contains_key(name)).collect();
        // Numbers of an earlier run of this daemon must not come again.
        let first = Attempt { epoch: lead.epoch, number: self.parts.incarnation << 32 };
        for name in &new {
            let stream = lead.left_over.get(name).cloned().unwrap_or_else(|| Stream::new(first));
            self.lines += 1;
            let anew = stream.is_anew() || self.retake.contains(name) && !counted.contains(name);
            let stream = if anew { stream.anew() } else { stream };
            let incarnation = incarnation_of(&self.view.borrow(), name);
            lead.lines.insert(name.clone(), Line::new(self.lines, stream, incarnation));
        }
        if !new.is_empty() && !self.copy.shared {
            self.copy.shared = true;
            self.save().await?;
        }
        self.begin_epoch().await;
        for name in new {
            if counted.contains(&name) {
                self.start_line(&name).await;
            } else {
                let line = self.lead.as_ref().and_then(|lead| lead.lines.get(&name)).map_or(0, |l| l.number);
                self.wait_for(|worker| Worker { line, ..worker }.turn(name, &self.parts.moves));
            }
        }
        let needs =
            self.lead.iter().flat_map(|lead| lead.lines.values()).filter_map(|l| l.stream.needs_after());
        self.state.hold_log(needs.min());
        self.step(Event::Count(self.counted())).await;
        Ok(self.propose_level(&counted))
    }

    /// Nobody is taken in before a record of this epoch is committed.
    async fn begin_epoch(&mut self) {
        let Some(lead) = &self.lead else { return };
        if !lead.told || self.replica.chain().last().epoch == lead.epoch {
            return;
        }
        let operation = Operation { collection: CollectionId(0), request_id: None, mutations: Vec::new() };
        let (fingerprint, bytes) = super::handle::fingerprint(&operation);
        self.step(Event::Propose { ticket: NOBODY, operation, fingerprint, bytes }).await;
    }

    fn propose_level(&mut self, counted: &BTreeSet<MemberId>) -> bool {
        let committed = self.state.committed();
        let Some(lead) = &mut self.lead else { return false };
        for (name, line) in &mut lead.lines {
            // One that counts keeps up by itself: the next may begin.
            if counted.contains(name) {
                line.permit = None;
            }
        }
        let enough = |durable| lead.handoff.is_level(self.replica.chain(), committed, durable);
        let level = |(_, line): &(&MemberId, &Line)| line.stream.durable().is_some_and(enough);
        let names: Vec<MemberId> = lead.lines.iter().filter(level).map(|(name, _)| name.clone()).collect();
        names.iter().any(|name| self.hand_off(&HandoffEvent::Level(name)))
    }

    // ---- lines ----

    async fn start_line(&mut self, to: &MemberId) {
        if let Some(line) = self.lead.as_mut().and_then(|lead| lead.lines.get_mut(to)) {
            line.started = true;
            self.line(to, StreamEvent::Silence).await;
        }
    }

    /// The log or the commit point has grown.
    pub(super) async fn tell_news(&mut self) {
        let (last, committed) = (self.state.last(), self.state.committed());
        let Some(lead) = &mut self.lead else { return };
        let (mut idle, mut late) = (Vec::new(), Vec::new());
        for (name, line) in &mut lead.lines {
            let lacks = line.stream.durable().is_none_or(|has| has < last);
            let has = line.stream.durable();
            if !lacks {
                line.behind = None;
            } else {
                if line.behind.is_none_or(|(_, had)| had != has) {
                    line.behind = Some((Instant::now(), has));
                }
                if !std::mem::replace(&mut line.watched, true) {
                    late.push((name.clone(), line.number));
                }
            }
            if line.started && !line.busy && (lacks || line.told < committed) {
                idle.push(name.clone());
            }
        }
        self.watch_late(late);
        for name in idle {
            self.line(&name, StreamEvent::Grew).await;
        }
    }

    /// Carries out what a line wants after an event.
    async fn line(&mut self, to: &MemberId, event: StreamEvent<'_>) {
        let chain = self.replica.chain();
        let own = OwnLog { chain, first: self.state.log_first() };
        let committed = self.state.committed();
        let table_version = self.view.borrow().version();
        let Some(lead) = &mut self.lead else { return };
        let (number, epoch) = (lead.number, lead.epoch);
        let Some(line) = lead.lines.get_mut(to) else { return };
        let worker = Worker {
            number,
            line: line.number,
            partition: self.partition,
            engine: &self.parts.engine,
            outside: &self.parts.outside,
        };
        let mut fenced = false;
        let mut reached = None;
        let effects = line.stream.step(own, event);
        if line.anew && !line.stream.is_anew() {
            line.anew = false;
            self.retake.remove(to);
        }
        for effect in effects {
            let work = match effect {
                StreamEffect::Ask => worker.send(to.clone(), CopyMessage::Ask { epoch }),
                StreamEffect::OpenSnapshot => {
                    self.parts.outside.note(CopyEvent::FullCopy);
                    worker.open(to.clone())
                }
                StreamEffect::SendRows { attempt, at, chunk } => match line.snapshot.take() {
                    Some(snapshot) if snapshot.0 == at => {
                        let chain = chain.up_to(at);
                        worker.rows(to.clone(), snapshot, (attempt, chunk), chain, table_version)
                    }
                    _ => worker.lost(to.clone()),
                },
                StreamEffect::CloseSnapshot => {
                    (line.snapshot, line.installs) = (None, false);
                    continue;
                }
                StreamEffect::SendRecords { after } => {
                    line.told = committed;
                    // What is on its way to our own disk goes to the others meanwhile: it counts when it is on both.
                    let first = after.sequence + 1;
                    let records = match self.recent.from(first, RECORDS) {
                        Some(recent) => Records::These(recent),
                        None if first > self.state.durable() => Records::These(Vec::new()),
                        None => Records::OfLog { until: self.state.durable() },
                    };
                    worker.records(to.clone(), epoch, after, records, (committed, table_version))
                }
                StreamEffect::Durable(sequence) => {
                    reached = Some(sequence);
                    continue;
                }
                StreamEffect::Fenced => {
                    fenced = true;
                    continue;
                }
            };
            line.busy = true;
            self.work.push(work);
        }
        if fenced {
            self.parts.outside.note(CopyEvent::Fenced);
            // The table will tell who leads.
            self.follow().await;
        } else if let Some(sequence) = reached {
            let effects = self.state.step(Event::Durable { member: to.clone(), sequence });
            self.carry_out(effects).await;
            self.replica.commit_own(self.state.committed());
            let lines = self.lead.iter().flat_map(|lead| lead.lines.values());
            let all_have = lines.map(|line| line.stream.durable().unwrap_or(0)).min();
            self.recent.forget(all_have.unwrap_or(0));
        }
    }

    /// Tries again after a moment; until then nothing is sent.
    fn line_again(&mut self, to: MemberId, number: u64) {
        if let Some(line) = self.line_of(&to, number) {
            line.busy = true;
            self.wait_for(|worker| Worker { line: number, ..worker }.later(What::Again(to)));
        }
    }

    /// Something that was waited for has happened.
    pub(super) async fn done(&mut self, done: Done) -> Result<(), Ended> {
        let current = self.lead.as_ref().is_some_and(|lead| lead.number == done.number);
        // Who was pardoned was taken out in an earlier epoch.
        if !current && !matches!(done.what, What::Pardoned) {
            return Ok(());
        }
        let number = done.line;
        match done.what {
            What::Late(to) => {
                if self.is_too_late(&to, number) {
                    self.look().await?;
                }
            }
            What::Pardoned => self.look().await?,
            What::Lease => {
                // Looked at by whoever takes requests; while it is missing, again.
                if self.lease_is_missing() {
                    self.look_for_lease();
                }
            }
            What::Proposed(proposal, possible) => self.wait_for(|worker| {
                worker.later(if possible { What::ProposeAgain(proposal) } else { What::Withdraw(proposal) })
            }),
            What::ProposeAgain(proposal) => {
                if self.lead.as_ref().is_some_and(|lead| lead.handoff.proposes(&proposal)) {
                    self.hand_off(&HandoffEvent::Silence);
                }
            }
            What::Withdraw(proposal) => {
                if let Some(lead) = self.lead.as_mut().filter(|lead| lead.handoff.proposes(&proposal)) {
                    lead.handoff.withdraw();
                }
            }
            What::Turn(to, permit) => {
                if let Some(line) = self.line_of(&to, number) {
                    line.permit = Some(permit);
                    self.start_line(&to).await;
                }
            }
            What::Opened(to, Some((at, snapshot))) => {
                if let Some(line) = self.line_of(&to, number) {
                    line.busy = false;
                    line.take_back(at, snapshot);
                    self.line(&to, StreamEvent::Opened(Some(at))).await;
                }
            }
            What::Opened(to, None) => {
                if self.line_of(&to, number).is_some() {
                    self.line(&to, StreamEvent::Opened(None)).await;
                    self.line_again(to, number);
                }
            }
            What::Heard(to, snapshot, have) => {
                let Some(line) = self.line_of(&to, number) else { return Ok(()) };
                if let Some((at, snapshot)) = snapshot {
                    line.take_back(at, snapshot);
                }
                let Some(have) = have else {
                    self.line_again(to, number);
                    return Ok(());
                };
                line.busy = false;
                self.line(&to, StreamEvent::Have(&have)).await;
                self.tell_news().await;
                // An answer that led to nothing: asked again, so that nothing waits for ever.
                if self.line_of(&to, number).is_some_and(|l| !l.busy && l.stream.durable().is_none()) {
                    self.line_again(to, number);
                }
            }
            What::Again(to) => {
                if let Some(line) = self.line_of(&to, number) {
                    line.busy = false;
                    self.line(&to, StreamEvent::Silence).await;
                }
            }
        }
        Ok(())
    }

    /// One that counts and does not have everything is looked at again after a while.
    fn watch_late(&self, late: Vec<(MemberId, u64)>) {
        for (name, line) in late {
            self.wait_for(|worker| Worker { line, ..worker }.after(ACK_PATIENCE, What::Late(name)));
        }
    }

    /// Whether one that counts has lacked something for so long that writes are not to wait for it any more: it is
    /// left alone for a while then, as if it were away.
    fn is_too_late(&mut self, to: &MemberId, number: u64) -> bool {
        let Some(lead) = &mut self.lead else { return false };
        let counts = lead.handoff.in_sync().contains(to);
        let Some(line) = lead.lines.get_mut(to).filter(|line| line.number == number) else { return false };
        let Some((since, _)) = line.behind else {
            line.watched = false;
            return false;
        };
        if !counts || since.elapsed() < ACK_PATIENCE {
            self.watch_late(vec![(to.clone(), number)]);
            return false;
        }
        tracing::warn!(
            partition = %self.partition,
            member = %to,
            "a backup did not confirm a write for {ACK_PATIENCE:?}: it is taken out of the in-sync set, and writes go on"
        );
        self.parts.outside.note(CopyEvent::Slow);
        self.slow.insert(to.clone(), Instant::now() + PARDON);
        self.wait_for(|worker| worker.after(PARDON, What::Pardoned));
        true
    }
}
