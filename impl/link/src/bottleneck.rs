//! The bottleneck of one direction: which piece of which connection passes when, and when it arrives.
//!
//! It knows no socket and no clock. Times are counted from the start of the link, by the caller.
//!
//! Every connection is a *flow*. Its pieces wait in the order in which they were sent. One after another
//! passes the bottleneck, which takes as long as the rate says, and travels for as long as the delay
//! says. Of the flows that wait, the next is the one that has passed the fewest bytes: start-time fair
//! queueing (Goyal, Vin, Cheng 1996). A flow that was quiet gets no credit for it.
//!
//! A flow whose receiver does not take what has arrived is passed over, as TCP's window does.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::line::Line;

/// How much earlier than computed a piece may arrive: half of the precision of the timers, so that it is
/// early as often as late.
pub(crate) const EARLY: Duration = Duration::from_micros(500);

/// What one connection sends at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes, at most [`Line::piece_bytes`].
    Bytes(Vec<u8>),
    /// The sender has closed its direction.
    End,
    /// The connection broke at the sender.
    Reset,
}

impl Piece {
    fn bytes(&self) -> usize {
        if let Self::Bytes(bytes) = self { bytes.len() } else { 0 }
    }
}

/// A connection, at this bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowId(u64);

/// What has arrived for a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// This piece.
    Piece(Piece),
    /// A piece will arrive at this time.
    At(Duration),
    /// Nothing is on its way.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Bottleneck {
    line: Line,
    flows: BTreeMap<FlowId, Flow>,
    flows_made: u64,
    /// When the piece that passed last has passed.
    free_at: Duration,
    /// How many bytes the flow that passed last had passed before.
    virtual_time: u64,
    carried_bytes: u64,
}

#[derive(Debug, Default)]
struct Flow {
    /// Each with the time at which it was put here.
    waiting: VecDeque<(Duration, Piece)>,
    waiting_bytes: usize,
    /// Each with the time at which it arrives.
    travelling: VecDeque<(Duration, Piece)>,
    /// With what the receiver has taken and not yet written.
    travelling_bytes: usize,
    /// Since when there is room for more of it behind the bottleneck.
    open_since: Duration,
    /// In virtual time, when its last piece has passed.
    finish: u64,
}

impl Bottleneck {
    pub(crate) fn new(line: Line) -> Self {
        Self {
            line,
            flows: BTreeMap::new(),
            flows_made: 0,
            free_at: Duration::ZERO,
            virtual_time: 0,
            carried_bytes: 0,
        }
    }

    pub(crate) fn line(&self) -> Line {
        self.line
    }

    /// Changes the conditions. What has passed already arrives as it would have.
    pub(crate) fn set_line(&mut self, line: Line, now: Duration) {
        let travelling_bytes_max = self.line.travelling_bytes_max();
        for flow in self.flows.values_mut() {
            if flow.travelling_bytes >= travelling_bytes_max {
                flow.open_since = now;
            }
        }
        self.line = line;
        // At a very low rate, one piece may have taken the bottleneck for long.
        self.free_at = self.free_at.min(now + line.time_of(line.piece_bytes()));
    }

    /// How many bytes have passed.
    pub(crate) fn carried_bytes(&self) -> u64 {
        self.carried_bytes
    }

    pub(crate) fn add_flow(&mut self, now: Duration) -> FlowId {
        let id = FlowId(self.flows_made);
        self.flows_made += 1;
        self.flows.insert(id, Flow { open_since: now, ..Flow::default() });
        id
    }

    /// Forgets a flow, with everything that is on its way.
    pub(crate) fn remove_flow(&mut self, id: FlowId) {
        self.flows.remove(&id);
    }

    /// How many bytes the next piece of a flow may have. 0: it has to wait.
    pub(crate) fn room(&self, id: FlowId) -> usize {
        let is_full = |flow: &Flow| flow.waiting_bytes >= self.line.waiting_bytes_max();
        if self.flows.get(&id).is_none_or(is_full) { 0 } else { self.line.piece_bytes() }
    }

    pub(crate) fn put(&mut self, id: FlowId, piece: Piece, now: Duration) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.waiting_bytes += piece.bytes();
            flow.waiting.push_back((now, piece));
        }
    }

    /// Lets pass what can begin to pass by now. Returns whose pieces these are.
    pub(crate) fn advance(&mut self, now: Duration) -> Vec<FlowId> {
        let mut passed = Vec::new();
        while let Some((id, start)) = self.next_start()
            && start <= now
        {
            self.pass(id, start);
            if !passed.contains(&id) {
                passed.push(id);
            }
        }
        passed
    }

    /// Which flow passes next, and when it can begin.
    ///
    /// A caller that is late gets a time in the past. So the rate is kept though timers are late.
    pub(crate) fn next_start(&self) -> Option<(FlowId, Duration)> {
        let travelling_bytes_max = self.line.travelling_bytes_max();
        let ready = self.flows.iter().filter_map(|(&id, flow)| {
            let (since, _) = flow.waiting.front()?;
            let is_open = flow.travelling_bytes < travelling_bytes_max;
            let start = (*since).max(flow.open_since).max(self.free_at);
            is_open.then_some((start, flow.finish.max(self.virtual_time), id))
        });
        // Who can begin first comes first; of those that wait for the bottleneck, the one that is behind.
        ready.min().map(|(start, _, id)| (id, start))
    }

    fn pass(&mut self, id: FlowId, start: Duration) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let Some((_, piece)) = flow.waiting.pop_front() else {
            return;
        };
        let bytes = piece.bytes();
        let virtual_start = flow.finish.max(self.virtual_time);
        self.virtual_time = virtual_start;
        flow.finish = virtual_start + bytes as u64;
        self.free_at = start + self.line.time_of(bytes);
        self.carried_bytes += bytes as u64;
        flow.waiting_bytes -= bytes;
        flow.travelling_bytes += bytes;
        flow.travelling.push_back((self.free_at + self.line.delay, piece));
    }

    /// Takes what has arrived of a flow. Its bytes count as travelling until they are [written](Self::written).
    pub(crate) fn take(&mut self, id: FlowId, now: Duration) -> Arrival {
        let Some(flow) = self.flows.get_mut(&id) else {
            return Arrival::Nothing;
        };
        match flow.travelling.pop_front() {
            Some((at, piece)) if at <= now + EARLY => Arrival::Piece(piece),
            Some((at, piece)) => {
                flow.travelling.push_front((at, piece));
                Arrival::At(at)
            }
            None => Arrival::Nothing,
        }
    }

    /// The receiver of a flow has so many bytes.
    pub(crate) fn written(&mut self, id: FlowId, bytes: usize, now: Duration) {
        let travelling_bytes_max = self.line.travelling_bytes_max();
        if let Some(flow) = self.flows.get_mut(&id) {
            let was_closed = flow.travelling_bytes >= travelling_bytes_max;
            flow.travelling_bytes -= bytes;
            if was_closed && flow.travelling_bytes < travelling_bytes_max {
                flow.open_since = now;
            }
        }
    }
}

#[cfg(test)]
mod tests;
