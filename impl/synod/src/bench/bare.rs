//! A floor for the time of one value: three processes that pass it on and sync it as replicas do,
//! without a protocol.
//!
//! A value needs at least one fdatasync and two round trips. Other floors measure these one by one.
//! Here they happen as in a cluster: each of three replicas syncs on a thread of its own, all at the
//! same time and maybe on the same disk, and each step wakes another process. The time that a node
//! takes beyond this is the node's. The time that this takes beyond the sum is the machine's.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use synod_client::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task;

use super::floors::{BATCH_BYTES, MESSAGE_BYTES, SAMPLES_MAX, round_trip, zeros};
use super::helper::Helper;
use crate::exit::Exit;
use crate::input;
use crate::output::Output;

/// How many followers get the value.
const FOLLOWERS: usize = 2;

/// How long one value takes from a client through three processes and back.
pub(super) async fn replication(program: &Path, directory: &Path) -> anyhow::Result<Duration> {
    let mut replicas = Vec::new();
    for id in 0..FOLLOWERS {
        replicas.push(Bare::start(program, directory, id, &[]).await?);
    }
    let followers: Vec<_> = replicas.iter().map(|it| it.endpoint.to_string()).collect();
    let first = Bare::start(program, directory, FOLLOWERS, &followers).await?;
    let measured = round_trip(&first.endpoint).await;
    for replica in replicas.into_iter().chain([first]) {
        replica.stop().await?;
    }
    measured.context("a bare replication")
}

/// One of the processes, seen from the benchmark.
struct Bare {
    process: Helper,
    endpoint: Endpoint,
    file: PathBuf,
}

impl Bare {
    async fn start(
        program: &Path,
        directory: &Path,
        id: usize,
        followers: &[String],
    ) -> anyhow::Result<Self> {
        let file = directory.join(format!("bare-{id}"));
        let path = file.to_str().context("the directory has a name that is not UTF-8")?;
        let mut args = vec!["bench-bare", "--file", path];
        args.extend(followers.iter().flat_map(|follower| ["--follower", follower]));
        let mut process = Helper::start(program, &args)?;
        Ok(Self { endpoint: process.endpoint().await?, process, file })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await;
        std::fs::remove_file(&self.file)
            .with_context(|| format!("{} could not be removed", self.file.display()))
    }
}

/// The arguments of one of these processes.
#[derive(Debug, Args)]
pub(crate) struct BareArgs {
    /// The file to sync; it is made
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where to pass values on
    #[arg(long = "follower", value_name = "HOST:PORT")]
    pub(crate) followers: Vec<Endpoint>,
}

/// The process itself. It ends with its standard input.
pub(crate) async fn bare(args: BareArgs) -> anyhow::Result<Exit> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let file = zeros(&args.file)?;
    let mut output = Output::new();
    output.line(listener.local_addr()?.port())?;
    output.flush()?;
    tokio::select! {
        () = input::ended() => Ok(Exit::Done),
        replicated = replicate(listener, file, &args.followers) => replicated.map(|()| Exit::Done),
    }
}

/// A step of the value that is under way.
enum Step {
    /// The client has sent it.
    Asked,
    /// This replica has synced it; 0 is the process itself.
    Synced(usize),
}

/// Passes on and syncs one value after another, and answers each when a majority has synced it.
async fn replicate(
    listener: TcpListener,
    file: File,
    followers: &[Endpoint],
) -> anyhow::Result<()> {
    let (step, mut steps) = unbounded_channel();
    let mut to_followers = Vec::new();
    for (id, follower) in (1..).zip(followers) {
        let (from, to) = split(TcpStream::connect(follower.to_string()).await?)?;
        to_followers.push(to);
        forward_arrivals(from, step.clone(), move || Step::Synced(id));
    }
    let (from, mut to_client) = split(listener.accept().await?.0)?;
    forward_arrivals(from, step.clone(), || Step::Asked);
    let appender = spawn_appender(file, step);

    let message = [0xa5; MESSAGE_BYTES];
    let (mut asked, mut answered) = (0_u64, 0);
    let mut synced = vec![0_u64; 1 + followers.len()];
    while let Some(step) = steps.recv().await {
        match step {
            Step::Asked => {
                asked += 1;
                appender.send(asked)?;
                for to_follower in &mut to_followers {
                    to_follower.write_all(&message).await?;
                }
            }
            Step::Synced(by) => {
                synced[by] += 1;
                let is_synced = synced.iter().filter(|synced| **synced > answered).count();
                if is_synced > synced.len() / 2 {
                    answered += 1;
                    to_client.write_all(&message).await?;
                }
            }
        }
    }
    Ok(())
}

fn split(socket: TcpStream) -> std::io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    socket.set_nodelay(true)?;
    Ok(socket.into_split())
}

/// Sends `what()` for each message that arrives, until the other end is gone.
fn forward_arrivals(
    mut from: OwnedReadHalf,
    step: UnboundedSender<Step>,
    what: impl Fn() -> Step + Send + 'static,
) {
    task::spawn(async move {
        let mut message = [0; MESSAGE_BYTES];
        while from.read_exact(&mut message).await.is_ok() && step.send(what()).is_ok() {}
    });
}

/// Writes and syncs a block for each number that it gets.
fn spawn_appender(file: File, step: UnboundedSender<Step>) -> mpsc::Sender<u64> {
    let (appender, to_append) = mpsc::channel::<u64>();
    thread::spawn(move || {
        let batch = [0xa5; BATCH_BYTES];
        for number in to_append {
            let at = number % SAMPLES_MAX * batch.len() as u64;
            let synced = file.write_all_at(&batch, at).and_then(|()| file.sync_data());
            // Without an answer, the benchmark reports that its measurement has failed.
            if synced.is_err() || step.send(Step::Synced(0)).is_err() {
                return;
            }
        }
    });
    appender
}
