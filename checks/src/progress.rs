//! How far a run is, on standard error: a bar for the scenario that is searched, if standard error is
//! a terminal, and a line for each one that has ended.

use std::io::{self, Write as _};
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::search::SearchProgress;
use crate::subject::Subject;

/// The progress of one scenario: a bar that becomes a line.
#[derive(Debug)]
pub struct ProgressLine {
    bar: ProgressBar,
    name: String,
}

impl ProgressLine {
    /// Begins the bar of a scenario. It is full at the number of states in the table.
    pub fn begin(subject: &Subject) -> Self {
        Self::with_length(&subject.name, subject.states.number())
    }

    /// Begins a bar that is full at `states`; 0 if the number is unknown.
    pub fn with_length(name: &str, states: u64) -> Self {
        let (bar, template) = if states > 0 {
            (ProgressBar::new(states), "{prefix:<14} {bar:20} {percent:>3}%  {msg}")
        } else {
            (ProgressBar::new_spinner(), "{prefix:<14} {spinner:20}       {msg}")
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        bar.set_style(style(template));
        bar.set_prefix(name.to_owned());
        Self { bar, name: name.to_owned() }
    }

    /// Shows how far the search is.
    pub fn show(&self, progress: &SearchProgress) {
        self.bar.set_position(progress.unique_states);
        self.bar.set_message(message(progress));
    }

    /// Replaces the bar by a line.
    pub fn end(&self, progress: &SearchProgress, verdict: &str) {
        self.bar.finish_and_clear();
        let line = format!("{:<14} {}  {verdict}", self.name, message(progress));
        // A closed standard error is no reason to stop.
        let _ = writeln!(io::stderr(), "{}", line.trim_end());
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

fn message(progress: &SearchProgress) -> String {
    let memory = progress.held.map(|held| format!("  {}", ByteSize(held))).unwrap_or_default();
    format!(
        "{:>11} states  {:>9} states/s  depth {:>3}{memory}",
        HumanCount(progress.unique_states).to_string(),
        HumanCount(rate(progress.unique_states, progress.elapsed)).to_string(),
        progress.max_depth,
    )
}

/// A count per second.
pub fn rate(count: u64, elapsed: Duration) -> u64 {
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / milliseconds
}
