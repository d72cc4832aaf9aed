//! The threads that wait for the disk: one appends, one reads back.
//!
//! While one batch is being synced, the core's next records gather. Whatever has gathered by then
//! goes into the next batch: one write and one `fdatasync` for all of it. So the slower the disk and
//! the higher the load, the larger the batches, and nobody has to choose a size.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};
use std::thread::{self, JoinHandle};

use synod_model::{Limits, Message, Position, Record, Serve, To};
use tokio::sync::mpsc::UnboundedSender;

use super::shared::Counters;
use super::{NodeError, Notice};
use crate::peers::Peers;
use crate::storage::{Log, LogReader};
use crate::value::Value;

/// Appends records until nobody sends any more, and says up to where they are durable.
///
/// After an error it ends, and nothing more becomes durable: a failed sync is never retried.
pub(super) fn spawn_appender(
    mut log: Log,
    records: Receiver<Vec<Record<Value>>>,
    notices: UnboundedSender<Notice>,
    counters: Arc<Counters>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("appender".to_owned()).spawn(move || {
        let mut position = Position(0);
        let mut gathered: Vec<Record<Value>> = Vec::new();
        while let Ok(()) = gather(&records, &mut gathered) {
            let mut rest = &gathered[..];
            while !rest.is_empty() {
                match log.append(rest) {
                    Ok(taken) => {
                        rest = &rest[taken..];
                        position.0 += taken as u64;
                        counters.note(&log);
                        if notices.send(Notice::Synced(position)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = notices.send(Notice::Fatal(NodeError::Append(error)));
                        return;
                    }
                }
            }
            gathered.clear();
        }
    })
}

/// Waits for records, and takes all that are there.
fn gather(
    records: &Receiver<Vec<Record<Value>>>,
    gathered: &mut Vec<Record<Value>>,
) -> Result<(), RecvError> {
    gathered.append(&mut records.recv()?);
    loop {
        match records.try_recv() {
            Ok(mut more) => gathered.append(&mut more),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// Reads what lagging peers ask for and is no longer in memory, and sends it.
pub(super) fn spawn_server(
    reader: LogReader,
    limits: &Limits,
    asked: Receiver<Serve>,
    peers: Arc<Peers>,
    notices: UnboundedSender<Notice>,
) -> std::io::Result<JoinHandle<()>> {
    let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
    thread::Builder::new().name("catch-up".to_owned()).spawn(move || {
        while let Ok(Serve { to, slots, log_starts_at, watermark }) = asked.recv() {
            match reader.read(slots, entries_max, bytes_max) {
                Ok(entries) => {
                    let first = slots.first;
                    let committed = Message::Committed { log_starts_at, first, entries, watermark };
                    peers.send(To::One(to), &committed);
                }
                Err(error) => {
                    let _ = notices.send(Notice::Fatal(NodeError::Read(error)));
                    return;
                }
            }
        }
    })
}
