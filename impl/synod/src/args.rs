//! What can be asked on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use synod_client::{ClientOptions, Endpoint};
use synod_model::Limits;

use super::exit::{ASK_CODES, SUBMIT_CODES};
use super::init::InitArgs;
use super::inspect::InspectArgs;
use super::local::PORTS;
use super::node::NodeArgs;

/// A log that several machines agree on, entry by entry.
///
/// A cluster is three or five replicas, each a `synod node` process with a data directory of its own.
/// Whatever a client submits gets a slot in the log, the same on every replica, and stays there as
/// long as a majority of the replicas keep their disks.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = START)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const START: &str = "\
To begin with, on one machine:
  synod local                                  three replicas; prints their endpoints, Ctrl-C stops them
and in another terminal, with those endpoints:
  synod submit --endpoints A,B,C hello world   prints a slot and the value for each
  synod follow --endpoints A --from 1          prints the log, and goes on as it grows
  synod status --endpoints A,B,C               says how each replica is";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(InitArgs),
    Node(NodeArgs),
    /// Put values in the log; prints the slot of each
    #[command(after_help = SUBMIT_CODES)]
    Submit(SubmitArgs),
    /// Print the slot at which the log ends now, whichever replica is asked
    #[command(after_help = ASK_CODES, long_about = READ)]
    Read(ReadArgs),
    /// Print the log from a slot on, and go on as it grows
    #[command(after_help = FOLLOW_CODES)]
    Follow(FollowArgs),
    /// Say how replicas are
    #[command(after_help = STATUS_CODES)]
    Status(StatusArgs),
    Inspect(InspectArgs),
    /// Run a whole cluster on this machine, to try things out
    #[command(after_help = LOCAL_HELP)]
    Local(LocalArgs),
    /// Measure how fast a cluster is, next to what the machine could do at best
    #[command(long_about = BENCH, after_help = BENCH_CODES)]
    Bench(BenchArgs),
    /// The other end of what `bench` measures, in a process of its own
    #[command(hide = true)]
    BenchEcho,
    /// One of three processes that only pass a value on and sync it, for `bench`
    #[command(hide = true)]
    BenchBare(BenchBareArgs),
}

const READ: &str = "\
Print the slot at which the log ends now, whichever replica is asked.

The read is linearizable: the slot covers everything that was delivered anywhere, or answered to any
client, before the command began. 0 says that the log is empty.";

const FOLLOW_CODES: &str = "\
Exit codes:
  0  it has caught up, with --until-caught-up; or standard output was closed
  1  no replica could be followed any further
  2  the command line makes no sense";

const STATUS_CODES: &str = "\
Exit codes:
  0  at least one replica said how it is
  1  none did
  2  the command line makes no sense";

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Endpoints {
    /// Where replicas take clients: host:port, separated by commas. The first is asked first, the
    /// next when that one cannot be reached, is silent or stops
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', required = true)]
    pub(crate) endpoints: Vec<Endpoint>,
}

/// How long to try.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Timeout {
    /// How long to wait for an answer, such as 10s or 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

impl Timeout {
    /// What a client with this much time allows for.
    pub(crate) fn options(self) -> ClientOptions {
        let usual = ClientOptions::default();
        // Within a short time, too, more than one endpoint is to get its turn.
        let silent_max = usual.silent_max.min(self.timeout / 3).max(Duration::from_millis(1));
        let connect_max = usual.connect_max.min(silent_max);
        ClientOptions { deadline: self.timeout, silent_max, connect_max, ..usual }
    }
}

/// What `submit` is told.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    /// The values; or - alone: one value a line from standard input, each answered in its turn
    ///
    /// Prints the slot, a tab and the value for each as soon as it and all before it are delivered. In
    /// a value, a backslash, a tab, a carriage return and a line feed are written as \\, \t, \r and \n;
    /// other control characters, and bytes that are not UTF-8, as \xHH. Several values are in flight
    /// at once, so they may get their slots in another order than they were given in.
    #[arg(value_name = "VALUE", required = true)]
    pub(crate) values: Vec<OsString>,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

/// What `read` is told.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

/// What `follow` is told.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    /// The first slot to print
    #[arg(long, value_name = "SLOT", default_value_t = 1)]
    pub(crate) from: u64,
    /// Stop at the slot at which the log ends when the command begins (a linearizable read)
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Print everything that the log holds: slot, kind and what it is, with tabs between
    ///
    /// Without, it prints slot and value of each client's value, once, escaped as by `submit`. With
    /// it, no-ops, openings and ends of sessions, second copies of a request and those that were
    /// refused are printed, too.
    #[arg(long)]
    pub(crate) everything: bool,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

/// What `status` is told.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Where replicas take clients: host:port, separated by commas. Each of them is asked
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', required = true)]
    pub(crate) endpoints: Vec<Endpoint>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to wait for each, such as 2s or 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

const LOCAL_HELP: &str = "\
It makes a data directory for each replica (`synod init`), starts the replicas (`synod node`), and
says for each which process it is, where it takes clients, and in which file it tells what it does.
A replica that ends, or is killed, is started again after a moment. Ctrl-C or SIGTERM stops all.

Exit codes:
  0  it was stopped, and so is every replica
  1  the command could not be carried out
  2  the command line makes no sense";

/// What `local` is told.
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// Where to keep the replicas' data, in r0, r1, ...; one that an earlier `local` has made is
    /// started again. Without, a temporary directory, which is removed at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How many replicas, 3 or 5 [default: 3, or as many as there are in DIR]
    #[arg(long, value_name = "N", value_parser = replicas)]
    pub(crate) replicas: Option<u16>,
    /// The first port. Replica N takes clients at PORT + N and its peers at PORT + 10 + N, on
    /// 127.0.0.1; 0 stands for any ports that are free
    #[arg(long, value_name = "PORT", default_value_t = 7100, value_parser = base_port)]
    pub(crate) base_port: u16,
}

