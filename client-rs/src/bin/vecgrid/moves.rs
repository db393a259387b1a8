//! Copies on their way, as people see them.

use std::time::Duration;

use indicatif::HumanDuration;
use vecgrid_client::{GridStatus, Move, Moves};

use crate::{members, output};

/// Lines of single copies; the others are in the sum.
const LINES: usize = 10;

/// One line per copy that is being sent, and one for all; empty when none is on its way.
pub fn lines(grid: &GridStatus, found: &Moves) -> Vec<String> {
    let mut lines: Vec<String> = found
        .moves
        .iter()
        .filter(|copy| copy.stage != "waiting")
        .take(LINES)
        .map(|copy| line(grid, copy))
        .collect();
    if !found.moves.is_empty() {
        let sum = |of: fn(&Move) -> u64| found.moves.iter().map(of).sum::<u64>();
        let waiting = found.moves.iter().filter(|copy| copy.stage == "waiting").count();
        lines.push(format!(
            "{} on their way, {waiting} of them wait; {} of {} sent, {}/s",
            found.moves.len(),
            output::bytes(sum(|copy| copy.sent_bytes)),
            output::bytes(sum(|copy| copy.total_bytes)),
            output::bytes(
                found
                    .moves
                    .iter()
                    .filter(|copy| copy.stage == "rows")
                    .map(|copy| copy.bytes_per_second)
                    .sum()
            ),
        ));
    }
    if !found.unanswered.is_empty() {
        let names: Vec<String> = found.unanswered.iter().map(|id| name(grid, id)).collect();
        lines.push(format!("without what these send, which did not answer: {}", names.join(", ")));
    }
    lines
}

fn line(grid: &GridStatus, copy: &Move) -> String {
    let Move { partition, stage, sent_bytes, total_bytes, bytes_per_second, seconds_left, .. } = copy;
    let (from, to) = (name(grid, &copy.source), name(grid, &copy.target));
    let head = format!("{partition:>4}  {from} → {to}  {stage}");
    if *total_bytes == 0 {
        return head;
    }
    let (sent, total) = (output::bytes(*sent_bytes), output::bytes(*total_bytes));
    let rate = output::bytes(*bytes_per_second);
    let left =
        seconds_left.map(|left| format!(", {} left", HumanDuration(seconds(left)))).unwrap_or_default();
    format!("{head}  {sent} of {total}, {rate}/s{left}")
}

/// What a daemon said is not trusted to be a time.
fn seconds(left: f64) -> Duration {
    Duration::try_from_secs_f64(left.ceil()).unwrap_or(Duration::MAX)
}

fn name(grid: &GridStatus, id: &str) -> String {
    let member = grid.members.iter().find(|member| member.id == id);
    member.map_or_else(|| output::printable(id), members::label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(partition: u32, stage: &str, sent: u64, total: u64) -> Move {
        let mut copy = Move::default();
        (copy.partition, copy.source, copy.target) = (partition, "id-a".into(), "id-b".into());
        (copy.stage, copy.sent_bytes, copy.total_bytes) = (stage.into(), sent << 20, total << 20);
        if stage == "rows" {
            (copy.bytes_per_second, copy.seconds_left) = (4 << 20, Some(((total - sent) / 4) as f64));
        }
        copy
    }

    #[test]
    fn each_copy_says_how_far_it_is_and_one_line_all() {
        let mut grid = GridStatus::default();
        let mut member = vecgrid_client::Member::default();
        (member.id, member.name) = ("id-a".into(), "a".into());
        grid.members = vec![member];
        let mut found = Moves::default();
        assert!(lines(&grid, &found).is_empty());
        found.moves = vec![copy(3, "rows", 12, 32), copy(7, "log", 0, 0), copy(9, "waiting", 0, 0)];
        let expected = [
            "   3  a → id-b  rows  12.00 MiB of 32.00 MiB, 4.00 MiB/s, 5 seconds left",
            "   7  a → id-b  log",
            "3 on their way, 1 of them wait; 12.00 MiB of 32.00 MiB sent, 4.00 MiB/s",
        ];
        assert_eq!(lines(&grid, &found), expected);
        found.unanswered = vec!["id-a".into()];
        assert!(lines(&grid, &found)[3].ends_with(": a"));
    }
}
