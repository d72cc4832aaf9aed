//! Following the log, at one replica after the other.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use synod_model::Slot;
use synod_wire::ClusterId;
use synod_wire::api::{Delivery, ReadError, SubscribeError};
use synod_wire::protocol::{Answer, Ask, Follow, FollowEnd};
use thiserror::Error;
use tokio::time::{self, Instant};

use super::connection::{ConnectError, ConnectTrouble, Connection, ConnectionLost};
use super::endpoint::Endpoint;
use super::rotation::Rotation;
use super::{ClientOptions, NoEndpoint};

/// The log, from whichever replica can be reached.
///
/// When a replica breaks off, or is silent for longer than [`ClientOptions::silent_max`], the follow
/// goes on at the next one, in the same slot: the log is the same at every replica. So it does when a
/// replica has nothing new and has been out of touch with a coordinator for longer than
/// [`ClientOptions::out_of_touch_max`]. If no replica sends more of the log, or is in touch, for
/// [`ClientOptions::deadline`], the follow fails.
///
/// Replicas cut their logs at different slots. So when the log of one has no longer what is wanted, the others are
/// asked once each before the follow fails.
pub struct Following {
    endpoints: Vec<Endpoint>,
    options: ClientOptions,
    /// What the client still wants.
    follow: Follow,
    connection: Option<Connection>,
    cluster: Option<ClusterId>,
    rotation: Rotation,
    /// The first replica whose log does not have the next slot any more, since a part of the log last came.
    gone: Option<Gone>,
    /// When a part of the log last came.
    heard: Instant,
    told: VecDeque<Vec<Delivery>>,
    /// The slot with which it has caught up.
    caught_up: Option<Slot>,
    /// Is told when the follow leaves a replica.
    on_leave: Option<OnLeave>,
}

/// The next slot was cut from the log of a replica.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// The place of its endpoint.
    at: usize,
    /// Where the log begins of the replica that has most of it.
    log_starts_at: Slot,
}

type OnLeave = Box<dyn FnMut(&Left) + Send>;

/// A follow has left a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Why. It names the endpoint.
    pub trouble: String,
    /// Where it goes on.
    pub next: Endpoint,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; follows {} now", self.trouble, self.next)
    }
}

impl Following {
    /// Follows the log as `follow` says. Nothing is sent before [`Following::next`].
    ///
    /// # Errors
    ///
    /// If there is no endpoint.
    pub fn new(
        endpoints: Vec<Endpoint>,
        options: ClientOptions,
        follow: Follow,
    ) -> Result<Self, NoEndpoint> {
        if endpoints.is_empty() {
            return Err(NoEndpoint);
        }
        Ok(Self {
            rotation: Rotation::new(endpoints.len()),
            endpoints,
            options,
            follow,
            connection: None,
            cluster: None,
            gone: None,
            heard: Instant::now(),
            told: VecDeque::new(),
            caught_up: None,
            on_leave: None,
        })
    }

    /// Calls this whenever the follow leaves a replica for another one. While it leaves one after the
    /// other in vain, each is told of once.
    pub fn on_leave(&mut self, on_leave: impl FnMut(&Left) + Send + 'static) {
        self.on_leave = Some(Box::new(on_leave));
    }

    /// Waits for more of the log: at least one entry of those that were asked for, in slot order. None
    /// when the follow has caught up, if it was to end there. Nothing is lost if the wait is dropped.
    ///
    /// # Errors
    ///
    /// If no replica delivers any more.
    pub async fn next(&mut self) -> Result<Option<Vec<Delivery>>, FollowFailed> {
        self.heard = Instant::now();
        loop {
            if let Some(deliveries) = self.told.pop_front() {
                return Ok(Some(deliveries));
            }
            if self.caught_up.is_some() {
                return Ok(None);
            }
            let give_up_at = self.heard + self.options.deadline;
            let trouble = match self.advance().await {
                Ok(()) => {
                    self.rotation.answered();
                    continue;
                }
                Err(Trouble(trouble)) => trouble,
            };
            self.connection = None;
            let is_new = self.rotation.is_first_round();
            let rest_until = Instant::now() + self.rotation.move_on();
            if let Some(Gone { at, log_starts_at }) = self.gone
                && at == self.rotation.at()
            {
                return Err(FollowFailed::Gone { from: self.follow.from, log_starts_at });
            }
            if rest_until >= give_up_at {
                let waited = self.options.deadline;
                return Err(FollowFailed::NoReplica { waited, trouble });
            }
            if let Some(on_leave) = &mut self.on_leave
                && is_new
                && self.endpoints.len() > 1
            {
                let next = self.endpoints[self.rotation.at()].clone();
                on_leave(&Left { trouble, next });
            }
            time::sleep_until(rest_until).await;
        }
    }

