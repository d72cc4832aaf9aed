//! Clients that submit or read and then go away, at a replica that hears nobody.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use synod_model::{
    Base, ClusterConstants, Configuration, ConfigurationId, Limits, Output, Recovery, ReplicaId,
    Request, Run, SessionId, Slot,
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
    let members = (0..3).map(ReplicaId).collect();
    let first = Configuration::new(ConfigurationId(1), members).unwrap();
    let limits = Limits { reads_max: 1, ..Limits::default() };
    let cluster = Arc::new(ClusterConstants::new(1 << 16, first.clone(), limits).unwrap());
    let (me, base, mut out) = (ReplicaId(0), Base::new(first), Output::default());
    let recovery = Recovery::new(cluster, me, Run(1), Slot::ZERO, base, &mut out).unwrap();
    Shell::new(recovery.finish(), Timing::default(), Rng::with_seed(1), NOW)
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
