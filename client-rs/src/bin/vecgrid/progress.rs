//! A progress bar on standard error, when that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of entries; hidden when nobody watches, or when JSON was asked for.
pub fn entries(total: Option<u64>, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{bar:30} {human_pos}/{human_len} entries  {per_sec}  {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} entries  {per_sec}"),
    };
    styled(bar, template)
}

/// A bar of partitions that a member gives away; hidden likewise.
pub fn partitions(total: u64, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    styled(
        ProgressBar::new(total),
        "{bar:30} {human_pos}/{human_len} partitions given away  {elapsed}, {eta} left",
    )
}

/// A bar of partitions that are verified; hidden likewise.
pub fn verified(total: u64, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    styled(ProgressBar::new(total), "{bar:30} {human_pos}/{human_len} partitions verified  {elapsed}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