    /// The slot with which it has caught up, if it has.
    pub fn caught_up(&self) -> Option<Slot> {
        self.caught_up
    }

    /// The next slot that has not been delivered.
    pub fn from(&self) -> Slot {
        self.follow.from
    }

    async fn advance(&mut self) -> Result<(), Trouble> {
        let endpoint = &self.endpoints[self.rotation.at()];
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let mut connection =
                    Connection::connect(endpoint, self.options.connect_max).await?;
                let cluster = connection.about().cluster_id;
                if *self.cluster.get_or_insert(cluster) != cluster {
                    let trouble = ConnectTrouble::OtherCluster;
                    return Err(ConnectError { endpoint: endpoint.clone(), trouble }.into());
                }
                if let Err(error) = connection.put(0, Ask::Follow(self.follow)) {
                    return Err(Trouble(format!("{endpoint}: {error}")));
                }
                none.insert(connection)
            }
        };
        let silent_max = self.options.silent_max;
        let answer = time::timeout(silent_max, connection.answer()).await;
        let answer = answer.unwrap_or(Err(ConnectionLost::Silent(silent_max)));
        let answer = answer.map_err(|lost| Trouble(format!("{endpoint}: {lost}")))?;
        match answer.answer {
            Answer::Deliveries { deliveries, through, out_of_touch_ms } => {
                let out_of_touch = Duration::from_millis(out_of_touch_ms.unwrap_or_default());
                if deliveries.is_empty() && out_of_touch > self.options.out_of_touch_max {
                    let seconds = out_of_touch.as_secs();
                    return Err(Trouble(format!(
                        "{endpoint}: out of touch with any coordinator for {seconds} s"
                    )));
                }
                self.heard = Instant::now();
                self.follow.from = self.follow.from.max(through.next());
                if !deliveries.is_empty() {
                    self.gone = None;
                    self.told.push_back(deliveries);
                }
                Ok(())
            }
            Answer::FollowEnds(FollowEnd::CaughtUp { with }) => {
                self.caught_up = Some(with);
                Ok(())
            }
            Answer::FollowEnds(FollowEnd::NotRead(error)) => Err(error.into()),
            Answer::FollowEnds(FollowEnd::NoMore(error)) => {
                let trouble = Trouble(format!("{endpoint}: {error}"));
                if let SubscribeError::Gone { log_starts_at } = error {
                    self.note_gone(log_starts_at);
                }
                Err(trouble)
            }
            _ => Err(Trouble(format!("{endpoint}: it answered what was not asked"))),
        }
    }

    fn note_gone(&mut self, log_starts_at: Slot) {
        let at = self.rotation.at();
        let gone = self.gone.get_or_insert(Gone { at, log_starts_at });
        gone.log_starts_at = gone.log_starts_at.min(log_starts_at);
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoints, follow, caught_up, .. } = self;
        f.debug_struct("Following")
            .field("endpoints", endpoints)
            .field("follow", follow)
            .field("caught_up", caught_up)
            .finish_non_exhaustive()
    }
}

/// Why a replica is left. Another one may be able to go on.
struct Trouble(String);

impl From<ConnectError> for Trouble {
    fn from(error: ConnectError) -> Self {
        Self(error.to_string())
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self(format!("the end of the log could not be read: {error}"))
    }
}

/// Why the log could not be followed further.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FollowFailed {
    /// No log that could be reached has that slot any more.
    #[error("slot {from} can be followed no more: the log begins at slot {log_starts_at}")]
    Gone {
        /// The slot that was wanted.
        from: Slot,
        /// The first slot that can be followed.
        log_starts_at: Slot,
    },
    /// No replica sent anything for too long.
    #[error("no replica could be followed for {} ms: {trouble}", .waited.as_millis())]
    NoReplica {
        /// How long it was tried.
        waited: Duration,
        /// What went wrong last.
        trouble: String,
    },
}
