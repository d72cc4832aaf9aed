//! The threads that wait for the disk: one appends, one reads back.
//!
//! While one batch is being synced, the core's next records gather. The next batch is whatever has
//! gathered by then: one write and one `fdatasync` for all of it. So the slower the disk and the higher
//! the load, the larger the batches, and nobody has to choose a size.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use synod_model::{Entry, Message, Position, Record, SlotRange, To};
use synod_wire::Value;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use super::catch_up_queue::CatchUpQueue;
use super::shared::Counters;
use super::{NodeError, Notice};
use crate::storage::{Log, ReadError};

/// Appends records until the channel is closed, and reports up to where they are durable.
///
/// After an error the thread ends, and nothing more becomes durable: a failed sync is never retried.
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
                        // What was handed over is written, even if the replica has ended meanwhile.
                        let _ = notices.send(Notice::Synced(position));
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

/// Ends the node if the thread that holds this panics. A replica whose writes never become durable
/// would run and be of no use.
pub(super) struct Watch {
    pub(super) thread: &'static str,
    pub(super) notices: UnboundedSender<Notice>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            let panicked = NodeError::Panicked { thread: self.thread };
            let _ = self.notices.send(Notice::Fatal(panicked));
        }
    }
}

/// Waits for records, and takes all that have arrived.
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

/// How long the server waits when too many files are open. 100 ms: until then, others may be closed.
const DESCRIPTORS_PAUSE: Duration = Duration::from_millis(100);

