//! Runs the command `synod`, with a time limit.

use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The time limit. No command in these tests takes longer.
const COMMAND_MAX: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<T>(it: impl Future<Output = T>) -> T {
    tokio::time::timeout(COMMAND_MAX, it).await.expect("it takes too long")
}

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command that runs. It is killed when this is dropped.
pub(crate) struct Synod(Child);

impl Synod {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
        command.args(args);
        Self::spawn(command)
    }

    /// Starts a command that runs `synod`.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    pub(crate) fn input(&mut self) -> &mut ChildStdin {
        self.0.stdin.as_mut().unwrap()
    }

    pub(crate) fn end_input(&mut self) {
        drop(self.0.stdin.take());
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.0.id().expect("it was not waited for")
    }

    /// Waits until it has ended, for any reason.
    pub(crate) async fn gone(mut self) {
        in_time(self.0.wait()).await.unwrap();
    }

    /// Waits until it has ended. Its output is in the result, unless a test has taken it before.
    pub(crate) async fn ended(mut self) -> Done {
        in_time(async {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let (mut out, mut err) = (self.0.stdout.take(), self.0.stderr.take());
            let read_out = async {
                if let Some(out) = &mut out {
                    out.read_to_end(&mut stdout).await.unwrap();
                }
            };
            let read_err = async {
                if let Some(err) = &mut err {
                    err.read_to_end(&mut stderr).await.unwrap();
                }
            };
            let (status, (), ()) = tokio::join!(self.0.wait(), read_out, read_err);
            Done {
                code: status.unwrap().code().expect("it was not killed"),
                stdout: String::from_utf8(stdout).unwrap(),
                stderr: String::from_utf8(stderr).unwrap(),
            }
        })
        .await
    }
}

pub(crate) async fn run(args: &[&str]) -> Done {
    let mut synod = Synod::start(args);
    synod.end_input();
    synod.ended().await
}

/// Runs a command whose standard output goes elsewhere.
pub(crate) async fn run_into(args: &[&str], stdout: Stdio) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(args).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    Synod(command.spawn().unwrap()).ended().await
}

pub(crate) async fn run_with_input(args: &[&str], input: &[u8]) -> Done {
    let mut synod = Synod::start(args);
    let mut stdin = synod.0.stdin.take().unwrap();
    let feed = async {
        // A command that has ended reads no more.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    tokio::join!(synod.ended(), feed).0
}

/// An endpoint where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}
