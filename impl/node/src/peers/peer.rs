//! One other replica: both lanes, and what was seen of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use synod_model::{Incarnation, Limits, ReplicaId, Run};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info};

use super::addresses::Address;
use super::error::LinkError;
use super::lane::Lane;
use super::limits::{LinkTiming, bulk_bytes_max, catch_up_bytes_max};
use super::link::{Incoming, Link, OpenQueue};
use super::news::News;
use super::presence::{Presence, Present};
use super::queue::{FrameQueue, QueueLimits};

/// Another replica, and the connections with it: two in each direction.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ReplicaId,
    /// Where it is looked for, if that is known.
    address: watch::Sender<Option<Address>>,
    pub(super) presence: Presence,
    /// What this replica is still to be told of it.
    pub(super) news: Arc<News>,
    control: Link,
    bulk: Link,
    seen: Mutex<Seen>,
    /// How often the two have greeted each other, over any connection.
    met: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) run: Option<Run>,
    /// Where it has said that it is.
    pub(super) told_address: Option<String>,
    /// The last round trip of a ping.
    pub(super) round_trip: Option<Duration>,
    /// The runs before, the newest last.
    former_runs: VecDeque<Run>,
    /// How often a former run has come back.
    returns: u32,
}

/// How many former runs of a peer are remembered, to recognize one that comes back. Default 8: if two
/// processes run the same replica, each may start anew a few times.
const FORMER_RUNS_MAX: usize = 8;

/// How often former runs must come back before the log says that two processes run the same replica.
/// Default 5: the two hellos that a run has sent before it ended may be read late, and for each of them
/// both runs have come back.
const RETURNS_MAX: u32 = 5;

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.address.borrow() {
            Some(address) => write!(f, "replica {} at {}", self.id, address.text),
            None => write!(f, "replica {}", self.id),
        }
    }
}

impl Peer {
    pub(super) fn new(
        id: ReplicaId,
        address: Option<Address>,
        limits: &Limits,
        timing: &LinkTiming,
    ) -> Self {
        let news = Arc::new(News::default());
        let catch_up_bytes_max = catch_up_bytes_max(limits);
        let control = QueueLimits {
            bytes_max: catch_up_bytes_max,
            catch_up_bytes_max,
            age_max: Some(timing.write_max),
            tells: None,
        };
        let bulk = QueueLimits {
            bytes_max: bulk_bytes_max(limits),
            catch_up_bytes_max,
            age_max: None,
            tells: Some(Arc::clone(&news)),
        };
        Self {
            id,
            address: watch::Sender::new(address),
            presence: Presence::new(Instant::now()),
            news,
            control: Link::new(control),
            bulk: Link::new(bulk),
            seen: Mutex::default(),
            met: watch::Sender::new(0),
        }
    }

    /// Where it is looked for.
    pub(super) fn address(&self) -> Option<Address> {
        self.address.borrow().clone()
    }

    /// The same, for people.
    pub(super) fn place(&self) -> String {
        self.address().map_or_else(|| "an unknown address".to_owned(), |it| it.text)
    }

    /// From now on it is looked for there.
    pub(super) fn look_at(&self, address: Address) {
        self.address.send_if_modified(|before| {
            let is_other = before.as_ref() != Some(&address);
            let from = before.as_ref().map(|it| it.text.as_str());
            if from.is_some_and(|from| from != address.text) {
                info!(peer = %self.id, from, to = address.text, "looks for a peer elsewhere");
            }
            *before = Some(address);
            is_other
        });
    }

    /// Waits until it is looked for at another address than this.
    pub(super) async fn has_moved(&self, from: Option<&Address>) {
        let text = |it: Option<&Address>| it.map(|it| it.text.clone());
        let from = text(from);
        self.until_address(|now| text(now) != from).await;
    }

    /// Waits until somebody else than a caller says something new of where it is. A caller's first word counts as
    /// well.
    pub(super) async fn is_known_elsewhere(&self, from: Option<&Address>) {
        let is_believed = |now: Option<&Address>| now.is_some_and(|it| !it.is_only_told);
        self.until_address(|now| now != from && (is_believed(now) || from.is_none())).await;
    }

    async fn until_address(&self, is_right: impl Fn(Option<&Address>) -> bool) {
        // The sender is here, so this does not fail.
        let _ = self.address.subscribe().wait_for(|now| is_right(now.as_ref())).await;
    }

    /// It has said that it is there.
    pub(super) fn note_told_address(&self, address: String) {
        self.lock().told_address = Some(address);
    }

    /// A connection with this data directory of it begins.
    ///
    /// # Errors
    ///
    /// If the peer was dropped, or another data directory is connected.
    pub(super) fn enter(&self, directory: Incarnation) -> Result<Present, LinkError> {
        self.presence.enter(directory)
    }

