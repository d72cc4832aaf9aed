//! A `synod node`, and its log lines.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// Does something while no process of these tests is being started.
///
/// A process begins as a copy of the one that starts it. For a moment it has all sockets of that one
/// open, even one that another test closes. What is closed within this function is closed.
pub(crate) fn with_nobody_starting<T>(work: impl FnOnce() -> T) -> T {
    static STARTING: Mutex<()> = Mutex::new(());
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// A process that is killed when this is dropped, whatever state it is in.
///
/// It stays in the process group of the tests, so that Ctrl-C in a terminal reaches both.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        with_nobody_starting(|| Self(command.spawn().unwrap()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended. Then neither call does anything.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node that was started.
#[derive(Debug)]
pub(crate) struct Node {
    process: Running,
    log: PathBuf,
    /// Where the log lines of this run begin in the file. Earlier runs wrote to it too.
    log_from: usize,
}

impl Node {
    /// Starts `synod node` with these arguments. Its log lines are appended to the file `log`.
    pub(crate) fn start(args: &[String], environment: &BTreeMap<&str, String>, log: &Path) -> Self {
        Self::begin(Command::new(env!("CARGO_BIN_EXE_synod")), args, environment, log)
    }

    /// The same, with a limit that the shell sets, in the form of `ulimit`.
    pub(crate) fn start_limited(
        limit: &str,
        args: &[String],
        environment: &BTreeMap<&str, String>,
        log: &Path,
    ) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]);
        shell.arg(env!("CARGO_BIN_EXE_synod"));
        Self::begin(shell, args, environment, log)
    }

    fn begin(
        mut command: Command,
        args: &[String],
        environment: &BTreeMap<&str, String>,
        log: &Path,
    ) -> Self {
        let log_from = fs::metadata(log).map_or(0, |it| usize::try_from(it.len()).unwrap());
        let file = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.arg("node").args(args).env_remove("SYNOD_LOG").envs(environment);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let process = Running::start(&mut command);
        Self { process, log: log.to_owned(), log_from }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// SIGTERM, SIGSTOP, SIGCONT.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).unwrap();
    }

    /// `kill -9`. The process is gone when this returns.
    pub(crate) fn kill(mut self) {
        assert!(self.exit_status().is_none(), "it had ended by itself:\n{}", self.told());
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().unwrap()
    }

    /// Waits until it has ended, and returns its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        let what = format!("the end of process {}, which tells {}", self.pid(), self.log.display());
        let status = until(&what, || self.exit_status());
        status.code().unwrap_or_else(|| panic!("it was killed: {status}"))
    }

    /// All log lines of this run.
    pub(crate) fn told(&self) -> String {
        let bytes = fs::read(&self.log).unwrap();
        String::from_utf8(bytes[self.log_from..].to_vec()).unwrap()
    }

    /// Waits for a log line that contains `part`.
    pub(crate) fn tells(&self, part: &str) {
        until(&format!("{} tells: {part}", self.log.display()), || {
            self.told().contains(part).then_some(())
        });
    }

    /// How many log lines contain this.
    pub(crate) fn lines_with(&self, part: &str) -> usize {
        self.told().lines().filter(|line| line.contains(part)).count()
    }

    /// Checks that the node has stopped with an error: after its log lines, what happened and what to do.
    #[track_caller]
    pub(crate) fn fails_with(&mut self, parts: &[&str]) {
        let code = self.ended();
        let told = self.told();
        assert!([1, 5].contains(&code), "{told}");
        assert!(told.lines().any(|line| line.starts_with("error: ")), "{told}");
        assert!(!told.contains("panicked"), "{told}");
        for part in parts {
            assert!(told.contains(part), "not in it: {part}\n{told}");
        }
    }
}
