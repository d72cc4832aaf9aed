//! `synod node`: runs the replica of a data directory until it is told to stop.
//!
//! Its settings come from flags, then from a TOML file, then from the data directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use synod_model::ReplicaId;
use synod_node::client_port::serve;
use synod_node::{
    BareLog, Config, ListensFor, Node, NodeError, NodeOpenError, Timing, warn_if_ephemeral,
};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::descriptors::server_limits;
use super::exit::{Exit, UsageError, error_text};
use super::input;
use super::log_writer::LogWriter;
use super::members::{Members, MembersError, checked, dialled};
use super::signals::Signals;

/// How long the disk may take to sync what is under way when the node stops: 5 s. The node has promised
/// nobody what was not synced.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Why a node ends whose port for clients is not served any more.
const PORT_ENDED: &str = "the port for clients is not served any more: its task has ended, and said why \
     above\n  that is a fault of synod: please report it; nothing acknowledged is lost";

/// Run the replica of a data directory, which `synod init` has made
///
/// It runs until it gets SIGTERM or Ctrl-C, and then answers what it still can; a second signal ends it
/// at once. It logs to standard error, what `SYNOD_LOG` says: a level, or `synod_node=debug`.
///
/// Exit status: 0 if it was told to stop; 1 if it failed, and may run when it is started again; 2 if the
/// command line is invalid; 5 if each start would fail as this one did.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where to listen for the other replicas; by default, where they look for this one
    #[arg(long, value_name = "HOST:PORT")]
    listen_peer: Option<String>,
    /// Where to listen for clients; given here or in the file
    #[arg(long, value_name = "HOST:PORT")]
    listen_client: Option<String>,
    /// New addresses of members; they are stored
    #[arg(long, value_name = "ID=HOST:PORT,...")]
    peers: Option<Members>,
    /// A TOML file with any of: `listen_peer`, `listen_client`, `log`, `[peers]`, `[timing]`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop when standard input ends, as it does when the process that started this node has ended
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// The format of the log lines
    #[arg(long, value_enum, value_name = "FORMAT")]
    log: Option<LogFormat>,
}

/// The format of a node's log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON document on each line
    Json,
}

/// The configuration file. Flags override it.
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

/// The timing of the failure detector, in milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "units are in the names that people write")]
struct TimingFile {
    heartbeat_ms: Option<u64>,
    suspect_after_ms: Option<u64>,
    suspect_after_max_ms: Option<u64>,
    stand_spread_ms: Option<u64>,
    stand_again_max_ms: Option<u64>,
    resend_after_ms: Option<u64>,
    resend_after_max_ms: Option<u64>,
    hung_after_ms: Option<u64>,
    hung_after_max_ms: Option<u64>,
}