    fn link(&self, lane: Lane) -> &Link {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        }
    }

    /// The frames that wait for it on this lane.
    pub(super) fn queue(&self, lane: Lane) -> &FrameQueue {
        self.link(lane).queue()
    }

    /// The peer has said which run it is in. So it is there, and its dialers need not wait any longer.
    pub(super) fn note_run(&self, run: Run) {
        self.met.send_modify(|met| *met += 1);
        let mut seen = self.lock();
        let former = seen.run.replace(run);
        if former == Some(run) {
            return;
        }
        let Some(former) = former else {
            return;
        };
        self.news.restarted();
        if seen.former_runs.contains(&run) {
            seen.returns = seen.returns.saturating_add(1);
            if seen.returns == RETURNS_MAX {
                error!(
                    "{self} is run by two processes, each with a copy of its data directory: stop one, and \
                     remove its copy\n  \
                     what one of them has promised the other does not know, so values can be lost"
                );
            }
        }
        seen.former_runs.retain(|it| *it != run && *it != former);
        if seen.former_runs.len() == FORMER_RUNS_MAX {
            seen.former_runs.pop_front();
        }
        seen.former_runs.push_back(former);
    }

    /// Changes whenever the two have greeted each other.
    pub(super) fn watch_met(&self) -> watch::Receiver<u64> {
        self.met.subscribe()
    }

    /// Notes why there is no connection to the peer. Returns whether its topic is news.
    pub(super) fn note_error(&self, lane: Lane, topic: String, text: String) -> bool {
        let is_known = |lane| self.link(lane).last_error().is_some_and(|it| it.topic == topic);
        let is_news = !Lane::ALL.into_iter().any(is_known);
        self.link(lane).note_error(topic, text);
        is_news
    }

    /// Why there is no connection to it, or was none.
    pub(super) fn last_error(&self) -> Option<String> {
        let errors = Lane::ALL.into_iter().filter_map(|lane| self.link(lane).last_error());
        errors.max_by_key(|error| error.since).map(|error| error.text)
    }

    /// Whether there are connections to it, of both lanes.
    pub(super) fn is_connected(&self) -> bool {
        Lane::ALL.into_iter().all(|lane| self.queue(lane).is_open())
    }

    /// Whether there are connections from it, of both lanes.
    pub(super) fn is_heard(&self) -> bool {
        Lane::ALL.into_iter().all(|lane| self.link(lane).is_heard())
    }

    /// A ping was answered.
    pub(super) fn note_round_trip(&self, round_trip: Duration) {
        self.lock().round_trip = Some(round_trip);
        self.news.round_trip(round_trip);
    }

    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Opens the queue: there is a connection to the peer until the returned value is dropped.
    pub(super) fn open_queue(&self, lane: Lane) -> OpenQueue<'_> {
        let open = self.link(lane).open_queue(&self.news);
        if self.is_connected() {
            info!("{self} is connected");
        }
        open
    }

    /// There is a connection from the peer until the returned value is dropped. It replaces an older one.
    pub(super) fn begin_incoming(&self, lane: Lane) -> Incoming<'_> {
        self.link(lane).begin_incoming()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::PeerEvent;
    use super::*;

    fn peer() -> Peer {
        Peer::new(ReplicaId(1), None, &Limits::default(), &LinkTiming::default())
    }

    fn is_doubled(peer: &Peer) -> bool {
        peer.lock().returns >= RETURNS_MAX
    }

    #[test]
    fn another_run_is_told_before_its_first_connection() {
        let peer = peer();
        let told = || {
            let take = || peer.news.take(peer.id, Instant::now());
            std::iter::from_fn(take).collect::<Vec<_>>()
        };
        peer.note_run(Run(1));
        peer.note_run(Run(1));
        assert_eq!(told(), [], "it was not met in another run before");
        peer.note_run(Run(2));
        peer.news.reconnected();
        assert_eq!(told(), [PeerEvent::Restarted(peer.id), PeerEvent::Reconnected(peer.id)]);
    }

    #[test]
    fn a_replica_may_start_as_often_as_it_likes() {
        let peer = peer();
        for run in 1..100 {
            peer.note_run(Run(run));
            peer.note_run(Run(run));
        }
        // A hello of the run before is read late.
        peer.note_run(Run(98));
        peer.note_run(Run(99));
        assert!(!is_doubled(&peer));
    }

    #[test]
    fn two_processes_with_copies_of_one_data_directory_are_detected() {
        let peer = peer();
        for _ in 0..3 {
            peer.note_run(Run(1));
            peer.note_run(Run(2));
            assert!(!is_doubled(&peer));
        }
        peer.note_run(Run(1));
        assert!(is_doubled(&peer));
    }
}
