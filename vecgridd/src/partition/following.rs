//! An owner while another member is the primary: what that one sends, and the end of the copy.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    applier::{Applier, Install},
    handle::fingerprint,
    hosts::Role,
    log_extent::LogExtent,
    outside::CopyMessage,
    owner::{Ended, Owner},
    recover::read_dedup,
    state::{Event, Start, State},
};
use crate::{
    migration::{Attempt, Chain, Have, Replica, ReplicaEffect, ReplicaEvent},
    storage::{
        Append, Batch, Family, LogWriter, StorageError,
        keys::{self, copy, log},
    },
    telemetry::CopyEvent,
    types::{Durability, Operation, PartitionId, Version},
};

/// A record that came, opened.
struct Record {
    version: Version,
    operation: Operation,
    bytes: Bytes,
}

fn open(bytes: Bytes) -> Result<Record, StorageError> {
    let (version, operation) = log::operation(keys::open("a record of another member", &bytes)?)?;
    Ok(Record { version, operation, bytes })
}

impl Owner {
    /// Takes a message of a primary. What this copy has is told when it is on its disk; nothing is told about
    /// a message that makes no sense, or comes too early: it will be sent again.
    pub(super) async fn receive(&mut self, message: CopyMessage) -> Result<Option<Have>, Ended> {
        if self.copy.quarantined {
            return Ok(None);
        }
        let (event, records, mut install) = match message {
            CopyMessage::Ask { epoch } => (ReplicaEvent::Ask { epoch }, Vec::new(), Install::default()),
            // Whoever does not know a collection yet would take its records for those of a dropped one.
            CopyMessage::Records { table_version, .. } | CopyMessage::Rows { table_version, .. }
                if self.view.borrow().version() < table_version =>
            {
                return Ok(None);
            }
            CopyMessage::Records { epoch, previous, committed, records, .. } => {
                let records = match records.into_iter().map(open).collect::<Result<Vec<_>, _>>() {
                    Ok(records) => records,
                    Err(error) => {
                        tracing::error!(partition = %self.partition, %error, "another member sent a broken record");
                        return Ok(None);
                    }
                };
                let versions = records.iter().map(|record| record.version).collect();
                let event = ReplicaEvent::Records { epoch, previous, records: versions, committed };
                (event, records, Install::default())
            }
            CopyMessage::Rows { attempt, chain, number, last, pairs, .. } => {
                let event = ReplicaEvent::Rows { attempt, chain, chunk: number, last };
                (event, Vec::new(), Install { pairs, ..Install::default() })
            }
        };
        let told = match &event {
            ReplicaEvent::Records { epoch, committed, .. } => {
                Some(Version { epoch: *epoch, sequence: *committed })
            }
            ReplicaEvent::Ask { .. } | ReplicaEvent::Rows { .. } => None,
        };
        let before = (self.replica.promised(), self.replica.chain().last().epoch);
        let effects = self.replica.step(&event);
        if before.0 < self.replica.promised() {
            // Of this epoch we have sent nothing.
            self.copy.shared = false;
            self.follow().await;
        }
        let (mut batch, mut commit, mut cut) = (Batch::default(), None, false);
        let (mut installs, mut have) = (false, None);
        for effect in effects {
            match effect {
                ReplicaEffect::Clear => (installs, install.clear) = (true, true),
                ReplicaEffect::StoreRows => installs = true,
                ReplicaEffect::CutAfter(sequence) => {
                    cut = true;
                    self.parts.outside.note(CopyEvent::Truncated);
                    let (from, to) = log::range(self.partition, sequence + 1, u64::MAX);
                    batch.delete_range(Family::Oplog, from, to);
                    self.step(Event::CutAfter(sequence)).await;
                }
                ReplicaEffect::Append(place) => {
                    let Some(record) = records.get(place) else { continue };
                    let key = log::key(self.partition, record.version.sequence);
                    batch.put(Family::Oplog, key, record.bytes.to_vec());
                    let operation = record.operation.clone();
                    let (fingerprint, bytes) = fingerprint(&operation);
                    self.step(Event::Accept { version: record.version, operation, fingerprint, bytes }).await;
                }
                ReplicaEffect::Commit(sequence) => commit = Some(sequence),
                ReplicaEffect::Quarantine => {
                    tracing::error!(
                        partition = %self.partition,
                        "another member's log contradicts what is committed here: this copy is not used any more"
                    );
                    self.quarantine().await?;
                    return Ok(None);
                }
                ReplicaEffect::Answer(answer) => have = Some(answer),
            }
        }
        let promises = before != (self.replica.promised(), self.replica.chain().last().epoch);
        if installs {
            self.install(install).await?;
        } else {
            if promises || cut {
                self.note_copy(&mut batch);
            }
            // Only a write that went behind all others tells that those are on the disk.
            if !batch.is_empty() {
                write(&self.parts.log, batch).await?;
                let durable = Event::Durable { member: self.me.clone(), sequence: self.state.last() };
                self.step(durable).await;
            }
        }
        if let Some(sequence) = commit {
            self.step(Event::Committed(sequence)).await;
        }
        // From what the primary had committed when it was first heard on, this copy is a moment behind and not more.
        if let Some(told) = told.filter(|told| self.heard.is_none_or(|heard| heard.epoch < told.epoch))
            && self.replica.promised() == told.epoch
            && self.replica.committed() >= told.sequence
        {
            self.heard = Some(told);
        }
        Ok(have)
    }

