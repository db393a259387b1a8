//! `vecgrid partitions`

use clap::Args;
use console::{Color, Style};
use serde_json::json;
use vecgrid_client::{GridStatus, Moves, PartitionStatus};

use crate::{context::Context, exit, members, moves, output};

/// Cells in one line of the map: it fits a terminal of 80 columns.
const WIDTH: usize = 64;
/// Colours of members; red is for what is wrong.
const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::White];
/// Members beyond the letters.
const OTHER: char = '+';
/// A partition whose primary is away.
const MISSING: char = '!';

/// Show which member holds each partition, as a map, and how far moves are
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid partitions
  watch --color vecgrid partitions                       how a grid is dealt anew
  vecgrid partitions --json | jq '[.partitions[] | select(.moving)] | length'
  vecgrid partitions --json | jq '.moves[] | {partition, target, sent_bytes, total_bytes, seconds_left}'

One character is one partition: the letter of its primary, a small one while it is to move, ! while its primary is
away.")]
pub struct Partitions {}

impl Partitions {
    pub async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let grid = client.grid_status().await?;
        let moving = grid.partitions.iter().any(|partition| partition.moving);
        let found = if moving { client.moves().await? } else { Moves::default() };
        if context.json() {
            output::json(&json!({
                "table_version": grid.table_version,
                "partitions": grid.partitions,
                "moves": found.moves,
                "unanswered": found.unanswered,
            }))?;
        } else {
            let mut text = map(&grid, console::colors_enabled());
            for line in moves::lines(&grid, &found) {
                text.push('\n');
                text.push_str(&line);
            }
            output::text(&text)?;
        }
        Ok(exit::OK)
    }
}

/// The letter of the member at this place; small letters are for moves.
fn letter(place: usize) -> char {
    u8::try_from(place).ok().filter(|place| *place < 26).map_or(OTHER, |place| char::from(b'A' + place))
}

/// The style of the member at this place.
fn style(place: usize) -> Style {
    Style::new().fg(COLOURS[place % COLOURS.len()]).force_styling(true)
}

fn cell(grid: &GridStatus, partition: &PartitionStatus, colours: bool) -> String {
    let place = grid.members.iter().position(|member| member.id == partition.primary);
    let missing = partition.state == "unavailable" || place.is_none();
    let place = place.unwrap_or(usize::MAX);
    let mark = match (missing, partition.moving) {
        (true, _) => MISSING,
        (false, true) => letter(place).to_ascii_lowercase(),
        (false, false) => letter(place),
    };
    match (colours, missing) {
        (false, _) => mark.to_string(),
        (true, true) => Style::new().red().reverse().force_styling(true).apply_to(mark).to_string(),
        (true, false) if partition.moving => style(place).underlined().apply_to(mark).to_string(),
        (true, false) => style(place).apply_to(mark).to_string(),
    }
}

fn map(grid: &GridStatus, colours: bool) -> String {
    let mut lines: Vec<String> = Vec::new();
    for row in grid.partitions.chunks(WIDTH) {
        let first = row.first().map_or(0, |partition| partition.partition);
        let cells: String = row.iter().map(|partition| cell(grid, partition, colours)).collect();
        lines.push(format!("{first:>4}  {cells}"));
    }
    lines.push(String::new());
    let width = grid.members.iter().map(|member| members::label(member).chars().count()).max().unwrap_or(0);
    for (place, member) in grid.members.iter().enumerate() {
        let letter = letter(place).to_string();
        let letter = if colours { style(place).apply_to(letter).to_string() } else { letter };
        lines.push(format!(
            "   {letter}  {:width$}  {} primaries, {} copies, {} wanted, {}",
            members::label(member),
            member.primaries,
            member.copies,
            member.wanted,
            member.state
        ));
    }
    lines.push(String::new());
    lines.push(format!("{} partitions: {}", grid.partitions.len(), members::balance(grid)));
    let missing = grid.partitions.iter().filter(|partition| partition.state == "unavailable").count();
    if missing > 0 {
        lines.push(format!("{MISSING}  {missing} unavailable: the member that orders their writes is away"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, copies: u32, wanted: u32, state: &str) -> vecgrid_client::Member {
        let mut member = vecgrid_client::Member::default();
        (member.id, member.name, member.state) = (format!("id-{name}"), name.into(), state.into());
        (member.primaries, member.copies, member.wanted) = (copies, copies, wanted);
        member
    }

    fn grid() -> GridStatus {
        let mut grid = GridStatus::default();
        grid.members = vec![member("a", 3, 2, "up"), member("bee", 2, 2, "away"), member("c", 0, 1, "up")];
        for (number, primary) in (0..).zip(["a", "bee", "a", "a", "bee"]) {
            let mut partition = PartitionStatus::default();
            (partition.partition, partition.primary) = (number, format!("id-{primary}"));
            partition.state = if primary == "a" { "serving" } else { "unavailable" }.into();
            partition.moving = number == 2;
            grid.partitions.push(partition);
        }
        grid
    }

    #[test]
    fn one_character_is_one_partition_and_small_ones_move() {
        let expected = "   0  A!aA!

   A  a    3 primaries, 3 copies, 2 wanted, up
   B  bee  2 primaries, 2 copies, 2 wanted, away
   C  c    0 primaries, 0 copies, 1 wanted, up

5 partitions: 0 to 3 on a member, 1 of 5 to move
!  2 unavailable: the member that orders their writes is away";
        assert_eq!(map(&grid(), false), expected);
    }

    #[test]
    fn colours_change_nothing_but_the_colours() {
        let coloured = map(&grid(), true);
        assert_eq!(console::strip_ansi_codes(&coloured), map(&grid(), false));
        assert!(coloured.contains("\u{1b}["));
    }

    #[test]
    fn a_line_fits_a_terminal_and_says_where_it_begins() {
        let mut large = grid();
        let cell = large.partitions.remove(0);
        large.partitions = vec![cell; 271];
        (0..).zip(&mut large.partitions).for_each(|(number, cell)| cell.partition = number);
        let map = map(&large, false);
        let lines: Vec<&str> = map.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 271_usize.div_ceil(WIDTH));
        assert!(lines.iter().all(|line| line.len() <= 80));
        assert!(lines[4].starts_with(" 256  "), "{}", lines[4]);
        assert_eq!((letter(0), letter(25), letter(26)), ('A', 'Z', OTHER));
    }
}
