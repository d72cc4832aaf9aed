//! The queue of frames for one connection to a peer.
//!
//! A sender never waits. It is told by an [event](super::PeerEvent::Full) when too much waits, or waits
//! for too long, so that it can hold back what need not be sent yet. If it goes on all the same, the queue
//! reaches a limit, and overflows: its connection is closed. A frame that was dropped on its own would be
//! missed by neither end, and what it said would be repeated late. Both ends notice the end of a
//! connection.
//!
//! While there is no connection, every frame is dropped. Otherwise a peer that comes back after an hour
//! would first get messages of an hour ago.
//!
//! Catch-up has a place of its own. It is taken out one frame at a time, when nothing else waits.

mod taken;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::envelope::Encoded;
use super::error::Overflow;
use super::lane::Traffic;
use super::limits::{
    CATCH_UP_LEFT_BYTES, DRAINED_BYTES, FRAME_OVERHEAD_BYTES, FULL_AFTER, FULL_BYTES,
};
use super::news::News;
pub(super) use taken::TakenFrames;

/// The frames for one connection. One writer at a time takes them out.
#[derive(Debug)]
pub(super) struct FrameQueue {
    state: Mutex<State>,
    filled: Notify,
    overflowed: Notify,
    limits: QueueLimits,
}

/// What a queue may hold.
#[derive(Clone, Debug)]
pub(super) struct QueueLimits {
    /// For everything but catch-up.
    pub(super) bytes_max: usize,
    pub(super) catch_up_bytes_max: usize,
    /// How long a frame may wait, catch-up excepted.
    pub(super) age_max: Option<Duration>,
    /// Who is told when the queue is full, and when it has drained.
    pub(super) tells: Option<Arc<News>>,
}

#[derive(Debug, Default)]
struct State {
    ordinary: Frames,
    catch_up: Frames,
    /// Since when the oldest frame waits that the writer has taken and not written. Not for catch-up.
    writing_since: Option<Instant>,
    is_full: bool,
    /// Whether catch-up was added since the replica was told that little of it waits.
    owes_catch_up_left: bool,
    is_open: bool,
    overflow: Option<Overflow>,
    dropped_frames: u64,
}

#[derive(Debug, Default)]
struct Frames {
    waiting: VecDeque<Queued>,
    /// The frames that wait, and those that the writer has taken and not written.
    load: QueueLoad,
}

/// A frame, and since when it waits.
#[derive(Clone, Debug)]
struct Queued {
    frame: Bytes,
    since: Instant,
    is_message: bool,
}

/// An amount of frames and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueLoad {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl QueueLoad {
    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn subtract(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_sub(other.frames),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// What it costs, for limits.
    fn cost_bytes(self) -> usize {
        self.bytes.saturating_add(self.frames.saturating_mul(FRAME_OVERHEAD_BYTES))
    }
}

impl Frames {
    fn push(&mut self, frame: &Bytes, since: Instant, is_message: bool) {
        self.load = self.load.add(QueueLoad { frames: 1, bytes: frame.len() });
        self.waiting.push_back(Queued { frame: frame.clone(), since, is_message });
    }

    fn push_front(&mut self, frame: &Bytes, since: Instant) {
        self.load = self.load.add(QueueLoad { frames: 1, bytes: frame.len() });
        self.waiting.push_front(Queued { frame: frame.clone(), since, is_message: false });
    }
}

impl State {
    /// Since when the oldest frame waits, catch-up excepted.
    fn oldest(&self) -> Option<Instant> {
        self.writing_since.or_else(|| self.ordinary.waiting.front().map(|queued| queued.since))
    }

    fn load(&self) -> QueueLoad {
        self.ordinary.load.add(self.catch_up.load)
    }

    /// Drops everything.
    fn close(&mut self, overflow: Option<Overflow>) {
        *self = Self {
            dropped_frames: self.dropped_frames + self.load().frames as u64,
            overflow,
            // What was told stays so until messages pass again.
            is_full: self.is_full,
            ..Self::default()
        };
    }
}

