//! `synod node`: runs the replica of a data directory until it is told to stop.
//!
//! What it needs to know comes from flags, then from a TOML file, then from the data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use synod_model::ReplicaId;
use synod_node::client_port::serve;
use synod_node::{Config, ListensFor, Log, NoApplication, Timing};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::descriptors::server_limits;
use super::exit::{Exit, Nonsense};
use super::lines;
use super::members::{Members, checked, dialled};
use super::teller::Teller;
use super::text_of;

/// How long the disk may take to sync what is under way when the node stops: 5 s. What was not synced
/// was promised to nobody.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Run the replica of a data directory, which `synod init` has made
///
/// It runs until it gets SIGTERM or Ctrl-C, and then answers what can still be answered; a second one
/// ends it at once. What it does it tells on standard error.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where to listen for the other replicas; without, where they look for this one
    #[arg(long, value_name = "HOST:PORT")]
    listen_peer: Option<String>,
    /// Where to listen for clients; here or in the file
    #[arg(long, value_name = "HOST:PORT")]
    listen_client: Option<String>,
    /// Addresses of members that have changed since; they are stored
    #[arg(long, value_name = "ID=HOST:PORT,...")]
    peers: Option<Members>,
    /// A TOML file with any of: `listen_peer`, `listen_client`, `log`, `[peers]`, `[timing]`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop when standard input ends, as it does when whoever started this is gone
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// How to write what it tells
    #[arg(long, value_enum, value_name = "FORMAT")]
    log: Option<LogFormat>,
}

/// How a node writes what it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON document a line
    Json,
}

/// The file. What a flag says comes before it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen_peer: Option<String>,
    listen_client: Option<String>,
    log: Option<LogFormat>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    #[serde(default)]
    timing: TimingFile,
}

/// How its failure detector counts time, in milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "units are in the names that people write")]
struct TimingFile {
    heartbeat_ms: Option<u64>,
    suspect_after_ms: Option<u64>,
    stand_spread_ms: Option<u64>,
    stand_again_max_ms: Option<u64>,
}

impl TimingFile {
    fn timing(&self) -> anyhow::Result<Timing> {
        let default = Timing::default();
        let or = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        let timing = Timing {
            heartbeat: or(self.heartbeat_ms, default.heartbeat),
            suspect_after: or(self.suspect_after_ms, default.suspect_after),
            stand_spread: or(self.stand_spread_ms, default.stand_spread),
            stand_again_max: or(self.stand_again_max_ms, default.stand_again_max),
        };
        if timing.heartbeat.is_zero() || timing.suspect_after < 2 * timing.heartbeat {
            bail!(
                "heartbeat_ms is {}, and suspect_after_ms {}\n  the second must be at least twice \
                 the first, and the first at least 1: else a single lost message is taken for a lost coordinator",
                timing.heartbeat.as_millis(),
                timing.suspect_after.as_millis(),
            );
        }
        Ok(timing)
    }
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("{} is no configuration of a node", path.display()))
}

/// Runs the replica to its end.
///
/// # Errors
///
/// If it cannot start, or cannot go on.
pub(crate) fn node(args: &NodeArgs) -> anyhow::Result<Exit> {
    let file = args.config.as_deref().map(read).transpose()?.unwrap_or_default();
    let listen_client = args.listen_client.as_ref().or(file.listen_client.as_ref());
    let listen_client = listen_client.ok_or_else(|| Nonsense(
        "nothing says where to listen for clients\n  give --listen-client HOST:PORT, or `listen_client` in the file".to_owned(),
    ))?;
    let listen_client = checked(listen_client)?;
    let listen_peer = args.listen_peer.as_ref().or(file.listen_peer.as_ref());
    let mut config = Config::new(&args.data_dir);
    config.listen_peer = listen_peer.map(|address| checked(address)).transpose()?;
    config.timing = file.timing.timing()?;
    if let Some(Members(peers)) = &args.peers {
        config.peers.clone_from(peers);
    } else {
        for (id, address) in &file.peers {
            let id = id.parse().map_err(|_| anyhow::anyhow!("`{id}` in [peers] is no id"))?;
            config.peers.insert(ReplicaId(id), dialled(address)?);
        }
    }
    let teller = begin_to_tell(args.log.or(file.log).unwrap_or_default())?;
    // One thread for the replica and all sockets: what a value passes on its way is all in one
    // place, and no other has to be woken for it. The disk has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the threads of the node cannot be started")?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let insisted = async {
            signals.next().await;
            signals.next().await;
        };
        tokio::select! {
            ended = run(config, &listen_client, args.until_stdin_ends) => ended,
            () = insisted => bail!(
                "ended at once, for it was told to stop a second time\n  nothing that was acknowledged \
                 is lost; whoever waits for an answer does not know what becomes of what was asked"
            ),
        }
    });
    // A node that is told to stop while it reads its log need not read to the end, nor wait for a
    // disk that does not answer: whatever it does there may end at any point, as if it were killed.
    runtime.shutdown_background();
    // By the same way as the lines before it, so that it comes after them, and is not waited for if
    // nobody reads.
    let (text, exit) = match ended {
        Ok(()) => (String::new(), Exit::Done),
        Err(error) => (text_of(&error), Exit::Failed),
    };
    teller.end_with(&text);
    Ok(exit)
}

async fn run(config: Config, listen_client: &str, until_stdin_ends: bool) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    // Before anything is opened.
    let limits = server_limits();
    let stopping = async move {
        tokio::select! {
            () = signals.next() => {}
            () = lines::ended(), if until_stdin_ends => {}
        }
    };
    tokio::pin!(stopping);
    // The values are in the log, which is what its followers read: there is nothing to do with them.
    let opening = Log::open(config, NoApplication);
    let log = tokio::select! {
        log = opening => log?,
        () = &mut stopping => return Ok(()),
    };
    let listener = ListensFor::Clients.listen(listen_client).await?;
    info!(address = %listener.local_addr()?, "listens for clients");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        // Dropped, it says the same.
        let _ = stopped.await;
    };
    let backend = Arc::new(log.clone());
    let serving = tokio::spawn(serve(listener, backend, limits, stopped));
    let ended = tokio::select! {
        ended = log.ended() => ended,
        () = &mut stopping => {
            info!("stops");
            Ok(())
        }
    };
    // Clients first: what is in flight may still be answered.
    drop(stop);
    let _ = serving.await;
    ended?;
    if let Ok(ended) = timeout(STOP_MAX, log.stop()).await {
        return Ok(ended?);
    }
    warn!("ends with a write under way: the disk does not answer");
    Ok(())
}

/// What tells a node to stop. Each of these hears of every signal.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be waited for");
        let terminate = listen(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells what happens on standard error; `SYNOD_LOG` says how much of it, as `info` or `synod=debug`.
fn begin_to_tell(format: LogFormat) -> anyhow::Result<Teller> {
    let tell_left_out = |lines| warn!(lines, "left out: standard error is not read fast enough");
    let teller = Teller::start(anstream::stderr(), tell_left_out)
        .context("the thread that writes to standard error cannot be started")?;
    let filter = EnvFilter::try_from_env("SYNOD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let writer = teller.clone();
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match format {
        LogFormat::Text => subscriber.with_ansi(is_terminal).with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(teller)
}
