//! What waits for one peer: whole frames, up to a limit.
//!
//! Who sends never waits. What there is no room for is dropped, and counted: the core takes any
//! message to be lost now and then, and repeats what matters. While there is no connection
//! everything is dropped, or a peer that comes back after an hour would first be told what was the
//! news an hour ago.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::Notify;

/// The frames for one peer. One writer at a time takes them out.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
    bytes_max: usize,
    frames_max: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    /// What waits and what the writer has, until it is written.
    load: Load,
    is_open: bool,
    dropped_frames: u64,
}

/// An amount of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, frames_max: usize) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), bytes_max, frames_max }
    }

    /// Puts a frame behind the others, or drops it.
    pub(super) fn push(&self, frame: &Bytes) {
        let mut state = self.state();
        let bytes = state.load.bytes.saturating_add(frame.len());
        if !state.is_open || state.load.frames >= self.frames_max || bytes > self.bytes_max {
            state.dropped_frames += 1;
            return;
        }
        state.load.frames += 1;
        state.load.bytes = bytes;
        state.waiting.push_back(frame.clone());
        drop(state);
        self.filled.notify_one();
    }

    /// A frame was dropped before it came here.
    pub(super) fn count_dropped(&self) {
        self.state().dropped_frames += 1;
    }

    /// Waits until there is something, and takes all that is there. It counts for the limits until it
    /// is [written](Self::written).
    pub(super) async fn take(&self) -> Batch {
        loop {
            let frames = std::mem::take(&mut self.state().waiting);
            if !frames.is_empty() {
                return Batch { frames };
            }
            self.filled.notified().await;
        }
    }

    /// So much of what was taken is written.
    pub(super) fn written(&self, written: Load) {
        let load = &mut self.state().load;
        load.frames = load.frames.saturating_sub(written.frames);
        load.bytes = load.bytes.saturating_sub(written.bytes);
    }

    /// There is a connection.
    pub(super) fn open(&self) {
        self.state().is_open = true;
    }

    /// There is none any more. Whatever was not written is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state();
        let dropped_frames = state.dropped_frames + state.load.frames as u64;
        *state = State { dropped_frames, ..State::default() };
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().is_open
    }

    /// What waits or is being written, and how many frames were dropped so far.
    pub(super) fn load(&self) -> (Load, u64) {
        let state = self.state();
        (state.load, state.dropped_frames)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames on their way to the socket.
#[derive(Debug)]
pub(super) struct Batch {
    frames: VecDeque<Bytes>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The first of the bytes that are left, in as many pieces as there is room for.
    pub(super) fn slices<'a, 'b>(&'a self, room: &'b mut [IoSlice<'a>]) -> &'b [IoSlice<'a>] {
        let count = self.frames.len().min(room.len());
        for (slice, frame) in room.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
        }
        &room[..count]
    }

    /// So many bytes are written. Says what that comes to, in frames that are written whole.
    pub(super) fn advance(&mut self, mut bytes: usize) -> Load {
        let mut written = Load { frames: 0, bytes };
        while let Some(frame) = self.frames.front_mut() {
            if bytes < frame.len() {
                frame.advance(bytes);
                break;
            }
            bytes -= frame.len();
            self.frames.pop_front();
            written.frames += 1;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Bytes {
        vec![7; bytes].into()
    }

    fn load(frames: usize, bytes: usize) -> Load {
        Load { frames, bytes }
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_dropped() {
        let queue = Queue::new(100, 3);
        queue.push(&frame(1));
        assert_eq!(queue.load(), (load(0, 0), 1), "nobody is connected");
        queue.open();
        queue.push(&frame(60));
        queue.push(&frame(41));
        queue.push(&frame(40));
        assert_eq!(queue.load(), (load(2, 100), 2), "it was one byte too many");
        let mut batch = queue.take().await;
        queue.push(&frame(1));
        assert_eq!(queue.load(), (load(2, 100), 3), "what is being written counts");
        queue.written(batch.advance(50));
        assert_eq!(queue.load(), (load(2, 50), 3));
        queue.written(batch.advance(50));
        assert_eq!(queue.load(), (load(0, 0), 3));
        assert!(batch.is_empty());
        for _ in 0..4 {
            queue.push(&frame(0));
        }
        assert_eq!(queue.load(), (load(3, 0), 4));
    }

    #[tokio::test]
    async fn without_a_connection_nothing_is_kept() {
        let queue = Queue::new(100, 100);
        queue.open();
        queue.push(&frame(10));
        drop(queue.take().await);
        queue.push(&frame(20));
        queue.close();
        assert_eq!((queue.load(), queue.is_open()), ((load(0, 0), 2), false));
        queue.open();
        queue.push(&frame(30));
        assert_eq!(queue.take().await.frames, [frame(30)]);
    }

    #[tokio::test]
    async fn whoever_takes_waits_for_something() {
        let queue = Queue::new(100, 100);
        queue.open();
        let (batch, ()) = tokio::join!(queue.take(), async {
            tokio::task::yield_now().await;
            queue.push(&frame(10));
        });
        assert_eq!(batch.frames, [frame(10)]);
    }

    #[test]
    fn a_batch_goes_out_in_any_pieces() {
        let frames: Vec<Bytes> = (1..9_u8).map(|byte| vec![byte; byte.into()].into()).collect();
        let whole = frames.concat();
        for piece_bytes in 1..whole.len() {
            let mut batch = Batch { frames: frames.iter().cloned().collect() };
            let (mut out, mut total) = (Vec::new(), load(0, 0));
            while !batch.is_empty() {
                let mut room = [IoSlice::new(&[]); 3];
                let slices = batch.slices(&mut room).iter().map(|slice| &slice[..]);
                let piece = slices.collect::<Vec<_>>().concat();
                let piece = &piece[..piece_bytes.min(piece.len())];
                let written = batch.advance(piece.len());
                total.frames += written.frames;
                total.bytes += written.bytes;
                out.extend(piece);
            }
            assert_eq!((out, total), (whole.clone(), load(8, whole.len())));
        }
    }
}
