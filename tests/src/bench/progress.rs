//! What a long run is doing, for whoever waits for it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// What is going on: a spinner or a bar on a terminal, lines elsewhere.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
    last: Cell<u64>,
}

impl Progress {
    /// A spinner: nobody knows how long it takes.
    pub fn spinner() -> Self {
        Self::show(ProgressBar::new_spinner(), "{spinner} {elapsed} {msg}")
    }

    /// A bar that is full after so many [`step`](Self::step)s.
    pub fn of(steps: usize) -> Self {
        Self::show(ProgressBar::new(steps as u64), "{bar:30} {pos}/{len} {elapsed} {msg}")
    }

    fn show(bar: ProgressBar, template: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, begun: Instant::now(), last: Cell::new(0) }
    }

    /// One more of the steps is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// What is being done now. Where there is no terminal, a line every ten seconds at most.
    pub fn now(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        let seconds = self.begun.elapsed().as_secs();
        if self.bar.is_hidden() && seconds >= self.last.get() + 10 {
            self.last.set(seconds);
            self.say(text);
        }
    }

    /// Something to keep.
    pub fn say(&self, text: &str) {
        let line = format!("{:>5.0} s  {text}", self.begun.elapsed().as_secs_f64());
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Takes it off the screen.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