impl TimingFile {
    fn timing(&self) -> anyhow::Result<Timing> {
        let default = Timing::default();
        let or = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        let timing = Timing {
            heartbeat: or(self.heartbeat_ms, default.heartbeat),
            suspect_after: or(self.suspect_after_ms, default.suspect_after),
            suspect_after_max: or(self.suspect_after_max_ms, default.suspect_after_max),
            stand_spread: or(self.stand_spread_ms, default.stand_spread),
            stand_again_max: or(self.stand_again_max_ms, default.stand_again_max),
            resend_after: or(self.resend_after_ms, default.resend_after),
            resend_after_max: or(self.resend_after_max_ms, default.resend_after_max),
            hung_after: or(self.hung_after_ms, default.hung_after),
            hung_after_max: or(self.hung_after_max_ms, default.hung_after_max),
        };
        if timing.heartbeat.is_zero() || timing.suspect_after < 2 * timing.heartbeat {
            bail!(
                "heartbeat_ms is {}, and suspect_after_ms {}\n  the second must be at least twice \
                 the first, and the first at least 1; otherwise one lost message would look like a lost coordinator",
                timing.heartbeat.as_millis(),
                timing.suspect_after.as_millis(),
            );
        }
        if timing.hung_after < timing.suspect_after {
            bail!(
                "hung_after_ms is {}, and suspect_after_ms {}\n  the first must be at least the second; \
                 otherwise every busy disk would look like one that hangs",
                timing.hung_after.as_millis(),
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
        .with_context(|| format!("{} is not a configuration of a node", path.display()))
}

/// A value on the command line or in the file, and where it stands, for errors.
struct Given<'a> {
    value: &'a str,
    at: String,
}

impl<'a> Given<'a> {
    /// The flag overrides the file.
    fn new(
        args: &NodeArgs,
        flag: (&str, Option<&'a String>),
        key: (&str, Option<&'a String>),
    ) -> Option<Self> {
        let by_flag = flag.1.map(|value| Self { value, at: flag.0.to_owned() });
        by_flag.or_else(|| key.1.map(|value| Self { value, at: in_file(args, key.0) }))
    }

    fn address(&self) -> anyhow::Result<String> {
        checked(self.value).with_context(|| self.at.clone())
    }
}

/// The name of a key, with its file.
fn in_file(args: &NodeArgs, key: &str) -> String {
    let file = args.config.as_deref().unwrap_or(Path::new("")).display();
    format!("{file}: {key}")
}

/// Runs the replica to its end.
///
/// # Errors
///
/// If it cannot start, or must stop.
pub(crate) fn node(args: &NodeArgs) -> anyhow::Result<Exit> {
    let file = args.config.as_deref().map(read).transpose();
    let of_file = file.as_ref().ok().and_then(|it| it.as_ref()).and_then(|it| it.log);
    let format = args.log.or(of_file).unwrap_or_default();
    // From here on, an error is a line of the log.
    let log_writer = begin_log(format)?;
    let ended = file.and_then(|file| run_with(args, &file.unwrap_or_default()));
    // The error goes through the log writer, so it follows the lines before it, and nobody waits for it
    // if standard error is not read.
    let (text, exit) = match ended {
        Ok(()) => (String::new(), Exit::Done),
        Err(error) => {
            let exit = exit_of(&error);
            match format {
                LogFormat::Text => (error_text(&error), exit),
                LogFormat::Json => {
                    error!(exit_code = exit.code(), "{error:#}");
                    (String::new(), exit)
                }
            }
        }
    };
    log_writer.end_with(&text);
    Ok(exit)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let is_permanent = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(error), _) => NodeOpenError::is_permanent(error),
        (_, Some(error)) => NodeError::is_permanent(error),
        _ => false,
    };
    if error.is::<UsageError>() {
        Exit::Usage
    } else if is_permanent || error.is::<MembersError>() {
        Exit::Permanent
    } else {
        Exit::Failed
    }
}

fn configuration(args: &NodeArgs, file: &File) -> anyhow::Result<(Config, String)> {
    let listen_client = Given::new(
        args,
        ("--listen-client", args.listen_client.as_ref()),
        ("listen_client", file.listen_client.as_ref()),
    );
    let listen_client = listen_client.ok_or_else(|| UsageError(
        "nothing says where to listen for clients\n  give --listen-client HOST:PORT, or `listen_client` in the file".to_owned(),
    ))?;
    let listen_client = listen_client.address()?;
    let listen_peer = Given::new(
        args,
        ("--listen-peer", args.listen_peer.as_ref()),
        ("listen_peer", file.listen_peer.as_ref()),
    );
    let mut config = Config::new(&args.data_dir);
    config.listen_peer = listen_peer.map(|it| it.address()).transpose()?;
    config.timing = file.timing.timing().with_context(|| in_file(args, "[timing]"))?;
    if let Some(Members(peers)) = &args.peers {
        config.peers.clone_from(peers);
    } else {
        for (id, address) in &file.peers {
            let at = || in_file(args, &format!("[peers] {id}"));
            let id = id.parse().map_err(|_| anyhow::anyhow!("an id is a number from 0 to 65535"));
            let id = ReplicaId(id.with_context(at)?);
            config.peers.insert(id, dialled(address).with_context(at)?);
        }
    }
    Ok((config, listen_client))
}

fn run_with(args: &NodeArgs, file: &File) -> anyhow::Result<()> {
    let (config, listen_client) = configuration(args, file)?;
    // One thread serves the replica and all sockets. So everything that a value passes is in one place,
    // and no other thread must be woken for it. The disk has threads of its own.
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
                "ended at once, because it was told to stop a second time\n  nothing that was \
                 acknowledged is lost; a client without an answer cannot know the outcome of its request"
            ),
        }
    });
    // A node that is told to stop while it reads its log need not read to the end, nor wait for a disk
    // that does not answer. Whatever it does there may end at any point, as if it were killed.
    runtime.shutdown_background();
    ended
}

