//! The application: the paper's callback.
//!
//! A callback may take its time, so it has a thread of its own. The replica goes on meanwhile: it
//! promises, acknowledges and commits, until [`WAITING_BATCHES_MAX`] batches of deliveries wait; then
//! it waits too, and the others go on without it. An application that is
//! [immediate](Application::is_immediate) is called by the task of the replica itself, which saves
//! two changes of thread for each batch.
//!
//! A client of this replica hears that its value was delivered after the callback has had it here. So
//! who submits, and then looks at the application, finds it there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use synod_model::{Delivered, Slot};
use synod_wire::Value;
use synod_wire::api::{Delivery, SubmitError};
use tokio::sync::mpsc;

use super::disk::Watch;
use super::{NodeError, Notice, SubmitReply};

/// How many batches of deliveries wait for the application. A batch is what one round of events has
/// led to, so it has at most some frames of entries, whose values are in memory anyway for a while.
const WAITING_BATCHES_MAX: usize = 64;

/// What a replicated log is for: it is told every entry, on every replica, in the same order.
///
/// Two replicas whose applications do the same thing with the same entries are in the same state.
/// So a callback must depend on nothing else: no clock, no random numbers, no order of a hash table.
pub trait Application: Send + 'static {
    /// The next entry is committed. Slots come in order, without gaps, from [`applied`](Self::applied)
    /// + 1 on.
    ///
    /// The log may hold a request twice, where a client has retried, and holds entries that are no
    /// client's. [`Delivery::first_value`] is what to act on.
    fn deliver(&mut self, delivery: Delivery);

    /// The last slot that it has already, from a run before; asked once, at the start. Slot 0, as
    /// here, for an application that keeps everything in memory: it is told all of the log again.
    fn applied(&self) -> Slot {
        Slot::ZERO
    }

    /// Whether a callback never waits for anything and is over within microseconds; asked once, at
    /// the start. Then it may run where the replica does, which does nothing else meanwhile, and
    /// values are answered sooner. No, as here, unless it says so.
    fn is_immediate(&self) -> bool {
        false
    }
}

/// For a replica whose log is all that is wanted: whoever follows it reads it from there.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoApplication;

impl Application for NoApplication {
    fn deliver(&mut self, _delivery: Delivery) {}

    fn is_immediate(&self) -> bool {
        true
    }
}

impl<F: FnMut(Delivery) + Send + 'static> Application for F {
    fn deliver(&mut self, delivery: Delivery) {
        self(delivery);
    }
}

/// Deliveries, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) delivered: Vec<Delivered<Value>>,
    /// Each is answered once the application has the slot that it is given with.
    pub(super) answers: Vec<(Slot, SubmitReply, Result<Slot, SubmitError>)>,
}

pub(super) fn to_delivery(delivered: Delivered<Value>) -> Delivery {
    let Delivered { slot, entry, verdict } = delivered;
    Delivery { slot, entry, verdict }
}

/// Where deliveries go.
pub(super) enum Deliverer {
    Immediate(Box<dyn Application>),
    Thread(mpsc::Sender<Batch>),
}

impl Deliverer {
    /// Starts the thread of the application, if it is to have one.
    pub(super) fn start<A: Application>(
        application: A,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> std::io::Result<(Self, Option<JoinHandle<()>>)> {
        if application.is_immediate() {
            return Ok((Self::Immediate(Box::new(application)), None));
        }
        let (batches, to_apply) = mpsc::channel(WAITING_BATCHES_MAX);
        let thread = spawn(application, to_apply, notices)?;
        Ok((Self::Thread(batches), Some(thread)))
    }

    /// Has the application take in a batch. Says up to which slot it has everything, if it has it
    /// now; the thread says so later.
    pub(super) async fn take(&mut self, batch: Batch) -> Result<Option<Slot>, NodeError> {
        match self {
            Self::Immediate(application) => deliver(application.as_mut(), batch).map(Some),
            Self::Thread(batches) => {
                // If the thread has ended, it has told why, and at which slot, before it let go of the
                // channel: that notice is there, and ends the node. Who waits for this hears nothing.
                let _ = batches.send(batch).await;
                Ok(None)
            }
        }
    }
}

/// Delivers a batch, answers who waits for it, and says which slot was the last; slot 0 if there was
/// none to deliver.
fn deliver<A: Application + ?Sized>(application: &mut A, batch: Batch) -> Result<Slot, NodeError> {
    let mut answers = batch.answers.into_iter().peekable();
    let mut last = Slot::ZERO;
    for delivered in batch.delivered {
        let slot = delivered.slot;
        let call = || application.deliver(to_delivery(delivered));
        catch_unwind(AssertUnwindSafe(call)).map_err(|_| NodeError::Application { slot })?;
        last = slot;
        while let Some((_, reply, outcome)) = answers.next_if(|it| it.0 <= slot) {
            // Nobody is left to hear it, perhaps.
            let _ = reply.send(outcome);
        }
    }
    // What was delivered before this batch, and by now it was.
    for (_, reply, outcome) in answers {
        let _ = reply.send(outcome);
    }
    Ok(last)
}

/// Runs the application until nobody sends batches any more, or until it panics. Why it ends is told
/// before `batches` is dropped.
fn spawn<A: Application>(
    mut application: A,
    mut batches: mpsc::Receiver<Batch>,
    notices: mpsc::UnboundedSender<Notice>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("application".to_owned()).spawn(move || {
        // Outside of a callback, that is.
        let _watch = Watch { thread: "application", notices: notices.clone() };
        while let Some(batch) = batches.blocking_recv() {
            let (notice, goes_on) = match deliver(&mut application, batch) {
                Ok(last) => (Notice::Applied(last), true),
                Err(error) => (Notice::Fatal(error), false),
            };
            if notices.send(notice).is_err() || !goes_on {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use synod_model::Entry;

    use super::*;

    fn batch(slots: impl Iterator<Item = u64>) -> Batch {
        let delivered = |slot| Delivered { slot: Slot(slot), entry: Entry::NoOp, verdict: None };
        Batch { delivered: slots.map(delivered).collect(), answers: Vec::new() }
    }

    #[test]
    fn the_slot_at_which_an_application_panicked_is_told_whatever_it_was_to_be_given_then() {
        let picky = |delivery: Delivery| assert!(delivery.slot < Slot(3), "as its fault would");
        let (notices, mut told) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (mut deliverer, thread) = Deliverer::start(picky, notices).expect("a thread");
        let mut take = |batch| runtime.block_on(deliverer.take(batch)).expect("the notice tells");
        assert_eq!(take(batch(1..5)), None);
        thread.expect("it has one").join().expect("it ends");
        // There is nobody whom this could be given to.
        assert_eq!(take(batch(5..9)), None);
        let notice = told.try_recv();
        let is_told = matches!(notice, Ok(Notice::Fatal(NodeError::Application { slot: Slot(3) })));
        assert!(is_told, "{notice:?}");
    }
}
