//! What people see on standard output: lines, tables, and metadata in one line.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;
use vecgrid_client::Entry;

/// Fields that usually hold what a person wants to read, best first.
const TEXT_FIELDS: [&str; 9] =
    ["text", "title", "name", "content", "body", "description", "summary", "lemma", "label"];

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)
}

/// Prints lines of text.
pub fn text(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// An entry as JSON, in the form that `import` reads.
///
/// A struct and not a `Value`: that would turn each f32 into a double, with twice the digits.
#[derive(Debug, Serialize)]
pub struct EntryJson<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<&'a [f32]>,
    metadata: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

/// [`EntryJson`] of an entry.
pub fn entry_json(entry: &Entry) -> EntryJson<'_> {
    EntryJson {
        id: &entry.id,
        vector: entry.vector.as_deref(),
        metadata: &entry.metadata,
        version: entry.version.map(|version| version.to_string()),
    }
}

/// Columns under their heads. The last column takes the rest of a terminal's line.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let width = io::stdout().is_terminal().then(terminal_width);
    for line in layout(head, rows, width) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn terminal_width() -> usize {
    usize::from(console::Term::stdout().size().1)
}

fn layout(head: &[&str], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|i| lines().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max().unwrap_or(0))
        .collect();
    let numbers: Vec<bool> = (0..head.len())
        .map(|i| {
            !rows.is_empty()
                && rows.iter().filter_map(|row| row.get(i)).all(|cell| cell.parse::<f64>().is_ok())
        })
        .collect();
    let mut result = Vec::new();
    for line in lines() {
        let mut text = String::new();
        for (i, cell) in line.iter().enumerate() {
            let room = widths.get(i).copied().unwrap_or(0).saturating_sub(cell.chars().count());
            let right = numbers.get(i).copied().unwrap_or(false);
            text.push_str(if i == 0 { "" } else { "  " });
            text.extend(std::iter::repeat_n(' ', if right { room } else { 0 }));
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', if right { 0 } else { room }));
        }
        result.push(shorten(text.trim_end(), width.unwrap_or(usize::MAX)));
    }
    result
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A text that cannot move the cursor or forge a line: control characters are escaped.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// Metadata in one line: the text that a person wants to read, then the other fields.
pub fn metadata_line(metadata: &Value) -> String {
    let Value::Object(fields) = metadata else { return String::new() };
    let rank = |name: &str, value: &Value| {
        let named = TEXT_FIELDS.iter().position(|field| *field == name);
        match (value, named) {
            (Value::String(_), Some(rank)) => rank,
            (Value::String(text), None) if text.contains(' ') => TEXT_FIELDS.len(),
            _ => TEXT_FIELDS.len() + 1,
        }
    };
    let mut ordered: Vec<(usize, &String, &Value)> =
        fields.iter().map(|(name, value)| (rank(name, value), name, value)).collect();
    ordered.sort_by_key(|(rank, ..)| *rank);
    let mut parts = Vec::with_capacity(ordered.len());
    for (position, (rank, name, value)) in ordered.into_iter().enumerate() {
        let shown = match value {
            Value::String(text) => printable(text),
            other => printable(&other.to_string()),
        };
        let speaks_for_itself = position == 0 && rank <= TEXT_FIELDS.len();
        parts.push(if speaks_for_itself { shown } else { format!("{}={shown}", printable(name)) });
    }
    parts.join("  ")
}

/// A number with thousands separated, for people.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes, for people.
pub fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_go_right_words_go_left_and_long_lines_end_in_an_ellipsis() {
        let rows = vec![vec!["0.25".into(), "a".into()], vec!["10.5".into(), "äöü".into()]];
        assert_eq!(
            layout(&["distance", "id"], &rows, None),
            ["distance  id", "    0.25  a", "    10.5  äöü"]
        );
        assert_eq!(layout(&["distance", "id"], &rows, Some(11))[2], "    10.5  …");
    }

    #[test]
    fn the_readable_field_comes_first() {
        let metadata = json!({"domain": "noun", "text": "a cat", "words": 1});
        assert_eq!(metadata_line(&metadata), "a cat  domain=noun  words=1");
        assert_eq!(metadata_line(&json!({"b": "two words", "a": 1})), "two words  a=1");
        assert_eq!(metadata_line(&json!({})), "");
    }

    #[test]
    fn control_characters_cannot_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(metadata_line(&json!({"text": "x\ny"})), "x\\ny");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
