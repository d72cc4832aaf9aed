//! How far a run is, on standard error: a bar for the scenario that is searched, if standard error is
//! a terminal, and a line for each one that has ended.

use std::io::{self, Write as _};
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::search::SearchProgress;
use crate::subject::Subject;

/// The columns for the name of a scenario.
const NAME_COLUMNS: usize = 18;

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
            (ProgressBar::new(states), "{prefix:<18} {bar:10} {percent:>3}%  {msg}")
        } else {
            (ProgressBar::new_spinner(), "{prefix:<18} {spinner:10}        {msg}")
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        bar.set_style(style(template));
        let name = in_columns(name);
        bar.set_prefix(name.clone());
        Self { bar, name }
    }

    /// Shows how far the search is.
    pub fn show(&self, progress: &SearchProgress) {
        self.bar.set_position(progress.unique_states);
        self.bar.set_message(message(progress));
    }

    /// Replaces the bar by a line.
    pub fn end(&self, progress: &SearchProgress, verdict: &str) {
        self.bar.finish_and_clear();
        // A closed standard error is no reason to stop.
        let _ = writeln!(io::stderr(), "{}", line(&self.name, progress, verdict));
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

/// A name as the start of a line: the names of all scenarios of the table fit.
fn in_columns(name: &str) -> String {
    if name.chars().count() <= NAME_COLUMNS {
        return name.to_owned();
    }
    name.chars().take(NAME_COLUMNS - 1).chain(['…']).collect()
}

/// The line of a scenario that has ended.
fn line(name: &str, progress: &SearchProgress, verdict: &str) -> String {
    format!("{name:<NAME_COLUMNS$} {}  {verdict}", message(progress)).trim_end().to_owned()
}

/// How far the search is. With a name and a bar or a verdict, it fits in 80 columns.
fn message(progress: &SearchProgress) -> String {
    let memory = progress.held.map(|held| ByteSize(held).to_string()).unwrap_or_default();
    format!(
        "{:>11} states  {:>9}/s  {memory:>10}",
        HumanCount(progress.unique_states).to_string(),
        HumanCount(rate(progress.unique_states, progress.elapsed)).to_string(),
    )
}

/// A count per second.
pub fn rate(count: u64, elapsed: Duration) -> u64 {
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / milliseconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::TABLE;

    #[test]
    fn lines_fit_in_80_columns() {
        let progress = SearchProgress {
            unique_states: 999_999_999,
            transitions: 9_999_999_999,
            max_depth: 999,
            elapsed: Duration::from_secs(200),
            held: Some((1 << 40) - 1),
        };
        let names = TABLE.iter().map(|row| row.name).chain(["my-own-bounds-of-next-tuesday"]);
        for name in names {
            let line = line(&in_columns(name), &progress, "count differs");
            assert!(line.chars().count() <= 80, "{line}");
        }
        let longest = TABLE.iter().map(|row| row.name.len()).max();
        assert!(longest.is_some_and(|it| it <= NAME_COLUMNS), "no name is cut off");
        // The name, the bar, the percentage, and the spaces between.
        let bar = NAME_COLUMNS + 1 + 10 + 1 + 4 + 2;
        assert!(bar + message(&progress).chars().count() <= 80);
    }
}