const BENCH: &str = "\
Measure how fast a cluster is, next to what the machine could do at best.

Each client has a session and one request in flight. Without --endpoints it starts three replicas on
this machine, with real disks, and stops them at the end; without --clients and --connections it
measures twice: one client, and 256 clients on 256 connections.

The floors are taken in the same run: one fdatasync of a 4 KiB batch in the data directory, one round
trip on loopback, a bare replication (one value through three processes that only pass it on and sync
it, and know no protocol), and the requests that the same clients get answered by a process that does
nothing but answer, in the same frames. Times are medians.";

const BENCH_CODES: &str = "\
Exit codes:
  0  it was measured
  1  it could not be
  2  the command line makes no sense";

/// What one of the processes is told that `bench` compares replicas with.
#[derive(Debug, Args)]
pub(crate) struct BenchBareArgs {
    /// The file to sync, which it makes
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whom it passes values on to
    #[arg(long = "follower", value_name = "HOST:PORT")]
    pub(crate) followers: Vec<Endpoint>,
}

/// What `bench` is told.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The replicas to measure, where they take clients; all of them that run, for each counts its
    /// fdatasyncs
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub(crate) endpoints: Vec<Endpoint>,
    /// How many clients [default: as many as connections]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) clients: Option<usize>,
    /// How many connections they share, at most one for each [default: one for each client]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) connections: Option<usize>,
    /// Spread the connections over all replicas; otherwise all go to the coordinator
    #[arg(long)]
    pub(crate) spread: bool,
    /// How many bytes each value has
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = value_bytes)]
    pub(crate) value_bytes: usize,
    /// How long each run is measured, after a second of warming up
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration)]
    pub(crate) seconds: Duration,
    /// Where to keep the replicas' data meanwhile, and to measure fdatasync [default: the directory
    /// for temporary files, or this one if that is in memory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Up to 16,384: the system has no more ports for connections to one address.
fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=16_384).contains(count));
    count.ok_or_else(|| "that is no number from 1 to 16,384".to_owned())
}

/// Up to what a cluster takes as one value: every cluster is made with the same limits.
fn value_bytes(text: &str) -> Result<usize, String> {
    let most = Limits::default().value_bytes_max;
    let bytes = text.parse().ok().filter(|bytes| u64::try_from(*bytes).is_ok_and(|it| it <= most));
    bytes.ok_or_else(|| format!("that is no number from 0 to {most}, the most that a value has"))
}

fn replicas(text: &str) -> Result<u16, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a local cluster has 3 or 5 replicas".to_owned()),
    }
}

fn base_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port <= u16::MAX - PORTS);
    port.ok_or_else(|| format!("that is no port, or too high: the highest is {}", u16::MAX - PORTS))
}

/// A length of time: as humantime has it, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().map(Duration::try_from_secs_f64);
    let duration = match seconds {
        Some(Ok(duration)) => Some(duration),
        Some(Err(_)) => None,
        None => humantime::parse_duration(text).ok(),
    };
    // A day is for ever, and keeps every deadline within what a clock can tell.
    duration.filter(|it| !it.is_zero()).map(|it| it.min(Duration::from_hours(24))).ok_or_else(
        || {
            "that is no length of time\n  write 10s, 500ms or 1m; a bare number is seconds"
                .to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read() {
        let ms = |text| duration(text).map(|it| it.as_millis());
        assert_eq!(ms("10s"), Ok(10_000));
        assert_eq!(ms("1m 5s"), Ok(65_000));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("3"), Ok(3_000));
        assert_eq!(ms("0.5"), Ok(500));
        assert_eq!(ms("1000000000"), ms("24h"), "more than anybody waits");
        for none in ["", "0", "-1", "soon", "NaN", "inf", "5 parsecs"] {
            assert!(duration(none).is_err(), "{none}");
        }
    }

    /// What is written at the arguments of a command is in its help.
    #[test]
    fn the_long_helps_are_there() {
        for (name, part) in
            [("init", "16 are the most"), ("node", "SIGTERM"), ("inspect", "no lock")]
        {
            let mut command = Cli::command();
            let command = command.find_subcommand_mut(name).expect("a command");
            let help = command.render_long_help().to_string();
            assert!(help.contains(part), "{help}");
        }
        assert_eq!(synod_model::MEMBERS_MAX, 16, "as the help of `init` says");
    }

    /// The commands on the pages, in blocks of code, are understood.
    #[test]
    fn the_pages_tell_what_can_be_asked() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut found = 0;
        for page in ["README.md", "docs/README.md", "docs/operating.md", "docs/performance.md"] {
            let text = std::fs::read_to_string(format!("{root}/{page}")).expect("a page");
            let text = text.replace("\\\n", " ");
            for line in text.lines() {
                let asked = line.strip_prefix("    cargo run --release -p synod -- ");
                let line_of_synod = line.strip_prefix("sudo -u synod ").unwrap_or(line);
                let Some(asked) = asked.or_else(|| line_of_synod.strip_prefix("synod ")) else {
                    continue;
                };
                found += 1;
                let asked = asked.split('#').next().unwrap_or_default().replace("$E", "a:1,b:2");
                let words = std::iter::once("synod").chain(asked.split_whitespace());
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{page}: {line}\n{}", parsed.expect_err("not understood"));
            }
        }
        assert!(found > 5, "the pages have more commands than {found}");
    }
}
