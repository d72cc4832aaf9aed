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

use super::asked::Asked;
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
        let _watch = Watch { thread: "appender", notices: notices.clone() };
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

/// Ends the node if the thread that holds this panics. A replica of which nothing becomes durable any
/// more would be up, and of no use to anybody.
struct Watch {
    thread: &'static str,
    notices: UnboundedSender<Notice>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            let panicked = NodeError::Panicked { thread: self.thread };
            let _ = self.notices.send(Notice::Fatal(panicked));
        }
    }
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
    asked: Arc<Asked>,
    peers: Arc<Peers>,
    notices: UnboundedSender<Notice>,
) -> std::io::Result<JoinHandle<()>> {
    let (entries_max, bytes_max) = (limits.frame_entries_max, limits.frame_bytes_max);
    thread::Builder::new().name("catch-up".to_owned()).spawn(move || {
        let _watch = Watch { thread: "catch-up", notices: notices.clone() };
        while let Some(Serve { to, slots, log_starts_at, watermark }) = asked.next() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_node_and_one_that_ends_does_not() {
        let (notices, mut told) = tokio::sync::mpsc::unbounded_channel();
        let watch = Watch { thread: "appender", notices: notices.clone() };
        thread::spawn(move || drop(watch)).join().expect("it ends");
        assert!(told.try_recv().is_err());
        let watch = Watch { thread: "appender", notices };
        let thread = thread::spawn(move || {
            let _watch = watch;
            panic!("as a fault of ours would");
        });
        thread.join().expect_err("it panics");
        let notice = told.try_recv();
        let is_told =
            matches!(notice, Ok(Notice::Fatal(NodeError::Panicked { thread: "appender" })));
        assert!(is_told, "{notice:?}");
    }
}
