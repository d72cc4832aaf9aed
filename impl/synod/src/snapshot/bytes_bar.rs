//! How far a command is that works on a file.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error, if that is a terminal.
pub(crate) struct BytesBar(ProgressBar);

impl BytesBar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let template =
            "{prefix:<10} {bar:20} {percent:>3}%  {bytes} of {total_bytes}, {bytes_per_sec}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
        Self(bar)
    }

    /// So much is done of this step.
    pub(crate) fn tell(&self, step: &'static str, bytes: u64, of: u64) {
        if self.0.prefix() != step {
            self.0.set_prefix(step);
            self.0.reset();
        }
        self.0.set_length(of);
        self.0.set_position(bytes);
    }
}

impl Drop for BytesBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
