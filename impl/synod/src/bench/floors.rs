//! Floors: what no node can be faster than, measured on the same machine in the same run.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use synod_client::Endpoint;
use tokio::task;

/// How many samples a measurement takes: 2,000, or as many as fit into 2 s.
pub(super) const SAMPLES_MAX: u64 = 2_000;
const SAMPLING_MAX: Duration = Duration::from_secs(2);

/// The length of a batch with one small value on the disk.
pub(super) const BATCH_BYTES: usize = 4096;

/// How many bytes a round trip on loopback carries each way.
pub(super) const MESSAGE_BYTES: usize = 256;

/// Whether the directory is in memory, so that syncing costs nothing.
pub(super) fn is_in_memory(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|it| it.filesystem_type() == TMPFS_MAGIC)
}

/// How long one fdatasync of one batch takes in the directory. The file is filled with zeros before, as
/// a segment of the log is.
pub(super) async fn fdatasync(directory: &Path) -> anyhow::Result<Duration> {
    let path = directory.join("fdatasync-floor");
    let measured = task::spawn_blocking({
        let path = path.clone();
        move || {
            let file = zeros(&path)?;
            let batch = [0xa5; BATCH_BYTES];
            median(|sample| {
                file.write_all_at(&batch, sample * batch.len() as u64)?;
                file.sync_data()
            })
        }
    });
    let measured = measured.await?;
    let removed = fs::remove_file(&path);
    let what = || format!("an fdatasync in {} could not be measured", directory.display());
    let measured = measured.with_context(what)?;
    removed.with_context(|| format!("{} could not be removed", path.display()))?;
    Ok(measured)
}

/// A new file of zeros, with room for a batch for each sample.
pub(super) fn zeros(path: &Path) -> std::io::Result<File> {
    let mut file = File::create_new(path)?;
    for _ in 0..SAMPLES_MAX {
        file.write_all(&[0; BATCH_BYTES])?;
    }
    file.sync_all()?;
    Ok(file)
}

/// How long a message takes to another process and back.
pub(super) async fn round_trip(endpoint: &Endpoint) -> anyhow::Result<Duration> {
    let endpoint = endpoint.to_string();
    let measured = task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(endpoint)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SAMPLING_MAX))?;
        let mut message = [0xa5; MESSAGE_BYTES];
        median(|_| {
            socket.write_all(&message)?;
            socket.read_exact(&mut message)
        })
    });
    measured.await?.context("a round trip could not be measured")
}

/// How long `it` takes: the median of the samples.
fn median(mut it: impl FnMut(u64) -> std::io::Result<()>) -> std::io::Result<Duration> {
    let began = Instant::now();
    let mut samples = Vec::new();
    for sample in 0..SAMPLES_MAX {
        let before = Instant::now();
        it(sample)?;
        samples.push(before.elapsed());
        if began.elapsed() > SAMPLING_MAX {
            break;
        }
    }
    samples.sort_unstable();
    Ok(samples[samples.len() / 2])
}
