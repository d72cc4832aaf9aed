//! Clients that submit or read and then go away, at a replica that hears nobody.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{
    Base, ClusterConstants, Configuration, ConfigurationId, Limits, Message, Order, Output,
    Position, Prefix, PrefixHashes, Recovery, ReplicaId, Request, RequestTable, RoundNumber, Run,
    SequenceNumber, SessionId, Slot, SnapshotHandle,
};
use synod_wire::api::{NotDone, ReadError, SubmitError};
use tokio::sync::oneshot::{self, Receiver, Sender};

use super::detector::Timing;
use super::waiting::WAITERS_MAX;
use super::{Shell, ShellEvent, Submission};

const NOW: Duration = Duration::ZERO;

type Submit = Result<Slot, SubmitError>;
type Read = Result<Slot, ReadError>;

/// One replica of three, which takes a single read at a time.
fn alone() -> Shell<Sender<Submit>, Sender<Read>> {
    one_of(3)
}

fn one_of(members: u16) -> Shell<Sender<Submit>, Sender<Read>> {
    let members = (0..members).map(ReplicaId).collect();
    let first = Configuration::new(ConfigurationId(1), members).unwrap();
    let limits = Limits { reads_max: 1, ..Limits::default() };
    let cluster = Arc::new(ClusterConstants::new(1 << 16, first.clone(), limits).unwrap());
    let (me, base, mut out) = (ReplicaId(0), Base::new(first), Output::default());
    let recovery = Recovery::new(cluster, me, Run(1), Slot::ZERO, base, &mut out).unwrap();
    Shell::new(recovery.finish().expect("a whole log"), Timing::default(), Rng::with_seed(1), NOW)
}

fn request(shell: &mut Shell<Sender<Submit>, Sender<Read>>) -> Receiver<Submit> {
    let (reply, outcome) = oneshot::channel();
    let (session, number, answered) = (SessionId(1), 1, 1);
    let submission = Submission::Request(Request { session, number, answered, value: "a".into() });
    shell.handle(ShellEvent::Submit(submission, reply), NOW);
    shell.flush(NOW);
    outcome
}

fn read(shell: &mut Shell<Sender<Submit>, Sender<Read>>) -> Receiver<Read> {
    let (reply, outcome) = oneshot::channel();
    shell.handle(ShellEvent::Read(reply), NOW);
    outcome
}

#[test]
fn the_waiters_for_one_request_are_limited() {
    let mut shell = alone();
    for _ in 0..1000 {
        drop(request(&mut shell));
    }
    let waiting: Vec<_> = (0..WAITERS_MAX).map(|_| request(&mut shell)).collect();
    assert!(shell.effects().failed.is_empty(), "those who have gone take nobody's place");
    let _refused = request(&mut shell);
    let refused = shell.effects().failed.pop().map(|(_, outcome)| outcome);
    assert_eq!(refused, Some(SubmitError::NotDone(NotDone::TooMany)));
    shell.stop();
    assert_eq!(shell.effects().failed.len(), waiting.len());
}

#[test]
fn a_read_of_a_client_that_has_gone_takes_no_place() {
    let mut shell = alone();
    drop(read(&mut shell));
    let _waits = read(&mut shell);
    shell.flush(NOW);
    assert!(shell.effects().read.is_empty(), "there is a place for it");
}

/// Until then it asks for nothing else.
#[test]
fn a_snapshot_that_the_core_has_no_use_for_ends_its_wait() {
    let (mut shell, peer) = (alone(), ReplicaId(1));
    let mut asks = |event| {
        shell.handle(event, NOW);
        let messages = std::mem::take(&mut shell.effects().out.messages);
        messages.iter().any(|it| matches!(it.message, Message::Ask { .. }))
    };
    let is_committed = || {
        let prefix = Prefix { through: Slot(20), ..Prefix::default() };
        let order = Order::Round { number: RoundNumber(1), prefix };
        let (configuration, s) = (ConfigurationId(1), SequenceNumber(1));
        ShellEvent::Peer(peer, Message::Order { configuration, s, order })
    };
    assert!(!asks(ShellEvent::Peer(peer, Message::Offer { slot: Slot(10) })));
    assert!(!asks(is_committed()), "it waits for the snapshot");
    let handle = SnapshotHandle {
        slot: Slot::ZERO,
        configuration: Configuration::new(ConfigurationId(1), vec![peer]).unwrap(),
        changed_at: Slot::ZERO,
        hashes: PrefixHashes::default(),
        table: Arc::new(RequestTable::default()),
    };
    asks(ShellEvent::Install(peer, Arc::new(handle)));
    assert!(asks(is_committed()));
}

/// A cluster of one, whose disk syncs at once.
struct Driven {
    shell: Shell<Sender<Submit>, Sender<Read>>,
    now: Duration,
    written: Position,
}

impl Driven {
    /// Submits, and runs until somebody is answered: in the state of which slot, and with what.
    fn submit(&mut self, submission: Submission) -> (Slot, Submit) {
        let (reply, _outcome) = oneshot::channel();
        self.shell.handle(ShellEvent::Submit(submission, reply), self.now);
        loop {
            self.shell.flush(self.now);
            let effects = self.shell.effects();
            let written = std::mem::take(&mut effects.out.writes).len();
            let answered = std::mem::take(&mut effects.on_delivery);
            effects.out.clear();
            if let Some((state, _, outcome)) = answered.into_iter().next() {
                return (state, outcome);
            }
            if written > 0 {
                self.written.0 += written as u64;
                self.shell.handle(ShellEvent::Synced(self.written), self.now);
            } else {
                self.now = self.shell.next_alarm();
            }
        }
    }

    fn request(&mut self, session: SessionId, number: u64) -> (Slot, Submit) {
        let request = Request { session, number, answered: 1, value: "a".into() };
        self.submit(Submission::Request(request))
    }
}

/// The request table was asked as it is after every slot so far, so the response is looked up there too:
/// in an earlier state it is not there yet, in a later one it may be forgotten.
#[test]
fn a_retry_is_answered_in_the_state_in_which_the_core_has_found_it() {
    let mut driven = Driven { shell: one_of(1), now: NOW, written: Position(0) };
    let (opened, _) = driven.submit(Submission::Open);
    let session = SessionId(opened.0);
    let (first, outcome) = driven.request(session, 1);
    assert_eq!(outcome, Ok(first));
    let (second, outcome) = driven.request(session, 2);
    assert_eq!(outcome, Ok(second));
    assert_eq!(driven.request(session, 1), (second, Ok(first)));
}
