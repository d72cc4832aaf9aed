//! What no node can be faster than, measured on the same machine in the same run.

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

use super::load::microseconds;

/// How many times something is done to know how long it takes: 2,000 times, or for 2 s.
pub(super) const SAMPLES_MAX: u64 = 2_000;
const SAMPLING_MAX: Duration = Duration::from_secs(2);

/// What a batch of one small value takes on the disk.
pub(super) const BATCH_BYTES: usize = 4096;

/// How many bytes a loopback round trip carries each way.
pub(super) const MESSAGE_BYTES: usize = 256;

/// Whether what is written to the directory stays in memory, so that syncing it costs nothing.
pub(super) fn is_in_memory(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|it| it.filesystem_type() == TMPFS_MAGIC)
}

/// How long one fdatasync of one batch takes in the directory, in microseconds. The file is
/// written with zeros before, as a segment of the log is.
pub(super) async fn fdatasync_us(directory: &Path) -> anyhow::Result<f64> {
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

/// A new file, written with zeros, with room for a batch for each sample.
pub(super) fn zeros(path: &Path) -> std::io::Result<File> {
    let mut file = File::create_new(path)?;
    for _ in 0..SAMPLES_MAX {
        file.write_all(&[0; BATCH_BYTES])?;
    }
    file.sync_all()?;
    Ok(file)
}

/// How long a message takes to a process that sends one back, in microseconds.
pub(super) async fn round_trip_us(endpoint: &Endpoint) -> anyhow::Result<f64> {
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

/// How long something takes, in microseconds: the median, as it is given of the runs.
fn median(mut it: impl FnMut(u64) -> std::io::Result<()>) -> std::io::Result<f64> {
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
    Ok(microseconds(samples[samples.len() / 2]))
}
