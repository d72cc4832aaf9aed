//! `synod local`: a whole cluster on one machine, to try things out.
//!
//! It does what a person would do by hand: `synod init` for each replica, and then `synod node` for
//! each, which it starts again when it ends. The processes are real, and so are their disks: killing
//! one is a fair experiment. They run in process groups of their own, so Ctrl-C reaches this command
//! only. It stops all of them and waits until they are gone.

mod layout;
mod member;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use synod_client::Endpoint;
use synod_model::ReplicaId;
use synod_wire::api::{Forming, Role};
use tokio::sync::mpsc;
use tokio::time;

use super::exit::Exit;
use super::output::{self, Output};
use super::signals::Signals;
use super::status;
use layout::PORTS;
pub(crate) use layout::{Layout, Place};
use member::MemberEvent;
pub(crate) use member::{Members, node_command, stop};

/// How often the replicas are asked whether they have a coordinator yet.
const ASK_AGAIN: Duration = Duration::from_millis(200);

pub(crate) const HELP: &str = "\
It makes a data directory for each replica (`synod init`), starts the replicas
(`synod node`), and prints for each its process and the addresses where it takes
clients and peers. A replica that ends, or is killed, is started again after a
moment. Ctrl-C or SIGTERM stops all.

The cluster can grow and shrink while it runs: the commands that it prints make
one more replica (`synod init --join`), start it, and take it in (`synod member
add`). That one runs in a terminal of its own. It is not stopped with the
others, and not started by a later `synod local --data-dir`.

Exit codes:
  0  it was stopped, and so was every replica
  1  the command could not be carried out
  2  the command line is invalid";

/// The arguments of `local`.
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// Where to keep the replicas' data, in r0, r1, ...; if an earlier `local` has made a cluster
    /// there, it is started again. By default, a temporary directory, which is removed at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How many replicas: 1, 3, 5 or 7 [default: 3, or as many as there are in DIR]
    #[arg(long, value_name = "N", value_parser = replicas)]
    pub(crate) replicas: Option<u16>,
    /// The first port. Replica N takes clients at PORT + N and its peers at PORT + 10 + N, on
    /// 127.0.0.1; 0 stands for any free ports
    #[arg(long, value_name = "PORT", default_value_t = 7100, value_parser = base_port)]
    pub(crate) base_port: u16,
}

pub(crate) async fn local(args: LocalArgs) -> anyhow::Result<Exit> {
    let mut signals = Signals::with_hangup()?;
    let is_temporary = args.data_dir.is_none();
    let (events, mut happens) = mpsc::unbounded_channel();
    let cluster = async {
        let program = env::current_exe().context("the path of this program cannot be found out")?;
        let layout = Layout::make(args.data_dir, args.replicas, args.base_port, &program).await?;
        anyhow::Ok((Members::start(&program, &layout.places, &events)?, layout))
    };
    let (members, layout) = tokio::select! {
        cluster = cluster => cluster?,
        _ = signals.next() => return Ok(Exit::Done),
    };
    let shown = show(&layout, is_temporary, &members, &mut happens, &mut signals).await;
    // However it ended, no process stays behind.
    members.stop().await;
    let removed = layout.end();
    match shown {
        Err(error) if output::is_closed(&error) => {}
        shown => shown?,
    }
    removed?;
    Ok(Exit::Done)
}

fn replicas(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        "7" => Ok(7),
        _ => Err("a local cluster begins with 1, 3, 5 or 7 replicas".to_owned()),
    }
}

fn base_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port <= u16::MAX - PORTS);
    port.ok_or_else(|| {
        format!("that is not a port, or is too high: the highest is {}", u16::MAX - PORTS)
    })
}

