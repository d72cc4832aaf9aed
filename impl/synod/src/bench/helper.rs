//! Processes that replicas are compared with: this program again, with another command.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use synod_client::Endpoint;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A process that prints the ports on which it listens, one on each line, and ends with its input. It
/// ends when this is dropped, too.
pub(super) struct Helper {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    pub(super) fn start(program: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.kill_on_drop(true).process_group(0);
        let what = || format!("`synod {}` could not be started", args.join(" "));
        let mut process = command.spawn().with_context(what)?;
        let stdout = process.stdout.take().with_context(what)?;
        Ok(Self { process, lines: BufReader::new(stdout).lines() })
    }

    /// The next endpoint at which it listens. It prints the port.
    pub(super) async fn endpoint(&mut self) -> anyhow::Result<Endpoint> {
        let line = self.lines.next_line().await?;
        let line = line.context("a process that replicas are compared with has ended")?;
        let port = line.parse().with_context(|| format!("{line:?} is not a port"))?;
        Ok(Endpoint::local(port))
    }

    pub(super) async fn stop(mut self) {
        // The process ends with its input. If it does not, it is killed.
        drop(self.process.stdin.take());
        let _ = self.process.kill().await;
    }
}
