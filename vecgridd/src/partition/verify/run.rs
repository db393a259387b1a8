//! The background of it: a glance at each partition every few minutes, and all rows of each once a day.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{SLOWLY, Verifier};
use crate::{task::Tasks, types::PartitionId};

/// Between two glances at a partition.
const GLANCE: Duration = Duration::from_secs(300);
/// Between two partitions, at least.
const LEAST: Duration = Duration::from_millis(20);
/// With nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// How often.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// All rows of a partition are read once in this time; `None` = only when digests differ, or somebody asks.
    pub every: Option<Duration>,
}

impl VerifyOptions {
    fn glance(&self) -> Duration {
        self.every.map_or(GLANCE, |every| every.min(GLANCE))
    }
}

/// Goes round the partitions that this member leads, until the daemon stops.
pub async fn run(tasks: Tasks, verifier: Verifier, options: VerifyOptions) {
    let stop = tasks.token();
    let mut rounds = Rounds { begun: Some(Instant::now()), ..Rounds::default() };
    loop {
        let led: Vec<PartitionId> = verifier.shared.parts.hosts.leads().iter().collect();
        let pause = rounds.pause(led.len(), options);
        let next = rounds.next(&led);
        let work = async {
            tokio::time::sleep(pause).await;
            let partition = next.filter(|partition| verifier.leads(*partition))?;
            let due = rounds.is_due(partition, &led, options, Instant::now());
            if (due || verifier.compare_digests(partition).await)
                && verifier.verify(partition, SLOWLY).await.is_some()
            {
                return Some(partition);
            }
            None
        };
        let read = tokio::select! {
            read = work => read,
            () = stop.cancelled() => return,
        };
        if let Some(partition) = read {
            rounds.read.insert(partition, Instant::now());
        }
    }
}

/// Whose turn it is. Pure, but for the times that it is given.
#[derive(Debug, Default)]
struct Rounds {
    last: Option<PartitionId>,
    read: BTreeMap<PartitionId, Instant>,
    begun: Option<Instant>,
}

impl Rounds {
    fn pause(&self, partitions: usize, options: VerifyOptions) -> Duration {
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        options.glance().checked_div(partitions).map_or(IDLE, |pause| pause.max(LEAST))
    }

    fn next(&mut self, led: &[PartitionId]) -> Option<PartitionId> {
        let behind = led.iter().find(|partition| self.last.is_none_or(|last| **partition > last));
        self.last = behind.or(led.first()).copied();
        self.last
    }

    /// Whether all rows of a partition are to be read now. Those of one that was not read since the start come at
    /// their place in the time, so that they do not all come at once.
    fn is_due(
        &self,
        partition: PartitionId,
        led: &[PartitionId],
        options: VerifyOptions,
        now: Instant,
    ) -> bool {
        let Some(every) = options.every else { return false };
        if let Some(read) = self.read.get(&partition) {
            return now.saturating_duration_since(*read) >= every;
        }
        let place = led.iter().position(|other| *other == partition).unwrap_or(0) + 1;
        let share = place as f64 / led.len().max(1) as f64;
        self.begun.is_some_and(|begun| now.saturating_duration_since(begun) >= every.mul_f64(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_turn_and_reading_is_spread_over_the_day() {
        let led = [1, 4, 6].map(PartitionId);
        let begun = Instant::now();
        let mut rounds = Rounds { begun: Some(begun), ..Rounds::default() };
        let turns: Vec<u16> = (0..5).filter_map(|_| rounds.next(&led)).map(|p| p.0).collect();
        assert_eq!(turns, [1, 4, 6, 1, 4]);
        assert_eq!(rounds.next(&[PartitionId(2)]), Some(PartitionId(2)));
        assert_eq!(rounds.next(&[]), None);

        let day = Duration::from_secs(86_400);
        let options = VerifyOptions { every: Some(day) };
        assert_eq!(rounds.pause(3, options), Duration::from_secs(100));
        let due = |rounds: &Rounds, hours: u64| -> Vec<u16> {
            let now = begun + Duration::from_secs(3_600 * hours);
            led.iter().filter(|p| rounds.is_due(**p, &led, options, now)).map(|p| p.0).collect()
        };
        assert_eq!(due(&rounds, 7), Vec::<u16>::new());
        assert_eq!(due(&rounds, 8), [1]);
        assert_eq!(due(&rounds, 24), [1, 4, 6]);
        rounds.read.insert(PartitionId(4), begun + Duration::from_secs(3_600 * 16));
        assert_eq!(due(&rounds, 24), [1, 6]);
        assert_eq!(due(&rounds, 40), [1, 4, 6]);
        assert!(!rounds.is_due(PartitionId(1), &led, VerifyOptions { every: None }, begun + day * 9));
    }
}
