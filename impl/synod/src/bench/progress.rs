//! The progress bar of a benchmark.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

/// The progress of a load, on standard error, if that is a terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Bar {
    /// Begins the bar of a load that takes this long.
    pub(super) fn begin(name: &str, takes: Duration, answered: Arc<AtomicU64>) -> Self {
        let bar = ProgressBar::new(u64::try_from(takes.as_millis()).unwrap_or(u64::MAX));
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template("{prefix:<14} {bar:20} {percent:>3}%  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
        bar.set_prefix(name.to_owned());
        let its = bar.clone();
        let task = tokio::spawn(async move {
            const EVERY: Duration = Duration::from_millis(250);
            let began = Instant::now();
            let mut before = 0;
            loop {
                time::sleep(EVERY).await;
                let count = answered.load(Ordering::Relaxed);
                let per_second = (count - before) * 4;
                before = count;
                its.set_position(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
                its.set_message(format!("{} answers/s", HumanCount(per_second)));
            }
        });
        Self { bar, task }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}
