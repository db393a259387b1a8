//! What was measured against what was wanted: one line for each thing the benchmark must show.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bench::report::round;

/// What is asked of a ratio, or of our own number where there is no peer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// So much, or more.
    AtLeast(f64),
    /// So much, or less.
    AtMost(f64),
}

impl Wanted {
    fn met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// Somebody's number, with whose it is: for a peer its name, for us how (which `ef`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// Whose, or how.
    pub of: String,
}

impl Figure {
    /// A number and whose it is.
    pub fn new(value: f64, of: impl Into<String>) -> Self {
        Self { value, of: of.into() }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Number of the row, as `--rows` takes it.
    pub row: u8,
    /// What is compared.
    pub name: String,
    /// Unit of both numbers.
    pub unit: &'static str,
    /// Our number; absent when it could not be measured or a bound on recall was not reached.
    pub ours: Option<Figure>,
    /// What it is held against: the best peer, or ourselves under other conditions.
    pub other: Option<Figure>,
    /// Ours over the other's, or the other way round where less is better; ours alone without one.
    pub ratio: Option<f64>,
    /// What is asked of the ratio.
    pub wanted: Wanted,
    /// Whether all that the row asks for is so.
    pub met: bool,
    /// What else was seen, and why it is not met when the ratio alone does not say so.
    pub note: String,
}

impl Verdict {
    /// Ours over the other's: for rates.
    pub fn rate(
        row: u8,
        name: impl Into<String>,
        ours: Option<Figure>,
        other: Option<Figure>,
        wanted: Wanted,
    ) -> Self {
        let ratio = both(&ours, &other).map(|(ours, other)| ours / other);
        Self::new(row, name.into(), "queries/s", (ours, other), ratio, wanted)
    }

    /// Our time over the other's, or the inverse (how many times faster) when at least so much is wanted.
    pub fn time(
        row: u8,
        name: impl Into<String>,
        unit: &'static str,
        (ours, other): (Option<Figure>, Option<Figure>),
        wanted: Wanted,
    ) -> Self {
        let ratio = both(&ours, &other).map(|(ours, other)| match wanted {
            Wanted::AtLeast(_) => other / ours,
            Wanted::AtMost(_) => ours / other,
        });
        Self::new(row, name.into(), unit, (ours, other), ratio, wanted)
    }

    /// Our number against a fixed bound.
    pub fn bound(
        row: u8,
        name: impl Into<String>,
        unit: &'static str,
        ours: Option<Figure>,
        wanted: Wanted,
    ) -> Self {
        let value = ours.as_ref().map(|figure| figure.value);
        Self::new(row, name.into(), unit, (ours, None), value, wanted)
    }

    fn new(
        row: u8,
        name: String,
        unit: &'static str,
        (ours, other): (Option<Figure>, Option<Figure>),
        ratio: Option<f64>,
        wanted: Wanted,
    ) -> Self {
        let met = ratio.is_some_and(|ratio| wanted.met_by(ratio));
        Self { row, name, unit, ours, other, ratio, wanted, met, note: String::new() }
    }

    /// Adds to the note.
    #[must_use]
    pub fn note(mut self, text: impl AsRef<str>) -> Self {
        if !self.note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(text.as_ref());
        self
    }

    /// Also asks for this; when it is not so, the row is not met and says why.
    #[must_use]
    pub fn and(mut self, holds: bool, or_else: impl AsRef<str>) -> Self {
        if holds {
            return self;
        }
        self.met = false;
        self.note(or_else)
    }
}

fn both(ours: &Option<Figure>, other: &Option<Figure>) -> Option<(f64, f64)> {
    let (ours, other) = (ours.as_ref()?.value, other.as_ref()?.value);
    (ours > 0.0 && other > 0.0).then_some((ours, other))
}

/// All lines as a table.
pub fn table(verdicts: &[Verdict]) -> String {
    let figure = |figure: &Option<Figure>| match figure {
        Some(Figure { value, of }) => (number(*value), of.clone()),
        None => ("-".to_owned(), String::new()),
    };
    let mut lines =
        vec![["row", "what", "ours", "", "against", "", "unit", "ratio", "wanted", ""].map(str::to_owned)];
    for verdict in verdicts {
        let ((ours, how), (other, whose)) = (figure(&verdict.ours), figure(&verdict.other));
        let ratio = verdict.ratio.map_or("-".to_owned(), |ratio| format!("{}", round(ratio, 3)));
        let wanted = match verdict.wanted {
            Wanted::AtLeast(bound) => format!(">= {bound}"),
            Wanted::AtMost(bound) => format!("<= {bound}"),
        };
        let met = if verdict.met { "met" } else { "NOT MET" }.to_owned();
        let (row, unit) = (verdict.row.to_string(), verdict.unit.to_owned());
        lines.push([row, verdict.name.clone(), ours, how, other, whose, unit, ratio, wanted, met]);
    }
    let right = [true, false, true, false, true, false, false, true, false, false];
    let widths: Vec<usize> =
        (0..right.len()).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for ((cell, width), right) in line.iter().zip(&widths).zip(right) {
            let pad = " ".repeat(width - cell.chars().count());
            text += &if right { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if let Some(verdict) = at.checked_sub(1).and_then(|at| verdicts.get(at))
            && !verdict.note.is_empty()
        {
            text += &format!("{}{}\n", " ".repeat(widths[0] + 2), verdict.note);
        }
    }
    text
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The median; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The best of figures: the largest or the smallest value.
pub fn best(figures: Vec<Figure>, largest: bool) -> Option<Figure> {
    let order = |a: &Figure, b: &Figure| a.value.total_cmp(&b.value);
    if largest { figures.into_iter().max_by(order) } else { figures.into_iter().min_by(order) }
}

/// Writes everything that was measured as one JSON document.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &std::path::Path, document: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_met_when_its_ratio_and_all_else_are() {
        let figure = |value| Some(Figure::new(value, "x"));
        let rate = |ours| Verdict::rate(1, "r", figure(ours), figure(10.0), Wanted::AtLeast(2.0));
        assert!(rate(20.0).met);
        assert!(!rate(19.9).met);
        assert!(!rate(20.0).and(false, "recall").met);
        assert!(!Verdict::rate(1, "r", None, figure(1.0), Wanted::AtLeast(2.0)).met);
        let time = |wanted| Verdict::time(2, "t", "s", (figure(5.0), figure(10.0)), wanted);
        assert_eq!(time(Wanted::AtLeast(2.0)).ratio, Some(2.0));
        assert_eq!(time(Wanted::AtMost(1.0)).ratio, Some(0.5));
        assert!(Verdict::bound(9, "m", "bytes", figure(700.0), Wanted::AtMost(700.0)).met);
    }

    #[test]
    fn the_table_has_a_line_for_each_row() {
        let ours = Some(Figure::new(1234.5, "ef=64"));
        let rows = [Verdict::rate(1, "r", ours, None, Wanted::AtLeast(2.0)).note("no peer")];
        let text = table(&rows);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("NOT MET") && text.contains("1234"), "{text}");
    }

    #[test]
    fn medians_and_bests() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
        let figures = || vec![Figure::new(1.0, "a"), Figure::new(2.0, "b")];
        assert_eq!(best(figures(), true).unwrap().of, "b");
        assert_eq!(best(figures(), false).unwrap().of, "a");
    }
}
