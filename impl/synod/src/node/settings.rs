//! The settings of a node: from flags, then from a TOML file, then from the data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use clap::Args;
use serde::Deserialize;
use synod_model::ReplicaId;
use synod_node::{Config, SnapshotOptions, Timing};

use super::logging::LogFormat;
use crate::exit::UsageError;
use crate::members::{Members, checked, dialled};

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
    /// After how much log to take a snapshot, and cut the log, such as 1GiB or 500MB. Values that are cut off can
    /// be followed no more [default: only when `synod snapshot take` says so]
    #[arg(long, value_name = "SIZE")]
    snapshot_after_log_bytes: Option<ByteSize>,
    /// How much of snapshots to send in a second, to all replicas together [default: 32MiB]
    #[arg(long, value_name = "SIZE")]
    snapshot_sent_bytes_per_second: Option<ByteSize>,
    /// A TOML file with any of: `listen_peer`, `listen_client`, `log`, `[peers]`, `[timing]`, `[snapshots]`
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Stop when standard input ends, as it does when the process that started this node has ended
    #[arg(long, hide = true)]
    pub(super) until_stdin_ends: bool,
    /// The format of the log lines
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(super) log: Option<LogFormat>,
}

/// The configuration file. Flags override it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    listen_peer: Option<String>,
    listen_client: Option<String>,
    pub(super) log: Option<LogFormat>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    #[serde(default)]
    timing: TimingFile,
    #[serde(default)]
    snapshots: SnapshotsFile,
}

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("{} is not a configuration of a node", path.display()))
}

/// What the node is opened with, and where it listens for clients.
pub(super) fn configuration(args: &NodeArgs, file: &File) -> anyhow::Result<(Config, String)> {
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
    config.snapshots = file.snapshots.options(args);
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

/// When the node takes snapshots, and how fast it writes and sends them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotsFile {
    after_log_bytes: Option<u64>,
    held_log_bytes_max: Option<u64>,
    written_bytes_per_second: Option<u64>,
    sent_bytes_per_second: Option<u64>,
}

impl SnapshotsFile {
    fn options(&self, args: &NodeArgs) -> SnapshotOptions {
        let default = SnapshotOptions::default();
        let flag = |size: Option<ByteSize>| size.map(|it| it.as_u64());
        let after = flag(args.snapshot_after_log_bytes).or(self.after_log_bytes);
        let sent = flag(args.snapshot_sent_bytes_per_second).or(self.sent_bytes_per_second);
        let (held, written) = (self.held_log_bytes_max, self.written_bytes_per_second);
        SnapshotOptions {
            // The state of a bare log is the log. Nobody cuts it off but its operator.
            after_log_bytes: after,
            held_log_bytes_max: held.unwrap_or(default.held_log_bytes_max),
            written_bytes_per_second: written.unwrap_or(default.written_bytes_per_second),
            sent_bytes_per_second: sent.unwrap_or(default.sent_bytes_per_second),
            ..default
        }
    }
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