/// Prints what happens until a signal comes.
async fn show(
    layout: &Layout,
    is_temporary: bool,
    members: &Members,
    happens: &mut mpsc::UnboundedReceiver<MemberEvent>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut output = Output::new();
    let endpoints: Vec<_> = layout.places.iter().map(Place::endpoint).collect();
    let mut starting = BTreeMap::new();
    let ready = coordinator(&endpoints);
    let mut ready = std::pin::pin!(ready);
    let mut is_ready = false;
    output.line(heading(layout, is_temporary))?;
    loop {
        output.flush()?;
        tokio::select! {
            biased;
            _ = signals.next() => {
                output.line("stopping")?;
                return Ok(output.flush()?);
            }
            event = happens.recv() => match event {
                Some(MemberEvent::Started { place, process_id }) if starting.len() < members.count() => {
                    starting.insert(place.id, started(&place, process_id));
                    if starting.len() == members.count() {
                        starting.values().try_for_each(|line| output.line(line))?;
                    }
                }
                Some(event) => output.line(event)?,
                None => future::pending().await,
            },
            (coordinator, _) = &mut ready, if !is_ready && starting.len() == members.count() => {
                is_ready = true;
                output.line(advice(coordinator, &endpoints, members, layout))?;
            }
        }
    }
}

/// Waits until a replica coordinates. Returns its id and its endpoint.
pub(crate) async fn coordinator(endpoints: &[Endpoint]) -> (ReplicaId, Endpoint) {
    loop {
        let reports = status::ask(endpoints, Duration::from_secs(1)).await;
        for (report, endpoint) in reports.into_iter().zip(endpoints) {
            if let Some(status) = report.status
                && status.forming == Forming::Formed
                && status.role == Role::Coordinator
            {
                return (status.replica, endpoint.clone());
            }
        }
        time::sleep(ASK_AGAIN).await;
    }
}

fn heading(layout: &Layout, is_temporary: bool) -> String {
    let directory = shown(&layout.directory);
    let kept = if is_temporary { "removed at the end; --data-dir DIR keeps one" } else { "kept" };
    let count = layout.places.len();
    let replicas = if count == 1 { "replica" } else { "replicas" };
    format!(
        "{count} {replicas} in {directory}\n({kept}; log lines are in r0.log, r1.log and so on)\n"
    )
}

/// It fits 80 columns.
fn started(place: &Place, process_id: u32) -> String {
    let Place { id, client_port, peer_port, .. } = place;
    format!(
        "r{id}  process {process_id:<8} clients 127.0.0.1:{client_port:<6} peers \
         127.0.0.1:{peer_port}"
    )
}

/// What to try next.
fn advice(
    coordinator: ReplicaId,
    endpoints: &[Endpoint],
    members: &Members,
    layout: &Layout,
) -> String {
    let mut text = format!("\nready: r{coordinator} coordinates. In another terminal, try\n");
    let program = env::args_os().next().map_or_else(|| "synod".into(), PathBuf::from);
    let program = shown(&program);
    // Writing to a string cannot fail.
    for line in exports(endpoints) {
        let _ = writeln!(text, "  {line}");
    }
    for rest in ["submit hello world", "follow --from 1", "status"] {
        let _ = writeln!(text, "  {program} {rest}");
    }
    if let Some(process_id) = members.process_id(0) {
        let _ = writeln!(text, "  kill -9 {process_id}    r0 is started again after a moment");
    }
    text.push_str(&growth(&program, endpoints, layout));
    text.push_str("Ctrl-C stops all of them.");
    text
}

/// The commands that make the cluster larger and smaller.
fn growth(program: &str, endpoints: &[Endpoint], layout: &Layout) -> String {
    let Place { id, data, client_port, peer_port, .. } = &layout.next;
    let data = shown(data);
    let at = endpoints.first().map_or("", Endpoint::as_str);
    format!(
        "To grow, make one more replica, start it in a terminal of its own, and take it in:\n  \
         {program} init --join {at} --address 127.0.0.1:{peer_port} --data-dir {data}\n  \
         {program} node --data-dir {data} --listen-client 127.0.0.1:{client_port}\n  \
         {program} member add {id} ...    as `init` has printed it\n\
         To shrink, take one out:\n  \
         {program} member remove {id}\n"
    )
}

/// Commands that tell a shell the endpoints. With three on each line, they fit 80 columns.
fn exports(endpoints: &[Endpoint]) -> Vec<String> {
    let lines = endpoints.chunks(3).enumerate().map(|(index, some)| {
        let some: Vec<_> = some.iter().map(Endpoint::as_str).collect();
        let before = if index == 0 { "" } else { "$SYNOD_ENDPOINTS," };
        format!("export SYNOD_ENDPOINTS={before}{}", some.join(","))
    });
    lines.collect()
}

/// A path that can be pasted into a shell, unless it is very unusual.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains([' ', '\'', '"', '$']) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        text
    }
}
