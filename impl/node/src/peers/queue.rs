//! The queue of frames for one peer, up to a limit.
//!
//! A sender never waits. A frame that finds no room is dropped and counted: the core expects that any
//! message may be lost, and repeats what matters. While there is no connection, every frame is
//! dropped. Otherwise a peer that comes back after an hour would first get messages of an hour ago.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::Notify;

/// The frames for one peer. One writer at a time takes them out.
#[derive(Debug)]
pub(super) struct FrameQueue {
    state: Mutex<State>,
    filled: Notify,
    bytes_max: usize,
    frames_max: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    /// The frames in the queue and those that the writer has taken and not written.
    load: QueueLoad,
    is_open: bool,
    dropped_frames: u64,
}

/// An amount of frames and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueLoad {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl FrameQueue {
    pub(super) fn new(bytes_max: usize, frames_max: usize) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), bytes_max, frames_max }
    }

    /// Adds a frame at the end, or drops it.
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

    /// Counts a frame that was dropped before it came here.
    pub(super) fn count_dropped(&self) {
        self.state().dropped_frames += 1;
    }

    /// Waits until there are frames, and takes all of them. They count for the limits until they are
    /// [written](Self::written).
    pub(super) async fn take(&self) -> TakenFrames {
        loop {
            let frames = std::mem::take(&mut self.state().waiting);
            if !frames.is_empty() {
                return TakenFrames { frames };
            }
            self.filled.notified().await;
        }
    }

    /// This much of what was taken is written.
    pub(super) fn written(&self, written: QueueLoad) {
        let load = &mut self.state().load;
        load.frames = load.frames.saturating_sub(written.frames);
        load.bytes = load.bytes.saturating_sub(written.bytes);
    }

    /// There is a connection.
    pub(super) fn open(&self) {
        self.state().is_open = true;
    }

    /// The connection has ended. What was not written is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state();
        let dropped_frames = state.dropped_frames + state.load.frames as u64;
        *state = State { dropped_frames, ..State::default() };
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().is_open
    }

    /// What waits or is being written, and how many frames were dropped so far.
    pub(super) fn load(&self) -> (QueueLoad, u64) {
        let state = self.state();
        (state.load, state.dropped_frames)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The frames that the writer has taken.
#[derive(Debug)]
pub(super) struct TakenFrames {
    frames: VecDeque<Bytes>,
}

impl TakenFrames {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The bytes that are left, from the first on, in as many slices as `room` has.
    pub(super) fn slices<'a, 'b>(&'a self, room: &'b mut [IoSlice<'a>]) -> &'b [IoSlice<'a>] {
        let count = self.frames.len().min(room.len());
        for (slice, frame) in room.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
        }
        &room[..count]
    }

    /// This many bytes are written. Returns the amount, in frames that are written whole.
    pub(super) fn advance(&mut self, mut bytes: usize) -> QueueLoad {
        let mut written = QueueLoad { frames: 0, bytes };
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

    fn load(frames: usize, bytes: usize) -> QueueLoad {
        QueueLoad { frames, bytes }
    }

    #[tokio::test]
    async fn frames_without_room_are_dropped() {
        let queue = FrameQueue::new(100, 3);
        queue.push(&frame(1));
        assert_eq!(queue.load(), (load(0, 0), 1), "nobody is connected");
        queue.open();
        queue.push(&frame(60));
        queue.push(&frame(41));
        queue.push(&frame(40));
        assert_eq!(queue.load(), (load(2, 100), 2), "it was one byte too many");
        let mut taken = queue.take().await;
        queue.push(&frame(1));
        assert_eq!(queue.load(), (load(2, 100), 3), "what is being written counts");
        queue.written(taken.advance(50));
        assert_eq!(queue.load(), (load(2, 50), 3));
        queue.written(taken.advance(50));
        assert_eq!(queue.load(), (load(0, 0), 3));
        assert!(taken.is_empty());
        for _ in 0..4 {
            queue.push(&frame(0));
        }
        assert_eq!(queue.load(), (load(3, 0), 4));
    }

    #[tokio::test]
    async fn without_a_connection_nothing_is_kept() {
        let queue = FrameQueue::new(100, 100);
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
    async fn taking_from_an_empty_queue_waits() {
        let queue = FrameQueue::new(100, 100);
        queue.open();
        let (taken, ()) = tokio::join!(queue.take(), async {
            tokio::task::yield_now().await;
            queue.push(&frame(10));
        });
        assert_eq!(taken.frames, [frame(10)]);
    }

    #[test]
    fn a_batch_goes_out_in_any_pieces() {
        let frames: Vec<Bytes> = (1..9_u8).map(|byte| vec![byte; byte.into()].into()).collect();
        let whole = frames.concat();
        for piece_bytes in 1..whole.len() {
            let mut taken = TakenFrames { frames: frames.iter().cloned().collect() };
            let (mut out, mut total) = (Vec::new(), load(0, 0));
            while !taken.is_empty() {
                let mut room = [IoSlice::new(&[]); 3];
                let slices = taken.slices(&mut room).iter().map(|slice| &slice[..]);
                let piece = slices.collect::<Vec<_>>().concat();
                let piece = &piece[..piece_bytes.min(piece.len())];
                let written = taken.advance(piece.len());
                total.frames += written.frames;
                total.bytes += written.bytes;
                out.extend(piece);
            }
            assert_eq!((out, total), (whole.clone(), load(8, whole.len())));
        }
    }
}
