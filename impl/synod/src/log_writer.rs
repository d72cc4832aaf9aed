//! A writer for log lines that never waits for their reader.
//!
//! A pipe that nobody reads takes 64 KiB, and then a process that writes to it waits. A node does
//! everything on one thread, which must never wait for a reader. So lines go into a queue, and a thread
//! of its own writes them. Lines that find no room are left out, and as soon as there is room again, a
//! line says how many.

use std::io::{self, Write};
use std::mem::take;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many bytes of lines may wait for the reader. More are left out. Default 1 MiB: some thousand
/// lines, more than a healthy node logs in a day.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long the reader may take for the last lines when the process ends. Default 1 s: an active reader
/// has read them long before, and any other must not delay the end of the process.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);

/// Takes lines, and never waits. A clone is another handle on the same queue.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// How many lines found no room since that was last reported.
    left_out: u64,
    is_writing: bool,
}

impl Waiting {
    fn is_written(&self) -> bool {
        self.lines.is_empty() && !self.is_writing
    }
}

impl LogWriter {
    /// Starts the thread that writes to `output`. Once there is room again, it calls `report_left_out`
    /// with the number of lines that were left out.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        report_left_out: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let log_writer = Self(Arc::default());
        let queue = Arc::clone(&log_writer.0);
        let thread = thread::Builder::new().name("log writer".to_owned());
        thread.spawn(move || queue.write_to(output, report_left_out))?;
        Ok(log_writer)
    }

    /// Adds the last lines, and waits until everything is written, for [`LAST_LINES_MAX`] at most.
    /// Returns whether everything was written.
    pub(crate) fn end_with(&self, text: &str) -> bool {
        let mut waiting = self.0.lock();
        // In any case, however much waits: these lines say why the process ends.
        waiting.lines.extend_from_slice(text.as_bytes());
        self.0.changed.notify_all();
        let written =
            self.0.changed.wait_timeout_while(waiting, LAST_LINES_MAX, |it| !it.is_written());
        written.unwrap_or_else(PoisonError::into_inner).0.is_written()
    }
}

/// One write is one line or several. It is taken whole or not at all.
impl Write for LogWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + lines.len() > WAITING_BYTES_MAX {
            waiting.left_out += 1;
        } else {
            waiting.lines.extend_from_slice(lines);
            self.0.changed.notify_all();
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    fn write_to(&self, mut output: impl Write, report_left_out: impl Fn(u64)) {
        loop {
            let waiting = self.lock();
            let waiting = self.changed.wait_while(waiting, |it| it.lines.is_empty());
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let (lines, left_out) = (take(&mut waiting.lines), take(&mut waiting.left_out));
            waiting.is_writing = true;
            drop(waiting);
            // Reported now, while there is certainly room. The report follows these lines.
            if left_out > 0 {
                report_left_out(left_out);
            }
            // If the reader is gone, nobody is left to report that to.
            let _ = output.write_all(&lines).and_then(|()| output.flush());
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// A thread that panicked while it held the lock cannot have left a partial change: each change is
    /// one call.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes nothing before it is told how much.
    struct Stalled {
        wakes: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Stalled {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            let _ = self.wakes.recv();
            let _ = self.read.send(lines.to_vec());
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_delays_nobody_and_learns_how_much_it_has_missed() {
        let ((wake, wakes), (read, reads)) = (channel(), channel());
        let (left_out, reported) = channel();
        let report_left_out = move |lines| left_out.send(lines).expect("the test listens");
        let mut log_writer =
            LogWriter::start(Stalled { wakes, read }, report_left_out).expect("a thread");
        let line = [b'x'; 1024];
        // The thread waits for the reader with one line, or with all that it found.
        log_writer.write_all(&line).expect("never fails");
        while !log_writer.0.lock().is_writing {
            thread::yield_now();
        }
        let room = WAITING_BYTES_MAX / line.len();
        for _ in 0..room + 7 {
            log_writer.write_all(&line).expect("never fails");
        }
        assert!(!log_writer.end_with("the end\n"), "nobody has read it");
        assert!(reported.try_recv().is_err(), "there is no room yet");

        drop(wake);
        let mut text = Vec::new();
        while !text.ends_with(b"the end\n") {
            text.extend(reads.recv().expect("it is written"));
        }
        assert_eq!(text.len(), (room + 1) * line.len() + "the end\n".len());
        assert_eq!(reported.recv(), Ok(7));
        assert!(log_writer.end_with(""), "all is read");
    }
}
