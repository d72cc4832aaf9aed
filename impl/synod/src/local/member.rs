//! The processes of a local cluster: starting them, restarting them when they end, and stopping them.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use super::layout::Place;

/// How long a replica that has ended stays down: 500 ms at first, so that a person can see it. The time
/// doubles with each end, up to 10 s. After a run of 10 s, it is 500 ms again.
const DOWN: Duration = Duration::from_millis(500);
const DOWN_MAX: Duration = Duration::from_secs(10);

/// How long a replica may take to stop before it is killed: 10 s. It answers what is in flight, which
/// takes a few seconds at most.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What happens to a replica.
#[derive(Debug)]
pub(crate) enum MemberEvent {
    Started { place: Place, process_id: u32 },
    Ended { id: u16, process_id: u32, status: ExitStatus, down: Duration, log: PathBuf },
    NotStarted { id: u16, error: String, down: Duration },
}

impl MemberEvent {
    /// Whether a replica has started. Otherwise it is down.
    pub(crate) fn is_start(&self) -> bool {
        matches!(self, Self::Started { .. })
    }
}

impl fmt::Display for MemberEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { place, process_id } => {
                write!(f, "r{}  is process {process_id} now", place.id)
            }
            Self::Ended { id, process_id, status, down, log } => {
                let (seconds, log) = (down.as_secs_f32(), log.display());
                write!(
                    f,
                    "r{id}  process {process_id} has ended ({status}); starts again in {seconds} s; log {log}"
                )
            }
            Self::NotStarted { id, error, down } => {
                write!(
                    f,
                    "r{id}  could not be started: {error}; tries again in {} s",
                    down.as_secs_f32()
                )
            }
        }
    }
}

/// The replicas of a local cluster. They are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Members {
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// The process of each replica, by id; 0 while there is none.
    process_ids: Vec<Arc<AtomicU32>>,
}

impl Members {
    /// Starts a replica at each place.
    pub(crate) fn start(
        program: &Path,
        places: &[Place],
        events: &mpsc::UnboundedSender<MemberEvent>,
    ) -> anyhow::Result<Self> {
        let (stopping, is_stopping) = watch::channel(false);
        let mut members = Self { stopping, tasks: JoinSet::new(), process_ids: Vec::new() };
        for place in places {
            let log = File::options().create(true).append(true).open(&place.log);
            let log = log.with_context(|| format!("{} cannot be opened", place.log.display()))?;
            let process_id = Arc::<AtomicU32>::default();
            members.process_ids.push(process_id.clone());
            let member = Member {
                program: program.to_owned(),
                place: place.clone(),
                log,
                process_id,
                events: events.clone(),
                is_stopping: is_stopping.clone(),
            };
            members.tasks.spawn(member.run());
        }
        Ok(members)
    }

    pub(crate) fn count(&self) -> usize {
        self.process_ids.len()
    }

    /// The present process of a replica, if there is one.
    pub(crate) fn process_id(&self, id: usize) -> Option<u32> {
        let process_id = self.process_ids.get(id)?.load(Ordering::Relaxed);
        (process_id != 0).then_some(process_id)
    }

    /// Stops all replicas, and waits until they are gone.
    pub(crate) async fn stop(mut self) {
        self.stopping.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The command that runs the replica of a place. The replica stops when its standard input is closed.
pub(crate) fn node_command(program: &Path, place: &Place, log: &File) -> io::Result<Command> {
    let Place { data, client_port, peer_port, peers, .. } = place;
    let mut command = Command::new(program);
    command.arg("node").arg("--data-dir").arg(data);
    command.args(["--listen-client", &format!("127.0.0.1:{client_port}")]);
    command.args(["--listen-peer", &format!("127.0.0.1:{peer_port}"), "--peers", peers]);
    // If this process is killed, its end of the pipe closes, and the replica stops.
    command.arg("--until-stdin-ends").stdin(Stdio::piped());
    command.stdout(log.try_clone()?).stderr(log.try_clone()?);
    // Ctrl-C in the terminal does not reach a process group of its own.
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

struct Member {
    program: PathBuf,
    place: Place,
    log: File,
    process_id: Arc<AtomicU32>,
    events: mpsc::UnboundedSender<MemberEvent>,
    is_stopping: watch::Receiver<bool>,
}

impl Member {
    async fn run(mut self) {
        let mut down = DOWN;
        loop {
            let began = Instant::now();
            let ended = match self.spawn() {
                Ok(child) => match self.attend(child).await {
                    Some(ended) => Ok(ended),
                    None => return,
                },
                Err(error) => Err(error),
            };
            if began.elapsed() >= DOWN_MAX {
                down = DOWN;
            }
            let id = self.place.id;
            self.send(match ended {
                Ok((process_id, status)) => {
                    MemberEvent::Ended { id, process_id, status, down, log: self.place.log.clone() }
                }
                Err(error) => MemberEvent::NotStarted { id, error, down },
            });
            tokio::select! {
                () = time::sleep(down) => {}
                _ = self.is_stopping.wait_for(|stopping| *stopping) => return,
            }
            down = (down * 2).min(DOWN_MAX);
        }
    }

    fn spawn(&self) -> Result<Child, String> {
        let command = node_command(&self.program, &self.place, &self.log);
        command.and_then(|mut command| command.spawn()).map_err(|error| error.to_string())
    }

    /// Waits until the process ends. None if it was stopped on purpose.
    async fn attend(&mut self, mut child: Child) -> Option<(u32, ExitStatus)> {
        let process_id = child.id().unwrap_or(0);
        self.process_id.store(process_id, Ordering::Relaxed);
        self.send(MemberEvent::Started { place: self.place.clone(), process_id });
        // Waiting for the process would close its input.
        let _open = child.stdin.take();
        let ended = tokio::select! {
            ended = child.wait() => Some(ended),
            _ = self.is_stopping.wait_for(|stopping| *stopping) => None,
        };
        let status = if let Some(Ok(status)) = ended {
            Some(status)
        } else {
            // It is stopped on purpose, or waiting has failed. In neither case may it stay behind.
            stop(child).await;
            None
        };
        self.process_id.store(0, Ordering::Relaxed);
        status.map(|status| (process_id, status))
    }

    fn send(&self, event: MemberEvent) {
        // If nobody listens, this command is about to stop.
        let _ = self.events.send(event);
    }
}

/// Stops a process, and kills it if that takes too long.
pub(crate) async fn stop(mut child: Child) {
    if let Some(process_id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // If it has ended just now, no other process has its id, since nobody has waited for it.
        let _ = kill(Pid::from_raw(process_id), Signal::SIGTERM);
    }
    if time::timeout(STOP_MAX, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
