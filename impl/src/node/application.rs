//! The application: the paper's callback, on a thread of its own.
//!
//! A callback may take its time. The replica goes on meanwhile: it promises, acknowledges and
//! commits, until [`WAITING_BATCHES_MAX`] batches of deliveries wait; then it waits too, and the
//! others go on without it.
//!
//! A client of this replica hears that its value was delivered after the callback has had it here. So
//! who submits, and then looks at the application, finds it there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use synod_model::{Delivered, Slot};
use tokio::sync::mpsc;

use super::{NodeError, Notice, SubmitReply};
use crate::api::{Delivery, SubmitError};
use crate::value::Value;

/// How many batches of deliveries wait for the application. A batch is what one round of events has
/// led to, so it has at most some frames of entries, whose values are in memory anyway for a while.
pub(super) const WAITING_BATCHES_MAX: usize = 64;

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
    /// Ascending by the slot with which each is answered.
    pub(super) answers: Vec<(Slot, SubmitReply, Result<Slot, SubmitError>)>,
}

pub(super) fn to_delivery(delivered: Delivered<Value>) -> Delivery {
    let Delivered { slot, entry, verdict } = delivered;
    Delivery { slot, entry, verdict }
}

/// Runs the application until nobody sends batches any more.
pub(super) fn spawn<A: Application>(
    mut application: A,
    mut batches: mpsc::Receiver<Batch>,
    notices: mpsc::UnboundedSender<Notice>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("application".to_owned()).spawn(move || {
        while let Some(Batch { delivered, answers }) = batches.blocking_recv() {
            let mut answers = answers.into_iter().peekable();
            let mut last = Slot::ZERO;
            for delivered in delivered {
                let slot = delivered.slot;
                let call = || application.deliver(to_delivery(delivered));
                if catch_unwind(AssertUnwindSafe(call)).is_err() {
                    let _ = notices.send(Notice::Fatal(NodeError::Application { slot }));
                    return;
                }
                last = slot;
                while let Some((_, reply, outcome)) = answers.next_if(|it| it.0 <= slot) {
                    // Nobody is left to hear it, perhaps.
                    let _ = reply.send(outcome);
                }
            }
            if notices.send(Notice::Applied(last)).is_err() {
                return;
            }
        }
    })
}
