//! The files and the ports of a local cluster.
//!
//! ```text
//! DIR/lock        held by the `synod local` that uses it
//! DIR/replicas    how many replicas there are; written when all of them were made
//! DIR/r0/         the data directory of replica 0
//! DIR/r0.log      the log lines of replica 0
//! ```
//!
//! Data directories are made once. Until `replicas` exists, an interrupted `local` goes on making them.
//! After that, none is ever made again: a replica whose directory was lost must not come back as if it
//! were new.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use synod_client::Endpoint;
use tempfile::TempDir;
use tokio::process::Command;

/// How many ports a cluster may use, from the base port on.
pub(super) const PORTS: u16 = 2 * PEERS_FROM;

/// The distance between the ports for clients and those for peers.
const PEERS_FROM: u16 = 10;

const REPLICAS_DEFAULT: u16 = 3;

/// The files and ports of a cluster.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) directory: PathBuf,
    pub(crate) places: Vec<Place>,
    /// Room for one more replica. Nothing is made there.
    pub(crate) next: Place,
    temporary: Option<TempDir>,
    _lock: Lock,
}

/// The lock of a directory, until this is dropped.
///
/// Closing the file would not be enough: a process that is being started has the file open too.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // If unlocking fails, closing the file is all that is left to do.
        let _ = self.0.unlock();
    }
}

/// The files and ports of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: u16,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    /// The members and where they find each other, as `synod init --peers` takes them.
    pub(crate) peers: String,
}

impl Place {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::local(self.client_port)
    }
}

impl Layout {
    /// Locks the given directory, or a temporary one, makes what is missing, and chooses the ports.
    pub(crate) async fn make(
        directory: Option<PathBuf>,
        replicas: Option<u16>,
        base_port: u16,
        program: &Path,
    ) -> anyhow::Result<Self> {
        let (directory, temporary) = if let Some(directory) = directory {
            let what = || format!("the directory {} could not be made", directory.display());
            fs::create_dir_all(&directory).with_context(what)?;
            // The path that the replicas get must not depend on the current directory.
            (fs::canonicalize(&directory).with_context(what)?, None)
        } else {
            let made = tempfile::Builder::new().prefix("synod-local-").tempdir();
            let made = made.context("a temporary directory could not be made")?;
            (made.path().to_owned(), Some(made))
        };
        // Before anything is made: not even a lock file is left in a directory that holds something else.
        if read_replicas(&directory)?.is_none() {
            check_names(&directory, replicas.unwrap_or(REPLICAS_DEFAULT))?;
        }
        let lock = lock(&directory)?;
        // Again, because another process may have changed the directory in between.
        let is_made = read_replicas(&directory)?;
        let count = is_made.or(replicas).unwrap_or(REPLICAS_DEFAULT);
        ensure!(
            replicas.is_none_or(|replicas| replicas == count),
            "{} holds a cluster of {count} replicas\n  leave --replicas out, or choose another --data-dir",
            directory.display()
        );
        let mut places = places(&directory, &ports(base_port, count)?);
        let next = places.pop().context("a cluster has room for one more replica")?;
        if is_made.is_none() {
            check_names(&directory, count)?;
            for place in &places {
                init(program, place).await?;
            }
            let made = fs::write(directory.join("replicas"), format!("{count}\n"));
            made.with_context(|| format!("{} could not be written", directory.display()))?;
        }
        Ok(Self { directory, places, next, temporary, _lock: lock })
    }

    /// Removes the directory, if it was a temporary one.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        let Some(temporary) = self.temporary else {
            return Ok(());
        };
        temporary
            .close()
            .with_context(|| format!("{} could not be removed", self.directory.display()))
    }
}

fn lock(directory: &Path) -> anyhow::Result<Lock> {
    let path = directory.join("lock");
    let lock = File::options().create(true).append(true).open(&path);
    let lock = lock.with_context(|| format!("{} could not be opened", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => bail!(
            "{} is in use by another `synod local`\n  stop that one, or choose another --data-dir",
            directory.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} could not be locked", path.display()))
        }
    }
}