/// Reads what peers are to be served and memory does not hold any more, and sends it, frame by frame.
///
/// While too many files are open it tries again. Any other error ends the node.
pub(super) fn spawn_server(
    read: impl Fn(SlotRange) -> Result<Vec<Entry<Value>>, ReadError> + Send + 'static,
    send: impl Fn(To, &Message<Value>) + Send + 'static,
    queue: Arc<CatchUpQueue>,
    notices: UnboundedSender<Notice>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("catch-up".to_owned()).spawn(move || {
        let _watch = Watch { thread: "catch-up", notices: notices.clone() };
        let mut is_told = false;
        while let Some(serve) = queue.next() {
            let to = serve.to;
            match read(serve.reads()) {
                Ok(entries) => {
                    is_told = false;
                    match serve.take(entries) {
                        (Some(committed), rest) if queue.sends(to, rest.clone()) => {
                            send(To::One(to), &committed);
                        }
                        // Nothing of it is to be sent yet.
                        (None, Some(rest)) => queue.retry(rest),
                        _ => {}
                    }
                }
                Err(error) if error.is_want_of_descriptors() => {
                    if !is_told {
                        warn!(peer = %to, "is not served what it lacks: {error}");
                    }
                    is_told = true;
                    thread::sleep(DESCRIPTORS_PAUSE);
                    queue.retry(serve);
                }
                // The log was cut behind a snapshot meanwhile. When the peer asks again, it is offered that.
                Err(ReadError::Gone { .. }) => {
                    let _ = notices.send(Notice::NotServed(to));
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
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use nix::errno::Errno;
    use synod_model::{
        ClusterConstants, Configuration, ConfigurationId, Content, Incarnation, Limits, PrefixHash,
        ReplicaId, SequenceNumber, Serve, Slot,
    };

    use super::*;
    use crate::disk::RealDisk;
    use crate::storage::{DataDirectory, DiskError, LogLimits, NewReplica, Preparation};

    fn failed(os_error: Errno) -> ReadError {
        let error = std::io::Error::from(os_error);
        ReadError::Disk(DiskError { doing: "open", path: "00000001.wal".into(), error })
    }

    /// The last thing that a replica writes may say why it ended.
    #[test]
    fn all_that_was_handed_over_is_written_though_nobody_listens_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("r0");
        let me = ReplicaId(0);
        let first = Configuration::new(ConfigurationId(1), vec![me]).expect("one member");
        let new = NewReplica {
            cluster_name: "alone".into(),
            constants: ClusterConstants::new(65_536, first, Limits::default())
                .expect("right limits"),
            replica: me,
            incarnation: Incarnation(1),
            log: LogLimits::default(),
            peers: [].into(),
        };
        drop(DataDirectory::init(Arc::new(RealDisk::new(&data_dir)), &new).expect("made"));
        let directory = DataDirectory::open(Arc::new(RealDisk::new(&data_dir))).expect("open");
        let recover = |found: &mut Vec<_>| {
            Log::recover(&directory, Preparation::InBackground, |record| {
                found.push(record);
                Ok::<_, Infallible>(())
            })
        };
        let log = recover(&mut Vec::new()).expect("empty");
        let fdatasyncs = log.size().fdatasyncs;
        let (records, to_append) = channel();
        let (notices, nobody) = tokio::sync::mpsc::unbounded_channel();
        drop(nobody);
        let counters = Arc::new(Counters::default());
        let appender = spawn_appender(log, to_append, notices, Arc::clone(&counters));
        let appender = appender.expect("a thread");
        let promised = |s| Record {
            watermark: Slot::ZERO,
            hash: PrefixHash::default(),
            content: Content::Promised(SequenceNumber(s)),
        };
        records.send(vec![promised(1)]).expect("it takes records");
        while counters.fdatasyncs() <= fdatasyncs {
            thread::yield_now();
        }
        records.send(vec![promised(2)]).expect("it takes more");
        drop(records);
        appender.join().expect("it ends");
        let mut found = Vec::new();
        drop(recover(&mut found).expect("a log"));
        assert_eq!(found, [promised(1), promised(2)]);
    }

    #[test]
    fn a_peer_is_served_later_if_too_many_files_are_open_and_never_from_a_broken_disk() {
        let outcomes = [
            Err(failed(Errno::EMFILE)),
            Err(failed(Errno::ENFILE)),
            Ok(vec![Entry::NoOp]),
            Err(failed(Errno::EIO)),
            Ok(vec![Entry::NoOp]),
        ];
        let outcomes = Mutex::new(outcomes.into_iter());
        let read = move |_| outcomes.lock().expect("whole").next().expect("few are asked for");
        let (told, tells) = channel();
        let send = move |to, _: &Message<Value>| told.send(to).expect("the test listens");
        let (notices, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let queue = Arc::new(CatchUpQueue::default());
        let server = spawn_server(read, send, Arc::clone(&queue), notices).expect("a thread");
        let slots = SlotRange { first: Slot(1), last: Slot(1) };
        let (log_starts_at, watermark) = (Slot(1), Slot(1));
        let to = ReplicaId(2);
        while !server.is_finished() {
            // Until it is served. The next time, the disk is found broken.
            if queue.is_idle() {
                let checkpoint = (Slot::ZERO, PrefixHash::default());
                queue.push(Serve { to, slots, checkpoint, log_starts_at, watermark });
            }
            thread::yield_now();
        }
        server.join().expect("it ends");
        assert_eq!(tells.into_iter().collect::<Vec<_>>(), [To::One(to)]);
        let notice = seen.try_recv();
        let is_told = matches!(&notice, Ok(Notice::Fatal(NodeError::Read(it))) if it.to_string().contains("os error 5"));
        assert!(is_told, "{notice:?}");
    }

    #[test]
    fn a_peer_whose_slots_were_cut_meanwhile_is_not_served_and_the_others_are() {
        let read = |slots: SlotRange| match slots.first {
            Slot(1) => Err(ReadError::Gone { slot: Slot(1), snapshot: Slot(4) }),
            _ => Ok(vec![Entry::NoOp]),
        };
        let (told, tells) = channel();
        let send = move |to, _: &Message<Value>| told.send(to).expect("the test listens");
        let (notices, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let queue = Arc::new(CatchUpQueue::default());
        let server = spawn_server(read, send, Arc::clone(&queue), notices).expect("a thread");
        for (to, slot) in [(1, 1), (2, 5)] {
            let slots = SlotRange { first: Slot(slot), last: Slot(slot) };
            let checkpoint = (Slot(slot - 1), PrefixHash::default());
            let (to, log_starts_at, watermark) = (ReplicaId(to), Slot(1), Slot(5));
            queue.push(Serve { to, slots, checkpoint, log_starts_at, watermark });
        }
        assert_eq!(tells.recv(), Ok(To::One(ReplicaId(2))));
        let notice = seen.try_recv();
        assert!(matches!(notice, Ok(Notice::NotServed(ReplicaId(1)))), "{notice:?}");
        queue.close();
        server.join().expect("it ends");
        assert!(seen.try_recv().is_err());
    }

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
