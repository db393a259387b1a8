//! The order of a write, told as scripts, and the invariants under random events.

use proptest::prelude::*;

use super::{
    dedup::DedupWindow,
    log_extent::{LogExtent, Retention},
    state::{Applied, Effect, Event, Refusal, Start, State, Ticket},
};
use crate::types::{
    CollectionId, EntryId, MemberId, Mutation, MutationOutcome, Operation, PartitionId, RequestId, Version,
};

fn member(name: &str) -> MemberId {
    MemberId(name.into())
}

fn state(in_sync: &[&str]) -> State {
    let mut state = follower();
    state.step(Event::Lead { epoch: 1, counted: in_sync.iter().map(|name| (member(name), 0)).collect() });
    state
}

fn follower() -> State {
    State::new(Start {
        partition: PartitionId(0),
        me: member("a"),
        last: Version::default(),
        dedup: DedupWindow::default(),
        log: LogExtent::empty(1),
        retention: Retention { records: 8, bytes: 1 << 20 },
    })
}

fn accept(epoch: u64, sequence: u64, request: Option<&str>) -> Event {
    let version = Version { epoch, sequence };
    Event::Accept { version, operation: delete("x", request), fingerprint: 0, bytes: 10 }
}

fn delete(id: &str, request: Option<&str>) -> Operation {
    Operation {
        collection: CollectionId(1),
        request_id: request.map(|id| RequestId::new(id).unwrap()),
        mutations: vec![Mutation::Delete(EntryId::new(id).unwrap())],
    }
}

fn propose(ticket: Ticket, request: Option<&str>, fingerprint: u64) -> Event {
    Event::Propose { ticket, operation: delete("x", request), fingerprint, bytes: 10 }
}

fn durable(name: &str, sequence: u64) -> Event {
    Event::Durable { member: member(name), sequence }
}

fn outcome(sequence: u64) -> Applied {
    Some(MutationOutcome { version: Version { epoch: 1, sequence }, existed: vec![true] })
}

fn applied(sequence: u64) -> Event {
    Event::Applied { sequence, applied: outcome(sequence) }
}

/// What a step wants, in words.
fn told(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Append { version, .. } => format!("append {version}"),
            Effect::Apply(committed) => format!("apply {}", committed.version),
            Effect::Answer { ticket, answer: Ok(_) } => format!("answer {ticket} ok"),
            Effect::Answer { ticket, answer: Err(refusal) } => format!("answer {ticket} {refusal:?}"),
        })
        .collect()
}

#[test]
fn a_write_is_logged_then_durable_then_applied_then_answered() {
    let mut state = state(&["a"]);
    assert_eq!(told(&state.step(propose(7, None, 0))), ["append 1-1"]);
    assert_eq!(told(&state.step(durable("a", 1))), ["apply 1-1"]);
    assert_eq!(told(&state.step(applied(1))), ["answer 7 ok"]);
    assert_eq!(state.applied().sequence, 1);
}

#[test]
fn a_write_waits_for_every_replica_in_sync() {
    let mut state = state(&["a", "b"]);
    state.step(propose(1, None, 0));
    state.step(propose(2, None, 0));
    assert!(state.step(durable("a", 2)).is_empty());
    assert!(state.step(durable("stranger", 2)).is_empty());
    assert_eq!(told(&state.step(durable("b", 1))), ["apply 1-1"]);
    assert_eq!(told(&state.step(durable("b", 2))), ["apply 1-2"]);
}

#[test]
fn a_retry_takes_effect_once_whether_it_comes_early_or_late() {
    let mut state = state(&["a"]);
    assert_eq!(told(&state.step(propose(1, Some("r"), 5))), ["append 1-1"]);
    assert!(state.step(propose(2, Some("r"), 5)).is_empty(), "the first try is on its way");
    assert_eq!(told(&state.step(propose(3, Some("r"), 6))), ["answer 3 RequestIdReused"]);
    state.step(durable("a", 1));
    assert_eq!(told(&state.step(applied(1))), ["answer 1 ok", "answer 2 ok"]);
    let late = state.step(propose(4, Some("r"), 5));
    assert_eq!(late, [Effect::Answer { ticket: 4, answer: Ok(outcome(1)) }]);
}

#[test]
fn after_the_log_failed_nothing_is_acknowledged() {
    let mut state = state(&["a"]);
    state.step(propose(1, Some("r"), 5));
    state.step(propose(2, Some("r"), 5));
    assert_eq!(told(&state.step(Event::LogFailed)), ["answer 1 LogFailed", "answer 2 LogFailed"]);
    assert_eq!(told(&state.step(propose(3, None, 0))), ["answer 3 NotWritable"]);
    assert!(state.step(durable("a", 1)).is_empty());
}

#[test]
fn the_log_is_cut_only_below_what_is_applied() {
    let mut state = state(&["a"]);
    let mut cuts = Vec::new();
    for sequence in 1..=40 {
        state.step(propose(sequence, None, 0));
        for effect in state.step(durable("a", sequence)) {
            if let Effect::Apply(committed) = effect {
                let before = state.applied().sequence;
                if let Some(below) = committed.trim_below {
                    assert!(below <= before + 1, "cut below {below}, applied {before}");
                    cuts.push(below);
                }
            }
        }
        state.step(applied(sequence));
    }
    assert!(cuts.len() > 5 && cuts.is_sorted(), "{cuts:?}");
}