async fn run(config: Config, listen_client: &str, until_stdin_ends: bool) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    // Before any file is opened.
    let limits = server_limits();
    let stopping = async move {
        tokio::select! {
            _ = signals.next() => {}
            () = input::ended(), if until_stdin_ends => {}
        }
    };
    tokio::pin!(stopping);
    let prepared = tokio::select! {
        prepared = Node::prepare(config) => prepared?,
        () = &mut stopping => return Ok(()),
    };
    let listener = ListensFor::Clients.listen(listen_client).await?;
    warn_if_ephemeral([&listen_client.to_owned()]);
    info!(address = %listener.local_addr()?, "listens for clients");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        // If the sender is dropped, that is a stop as well.
        let _ = stopped.await;
    };
    let mut serving = tokio::spawn(serve(listener, prepared.backend(), limits, stopped));
    // Followers read the values from the log, so the state machine has nothing to do.
    let node = tokio::select! {
        node = prepared.open(BareLog) => node?,
        () = &mut stopping => return Ok(()),
        _ = &mut serving => bail!(PORT_ENDED),
    };
    let ended = tokio::select! {
        ended = node.ended() => ended,
        () = &mut stopping => {
            info!("stops");
            Ok(())
        }
        _ = &mut serving => bail!(PORT_ENDED),
    };
    // Clients first, because what is in flight may still be answered.
    drop(stop);
    let _ = serving.await;
    ended?;
    if let Ok(ended) = timeout(STOP_MAX, node.stop()).await {
        return Ok(ended?);
    }
    warn!("ends with a write under way: the disk does not answer");
    Ok(())
}

/// The filter that `SYNOD_LOG` holds, such as `debug` or `synod_node=debug`. Any word would be the name of
/// a module, and then a misspelt level is silence.
fn filter(text: Option<OsString>) -> Result<EnvFilter, UsageError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let Some(text) = text.filter(|it| !it.is_empty()) else {
        return Ok(EnvFilter::new("info"));
    };
    let text = text.to_string_lossy().into_owned();
    let is_known = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        let is_level = LEVELS.iter().any(|it| level.eq_ignore_ascii_case(it));
        directive.starts_with("synod") && (is_level || !directive.contains('=')) || {
            is_level && !directive.contains('=')
        }
    };
    let filter = EnvFilter::builder().parse(&text).ok();
    filter.filter(|_| text.split(',').map(str::trim).all(is_known)).ok_or_else(|| {
        UsageError(format!(
            "SYNOD_LOG is `{text}`, which is no filter of log lines\n  write a level (off, error, \
             warn, info, debug, trace), or MODULE=LEVEL with a module of synod, such as \
             synod_node=debug, or several with commas between them"
        ))
    })
}

/// A panic is a line of the log too.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name").to_owned();
        error!(%thread, backtrace = %std::backtrace::Backtrace::capture(), "{panic}");
    }));
}

/// Starts to log to standard error. `SYNOD_LOG` is the filter.
fn begin_log(format: LogFormat) -> anyhow::Result<LogWriter> {
    let filter = filter(std::env::var_os("SYNOD_LOG"))?;
    let report_left_out = |lines| warn!(lines, "left out: standard error is not read fast enough");
    let log_writer = LogWriter::start(anstream::stderr(), report_left_out)
        .context("the thread that writes to standard error cannot be started")?;
    let writer = log_writer.clone();
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match format {
        LogFormat::Text => subscriber.with_ansi(is_terminal).with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    log_panics();
    Ok(log_writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_filters_is_a_filter() {
        for text in
            ["", "info", "DEBUG", "synod=trace", "warn,synod_node::peers=debug", "synod_node"]
        {
            assert!(filter(Some(text.into())).is_ok(), "{text}");
        }
        assert!(filter(None).is_ok());
        for text in ["debgu", "synod=loud", "info,", "=", "tokio=info", "7=x"] {
            let error = filter(Some(text.into())).expect_err("it filters nothing");
            assert!(error.0.starts_with(&format!("SYNOD_LOG is `{text}`")), "{}", error.0);
        }
    }
}