/// How many replicas were made, if all of them were.
fn read_replicas(directory: &Path) -> anyhow::Result<Option<u16>> {
    let path = directory.join("replicas");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let count = text.trim().parse().ok().filter(|count| (1..PEERS_FROM).contains(count));
            let count =
                count.with_context(|| format!("{} does not hold a number", path.display()))?;
            Ok(Some(count))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} could not be read", path.display())),
    }
}

/// Checks that the directory holds only what an interrupted `local` leaves.
fn check_names(directory: &Path, count: u16) -> anyhow::Result<()> {
    let what = || format!("{} could not be read", directory.display());
    for entry in fs::read_dir(directory).with_context(what)? {
        let name = entry.with_context(what)?.file_name();
        let is_ours = name == "lock" || (0..count).any(|id| name == *format!("r{id}"));
        ensure!(
            is_ours,
            "{} holds {}, which no `synod local` has made\n  choose a directory that is empty, or does not exist",
            directory.display(),
            name.display()
        );
    }
    Ok(())
}

/// The ports of each replica, for clients and for peers, and of one more. All of them are free at this moment, except
/// that nobody looks at those of the one more, if they are not chosen here.
fn ports(base_port: u16, count: u16) -> anyhow::Result<Vec<(u16, u16)>> {
    // The listeners are kept until all ports are known, so no port is found twice.
    let mut listeners = Vec::new();
    let mut take = |offset: u16| {
        let port = if base_port == 0 { 0 } else { base_port + offset };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = listener.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "port {port} of 127.0.0.1 is in use\n  \
                 another `synod local` may be running, or a `synod node` that one left behind when it \
                 was killed;\n  stop it, or choose other ports with --base-port ({base_port} now; 0 \
                 stands for any that are free)"
            ),
            _ => anyhow::Error::new(error).context(format!("cannot listen on port {port}")),
        })?;
        let port = listener.local_addr()?.port();
        listeners.push(listener);
        anyhow::Ok(port)
    };
    let mut ports = Vec::new();
    for id in 0..count {
        ports.push((take(id)?, take(PEERS_FROM + id)?));
    }
    ports.push(match base_port {
        0 => (take(0)?, take(0)?),
        // An earlier run may have grown, and its new replica may run still.
        base_port => (base_port + count, base_port + PEERS_FROM + count),
    });
    Ok(ports)
}

fn places(directory: &Path, ports: &[(u16, u16)]) -> Vec<Place> {
    // The last one joins later, if ever.
    let members = ports.iter().enumerate().take(ports.len().saturating_sub(1));
    let peers: Vec<_> = members.map(|(id, (_, peer))| format!("{id}=127.0.0.1:{peer}")).collect();
    let peers = peers.join(",");
    (0..)
        .zip(ports)
        .map(|(id, &(client_port, peer_port))| Place {
            id,
            data: directory.join(format!("r{id}")),
            log: directory.join(format!("r{id}.log")),
            client_port,
            peer_port,
            peers: peers.clone(),
        })
        .collect()
}

/// Makes the data directory of one replica, unless it was made before.
async fn init(program: &Path, place: &Place) -> anyhow::Result<()> {
    if place.data.join("identity").exists() {
        return Ok(());
    }
    let mut command = Command::new(program);
    command.arg("init").arg("--data-dir").arg(&place.data);
    command.args(["--id", &place.id.to_string(), "--peers", &place.peers, "--cluster", "local"]);
    let made = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let made = made.with_context(|| format!("{} could not be started", program.display()))?;
    let stderr = String::from_utf8_lossy(&made.stderr);
    ensure!(
        made.status.success(),
        "the data directory of r{} could not be made ({})\n{}",
        place.id,
        made.status,
        stderr.trim_end()
    );
    Ok(())
}
