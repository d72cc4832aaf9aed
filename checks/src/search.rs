//! Watching a search until it ends, and saying how it ended.
//!
//! stateright's `is_done()` is true also of a search that was stopped, or whose threads panicked. So
//! it is not asked: the threads are, one by one. Only where each of them came back by itself, nobody
//! stopped them, and nothing that was found made them stop, has the frontier been emptied.

use std::any::Any;
use std::time::{Duration, Instant};

use stateright::{Checker, Model};

use crate::interrupt::Interrupt;
use crate::memory::{MemoryLimit, PeakMemory};

/// How often the threads are looked at, so that a small search is not kept waiting, ...
const POLL: Duration = Duration::from_millis(5);
/// ... and every how many looks the memory is read and progress is shown.
const POLLS_A_TICK: u32 = 10;

/// What can end a search before its time.
#[derive(Clone, Debug)]
pub struct SearchLimits {
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// Too much memory.
    pub memory: MemoryLimit,
    /// Too much time.
    pub deadline: Option<Instant>,
}

/// Why a search ended before its frontier was empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// By Ctrl-C.
    Interrupted,
    /// At the memory limit.
    Memory,
    /// At the deadline.
    Deadline,
    /// A thread of the checker panicked, and said this.
    Panicked(String),
}

impl SearchLimits {
    fn exceeded(&self) -> Option<StopReason> {
        if self.interrupt.is_set() {
            Some(StopReason::Interrupted)
        } else if self.memory.is_exceeded() {
            Some(StopReason::Memory)
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some(StopReason::Deadline)
        } else {
            None
        }
    }
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SearchProgress {
    /// How many unique states it has met.
    pub unique_states: u64,
    /// How many transitions it has taken.
    pub transitions: u64,
    /// The length, in states, of the longest path that it has taken.
    pub max_depth: u64,
    /// For how long it has run.
    pub elapsed: Duration,
    /// How much memory the process holds now.
    pub held: Option<u64>,
}

/// How a search went.
#[derive(Debug)]
pub struct SearchEnd {
    /// Why it ended early; none if all of its threads ended by themselves.
    pub stopped: Option<StopReason>,
    /// How far it came.
    pub progress: SearchProgress,
    /// The most memory that the process held meanwhile.
    pub peak: Option<u64>,
}

/// Waits until `checker` has ended; asks it to, by `stop`, when a bound is exceeded. Meanwhile shows
/// how far it is.
pub fn watch<M: Model, C: Checker<M>>(
    checker: &mut C,
    limits: &SearchLimits,
    stop: impl Fn(&C),
    mut show: impl FnMut(&SearchProgress),
) -> SearchEnd {
    let start = Instant::now();
    let mut peak = PeakMemory::begin();
    let mut stopped = None;
    let threads = checker.handles();
    let initial = checker.model().init_states().len() as u64;
    let progress = |checker: &C, held| SearchProgress {
        unique_states: checker.unique_state_count() as u64,
        transitions: (checker.state_count() as u64).saturating_sub(initial),
        max_depth: checker.max_depth() as u64,
        elapsed: start.elapsed(),
        held,
    };
    let mut polls = 0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        if polls % POLLS_A_TICK == 0 {
            show(&progress(checker, peak.look()));
            if stopped.is_none()
                && let Some(reason) = limits.exceeded()
            {
                stop(checker);
                stopped = Some(reason);
            }
        }
        polls += 1;
        std::thread::sleep(POLL);
    }
    for thread in threads {
        if let Err(payload) = thread.join() {
            stopped = Some(StopReason::Panicked(said(payload.as_ref())));
        }
    }
    let progress = progress(checker, peak.look());
    show(&progress);
    SearchEnd { stopped, progress, peak: peak.end() }
}

/// What a panic said.
fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
