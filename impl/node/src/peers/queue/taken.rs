//! The frames that a writer has taken out of a queue, and their way into a socket.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Buf;
use tokio::time::Instant;

use super::{QueueLoad, Queued};

/// The frames that the writer has taken.
#[derive(Debug)]
pub(in crate::peers) struct TakenFrames {
    frames: VecDeque<Queued>,
    is_catch_up: bool,
    has_carried: bool,
}

impl TakenFrames {
    pub(super) fn new(frames: VecDeque<Queued>, is_catch_up: bool) -> Self {
        Self { frames, is_catch_up, has_carried: false }
    }

    pub(in crate::peers) fn is_catch_up(&self) -> bool {
        self.is_catch_up
    }

    /// Since when the first frame waits that is not written.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.frames.front().map(|queued| queued.since)
    }

    pub(in crate::peers) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a message is written, or a piece of one.
    pub(in crate::peers) fn has_carried(&self) -> bool {
        self.has_carried
    }

    /// The bytes that are left, from the first on, in as many slices as `room` has.
    pub(in crate::peers) fn slices<'a, 'b>(
        &'a self,
        room: &'b mut [IoSlice<'a>],
    ) -> &'b [IoSlice<'a>] {
        let count = self.frames.len().min(room.len());
        for (slice, queued) in room.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(&queued.frame);
        }
        &room[..count]
    }

    /// This many bytes are written. Returns the amount, in frames that are written whole.
    pub(in crate::peers) fn advance(&mut self, mut bytes: usize) -> QueueLoad {
        let mut written = QueueLoad { frames: 0, bytes };
        while let Some(queued) = self.frames.front_mut() {
            if bytes < queued.frame.len() {
                queued.frame.advance(bytes);
                break;
            }
            bytes -= queued.frame.len();
            self.has_carried |= queued.is_message;
            self.frames.pop_front();
            written.frames += 1;
        }
        written
    }
}