#[test]
fn a_copy_applies_what_the_primary_says_is_committed_and_answers_nobody() {
    let mut state = follower();
    assert!(state.step(accept(1, 1, None)).is_empty());
    assert!(state.step(accept(1, 2, None)).is_empty());
    assert!(state.step(Event::Committed(2)).is_empty(), "it is not on the disk here");
    state.step(durable("a", 2));
    assert_eq!(told(&state.step(Event::Committed(1))), ["apply 1-1"]);
    assert!(state.step(applied(1)).is_empty());
    assert_eq!(told(&state.step(propose(1, None, 0))), ["answer 1 NotPrimary"]);
    state.step(Event::CutAfter(1));
    assert_eq!((state.last(), state.durable(), state.is_idle()), (1, 1, true));
}

#[test]
fn a_new_primary_keeps_what_it_has_and_commits_it_when_all_have_it() {
    let mut state = follower();
    state.step(accept(1, 1, Some("r")));
    state.step(durable("a", 1));
    let counted = [(member("a"), 0), (member("b"), 0)].into();
    assert!(state.step(Event::Lead { epoch: 2, counted }).is_empty());
    assert!(state.step(propose(1, Some("r"), 0)).is_empty(), "a retry waits with what came by the log");
    assert_eq!(told(&state.step(propose(2, None, 0))), ["append 2-2"]);
    assert_eq!(told(&state.step(durable("b", 1))), ["apply 1-1"]);
    assert_eq!(told(&state.step(applied(1))), ["answer 1 ok"]);
    assert_eq!(state.applied(), Version { epoch: 1, sequence: 1 });
}

#[test]
fn who_does_not_lead_any_more_cannot_say_what_became_of_its_writes() {
    let mut state = state(&["a", "b"]);
    state.step(propose(1, Some("r"), 0));
    state.step(propose(2, Some("r"), 0));
    state.step(propose(3, None, 0));
    state.step(durable("a", 2));
    state.step(durable("b", 1));
    assert_eq!(told(&state.step(Event::Follow)), ["answer 3 Overtaken"], "the first is committed");
    assert_eq!(told(&state.step(applied(1))), ["answer 1 ok", "answer 2 ok"]);
    assert!(state.step(durable("b", 2)).is_empty(), "it does not count any more");
    assert!(state.step(Event::CutAfter(1)).is_empty(), "answered before");
}

#[test]
fn a_newcomer_counts_from_when_it_is_said_and_not_from_what_it_had_before() {
    let mut state = state(&["a"]);
    state.step(propose(1, None, 0));
    state.step(Event::Count([(member("a"), 0), (member("b"), 0)].into()));
    assert!(state.step(durable("a", 1)).is_empty());
    assert_eq!(told(&state.step(Event::Count([(member("a"), 1)].into()))), ["apply 1-1"]);
}

#[derive(Debug, Clone)]
enum Step {
    Propose(Option<u8>),
    Durable(bool, u64),
    ApplyNext,
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => proptest::option::of(0..6u8).prop_map(Step::Propose),
        4 => (any::<bool>(), 0..3u64).prop_map(|(mine, more)| Step::Durable(mine, more)),
        4 => Just(Step::ApplyNext),
        1 => Just(Step::Fail),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever happens in whatever order: nothing is applied before it is durable on both
    /// replicas, records are applied in order without a gap, and each client is answered once.
    #[test]
    fn random_schedules_keep_the_promises(steps in steps()) {
        let mut state = state(&["a", "b"]);
        let (mut points, mut appended, mut to_apply, mut next) = ([0u64; 2], 0u64, Vec::new(), 0u64);
        let mut answered = std::collections::HashSet::new();
        for step in steps {
            let event = match step {
                Step::Propose(request) => {
                    next += 1;
                    propose(next, request.map(|r| r.to_string()).as_deref(), 0)
                }
                Step::Durable(mine, more) => {
                    let which = usize::from(!mine);
                    points[which] = (points[which] + more).min(appended);
                    durable(if mine { "a" } else { "b" }, points[which])
                }
                Step::ApplyNext if to_apply.is_empty() => continue,
                Step::ApplyNext => applied(to_apply.remove(0)),
                Step::Fail => Event::LogFailed,
            };
            for effect in state.step(event) {
                match effect {
                    Effect::Append { version, .. } => {
                        prop_assert_eq!(version.sequence, appended + 1);
                        appended += 1;
                    }
                    Effect::Apply(committed) => {
                        let sequence = committed.version.sequence;
                        prop_assert!(sequence <= points[0] && sequence <= points[1]);
                        to_apply.push(sequence);
                    }
                    Effect::Answer { ticket, answer } => {
                        prop_assert!(answered.insert(ticket), "answered twice");
                        prop_assert!(!matches!(answer, Err(Refusal::RequestIdReused)));
                    }
                }
            }
        }
    }
}