impl FrameQueue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        let (filled, overflowed) = (Notify::new(), Notify::new());
        Self { state: Mutex::default(), filled, overflowed, limits }
    }

    /// Adds the frames of a message, or drops all of them.
    pub(super) fn push(&self, message: &Encoded, now: Instant) {
        let mut state = self.state();
        if !state.is_open {
            state.dropped_frames += 1;
            return;
        }
        let (queue, bytes_max) = match message.traffic {
            Traffic::CatchUp => (&mut state.catch_up, self.limits.catch_up_bytes_max),
            Traffic::Control | Traffic::Bulk => (&mut state.ordinary, self.limits.bytes_max),
        };
        for frame in message.frames() {
            queue.push(frame, now, true);
        }
        state.owes_catch_up_left |= message.traffic == Traffic::CatchUp;
        let queue = match message.traffic {
            Traffic::CatchUp => &state.catch_up,
            Traffic::Control | Traffic::Bulk => &state.ordinary,
        };
        if queue.load.cost_bytes() > bytes_max {
            self.overflow(state, Overflow::Bytes { bytes_max });
            return;
        }
        self.look(state, now);
        self.filled.notify_one();
    }

    /// Adds a frame of the transport itself, which is no message.
    pub(super) fn push_own(&self, frame: &Bytes, now: Instant) {
        let mut state = self.state();
        if state.is_open {
            state.ordinary.push(frame, now, false);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Adds the frame that says that messages pass, before all that wait: its receiver repeats what may be
    /// lost, and should not do so late.
    pub(super) fn push_open(&self, frame: &Bytes, now: Instant) {
        let mut state = self.state();
        if state.is_open {
            // As old as what it overtakes, so that ages do not ascend.
            let since = state.ordinary.waiting.front().map_or(now, |oldest| oldest.since);
            state.ordinary.push_front(frame, since);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Counts a message that was dropped before it came here.
    pub(super) fn count_dropped(&self) {
        self.state().dropped_frames += 1;
    }

    /// Waits until there are frames, and takes all of them; of catch-up one, and only if there is nothing
    /// else. They count for the limits until they are [written](Self::written).
    pub(super) async fn take(&self) -> TakenFrames {
        loop {
            if let Some(taken) = self.try_take() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn try_take(&self) -> Option<TakenFrames> {
        let mut state = self.state();
        if state.ordinary.waiting.is_empty() {
            let piece = state.catch_up.waiting.pop_front()?;
            return Some(TakenFrames::new(VecDeque::from([piece]), true));
        }
        let frames = std::mem::take(&mut state.ordinary.waiting);
        let taken = TakenFrames::new(frames, false);
        state.writing_since = taken.oldest();
        Some(taken)
    }

    /// Waits until a frame was added since this or [`take`](Self::take) was called last.
    pub(super) async fn added(&self) {
        self.filled.notified().await;
    }

    /// This much of `taken` is written since this was called last.
    pub(super) fn written(&self, written: QueueLoad, taken: &TakenFrames, now: Instant) {
        let mut state = self.state();
        if !state.is_open {
            // It has overflowed, and all of it counts as dropped.
            return;
        }
        if taken.is_catch_up() {
            state.catch_up.load = state.catch_up.load.subtract(written);
        } else {
            state.ordinary.load = state.ordinary.load.subtract(written);
            state.writing_since = taken.oldest();
        }
        self.look(state, now);
    }

    /// Looks whether something waits for too long. Returns when to look again, if nothing is written
    /// until then.
    pub(super) fn look_at_age(&self, now: Instant) -> Option<Instant> {
        let state = self.state();
        if state.is_open { self.look(state, now) } else { None }
    }

    /// Compares the state with the limits. Returns when the oldest frame reaches the next one.
    fn look(&self, mut state: MutexGuard<'_, State>, now: Instant) -> Option<Instant> {
        let oldest = state.oldest();
        let age = oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest));
        if let Some(age_max) = self.limits.age_max
            && age > age_max
        {
            self.overflow(state, Overflow::Age { age_max });
            return None;
        }
        let news = self.limits.tells.as_ref()?;
        if state.owes_catch_up_left && state.catch_up.load.bytes < CATCH_UP_LEFT_BYTES {
            state.owes_catch_up_left = false;
            news.catch_up_left();
        }
        let cost_bytes = state.ordinary.load.cost_bytes();
        let is_full = if state.is_full {
            cost_bytes >= DRAINED_BYTES || age >= FULL_AFTER
        } else {
            cost_bytes >= FULL_BYTES || age >= FULL_AFTER
        };
        if state.is_full != is_full {
            state.is_full = is_full;
            news.set_full(is_full);
        }
        if is_full { None } else { oldest.map(|oldest| oldest + FULL_AFTER) }
    }

    /// There is a connection. The replica is told of it. Returns its number.
    pub(super) fn open(&self, news: &News, now: Instant) -> u64 {
        let mut state = self.state();
        state.is_open = true;
        state.overflow = None;
        if self.limits.tells.is_some() {
            news.catch_up_lost();
        }
        let number = news.reconnected();
        self.look(state, now);
        number
    }

    /// The connection has ended. What was not written is dropped.
    pub(super) fn close(&self) {
        self.state().close(None);
    }

    fn overflow(&self, mut state: MutexGuard<'_, State>, overflow: Overflow) {
        state.close(Some(overflow));
        drop(state);
        self.overflowed.notify_one();
    }

    /// Waits until the queue overflows. It is closed then.
    pub(super) async fn overflowed(&self) -> Overflow {
        loop {
            if let Some(overflow) = self.state().overflow {
                return overflow;
            }
            self.overflowed.notified().await;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().is_open
    }

    /// What waits or is being written, and how many frames were dropped so far.
    pub(super) fn load(&self) -> (QueueLoad, u64) {
        let state = self.state();
        (state.load(), state.dropped_frames)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