    /// Rows of another member take the place of what is here.
    async fn install(&mut self, mut install: Install) -> Result<(), Ended> {
        self.wait_until_applied().await?;
        let complete = self.replica.have().installing.is_none();
        install.complete = complete.then(|| self.replica.chain().last());
        install.copy = self.copy_state();
        hand_in(&self.parts.applier, self.partition, install).await?;
        if complete {
            self.start_again(self.replica.chain().last())?;
        }
        Ok(())
    }

    /// The state of a copy whose rows are those of a log that ends there, and whose own log is empty.
    fn start_again(&mut self, last: Version) -> Result<(), Ended> {
        self.forget_reaching();
        let dedup = read_dedup(&*self.parts.engine, self.partition).map_err(|error| {
            tracing::error!(partition = %self.partition, %error, "what was installed cannot be read");
            Ended
        })?;
        self.state = State::new(Start {
            partition: self.partition,
            me: self.me.clone(),
            last,
            dedup,
            log: LogExtent::empty(last.sequence + 1),
            retention: self.parts.retention,
        });
        self.show_applied();
        Ok(())
    }

    /// This copy is not used any more: it counts until the grid has decided that it does not, is not read, and leads
    /// nothing.
    pub(super) async fn quarantine(&mut self) -> Result<(), Ended> {
        self.copy.quarantined = true;
        self.save().await?;
        self.parts.hosts.quarantine(self.partition, true);
        self.look().await
    }

    /// For what a copy may be asked that does not lead (yet).
    pub(super) fn role_of_copy(&self) -> Role {
        let view = self.view.borrow();
        let placement = view.partition(self.partition);
        let usable = !self.copy.quarantined && self.replica.have().installing.is_none();
        if !usable || !placement.in_sync.contains(&self.me) {
            return Role::None;
        }
        // It was asked before it was the primary, or was it in the epoch before: it still shows as much.
        let goes_on = placement.primary == self.me && self.role != Role::None;
        let shows = |heard: Version| {
            heard.epoch == placement.epoch && self.state.applied().sequence >= heard.sequence
        };
        if goes_on || self.heard.is_some_and(shows) { Role::Backup } else { Role::None }
    }

    /// May the copy go? Not while a proposal that counts it may still be decided.
    pub(super) fn may_leave(&self) -> bool {
        let view = self.view.borrow();
        let placement = view.partition(self.partition);
        let never_had_anything = self.replica.chain().last().sequence == 0;
        let over = placement.epoch > self.replica.promised() || never_had_anything;
        self.lead.is_none() && !placement.in_sync.contains(&self.me) && over
    }

    /// Throws away what this copy has; what it promised stays.
    pub(super) async fn clear(&mut self) -> Result<(), Ended> {
        self.wait_until_applied().await?;
        let copy::CopyState { promised, attempt, .. } = self.copy_state();
        let copy = copy::CopyState { promised, attempt, ..copy::CopyState::default() };
        let install = Install { clear: true, copy, ..Install::default() };
        hand_in(&self.parts.applier, self.partition, install).await
    }

    /// What is on its way to the rows gets there first.
    async fn wait_until_applied(&mut self) -> Result<(), Ended> {
        while let Some((sequence, applied)) = self.next_applied().await {
            let applied = applied.ok_or(Ended)?;
            self.step(Event::Applied { sequence, applied }).await;
        }
        Ok(())
    }

    /// What is to be written down about this copy.
    pub(super) fn copy_state(&self) -> copy::CopyState {
        let have = self.replica.have();
        copy::CopyState {
            promised: have.promised,
            attempt: (have.attempt.epoch, have.attempt.number),
            installing: have.installing.is_some(),
            floor: (have.chain.floor().epoch, have.chain.floor().sequence),
            epochs: have.chain.epochs().to_vec(),
            ..self.copy.clone()
        }
    }

    /// Adds it to what is written.
    pub(super) fn note_copy(&self, batch: &mut Batch) {
        batch.put(Family::Member, copy::key(self.partition), copy::encode(&self.copy_state()));
    }

    /// Writes it down.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "with a shared borrow the owner's task were not Send"
    )]
    pub(super) async fn save(&mut self) -> Result<(), Ended> {
        let mut batch = Batch::default();
        self.note_copy(&mut batch);
        write(&self.parts.log, batch).await
    }
}

async fn hand_in(applier: &Applier, partition: PartitionId, install: Install) -> Result<(), Ended> {
    applier.install(partition, install).await.await.map_err(|_| Ended)
}

/// Returns when it is on the disk.
async fn write(log: &LogWriter, batch: Batch) -> Result<(), Ended> {
    if batch.is_empty() {
        return Ok(());
    }
    let bytes = batch.bytes();
    let (done, durable) = oneshot::channel();
    log.append(Append { batch, bytes, durability: Durability::Sync, done }).await;
    match durable.await {
        Ok(Ok(())) => Ok(()),
        // The member takes no writes any more, and says so itself.
        Ok(Err(_)) | Err(_) => Err(Ended),
    }
}

/// A copy as it was found on the disk, whose last record is this one.
///
/// # Errors
/// When its log cannot be one log.
pub(super) fn found(copy: &copy::CopyState, last: Version, committed: u64) -> Result<Replica, StorageError> {
    let floor = Version { epoch: copy.floor.0, sequence: copy.floor.1 };
    let chain = Chain::ending(floor, copy.epochs.clone(), last);
    let chain = chain.ok_or_else(|| {
        let what = format!("floor {floor}, epochs {:?}, last record {last}", copy.epochs);
        StorageError::corrupt("the state of a copy", what)
    })?;
    let attempt = Attempt { epoch: copy.attempt.0, number: copy.attempt.1 };
    Ok(Replica::found(copy.promised, chain, attempt, committed))
}
