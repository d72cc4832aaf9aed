//! The task behind a [`Client`](super::Client). It keeps a connection, and drives [`Requests`] over it.

use std::future::{self, Future};
use std::pin::Pin;
use std::time::Duration;

use synod_model::{Configuration, SessionId};
use synod_wire::ClusterId;
use synod_wire::Value;
use synod_wire::protocol::{Ask, Query};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use super::ClientOptions;
use super::connection::{ConnectError, ConnectTrouble, Connection, ConnectionLost};
use super::endpoint::Endpoint;
use super::requests::{
    Advice, ChangeReply, MembersReply, QueryReply, ReadReply, Requests, SubmitReply,
};
use super::rotation::Rotation;

/// How many bytes are queued before some of them are sent: 256 KiB.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// How long a replica that is stopping may take to answer what it has, if there is another replica to
/// ask: 500 ms. What it does not answer is asked again elsewhere, under the same numbers. If there is
/// no other replica, it has as long as usual.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// How long ending the session may take when a client is closed: 500 ms. A session that is not ended is
/// evicted in time.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// The commands of the handle. When the handle is gone, the task finishes what it has.
#[derive(Debug)]
pub(super) enum Command {
    Submit { value: Value, deadline: Instant, reply: SubmitReply },
    Read { deadline: Instant, reply: ReadReply },
    Query { query: Query, deadline: Instant, reply: QueryReply },
    Members { deadline: Instant, reply: MembersReply },
    Change { configuration: Configuration, deadline: Instant, reply: ChangeReply },
    EndSession { session: SessionId, deadline: Instant, reply: ReadReply },
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

enum Link {
    /// No connection. The next attempt is at this time, if one is needed.
    Down(Instant),
    Connecting(Connecting),
    Up(Box<Up>),
}

struct Up {
    connection: Connection,
    /// When the replica last sent something, or began to owe an answer.
    heard: Instant,
    /// It serves nobody now. It gets no more asks, and the client leaves it at this time, for this reason.
    leaving: Option<(Instant, &'static str)>,
}

impl Up {
    /// When the client gives up on the replica, if nothing arrives.
    fn patience(&self, silent_max: Duration) -> Instant {
        let silent = self.heard + silent_max;
        self.leaving.map_or(silent, |(leave_by, _)| leave_by.min(silent))
    }
}

/// What can happen to the link.
enum Event {
    Connected(Result<Connection, ConnectError>),
    Exchanged(Result<(), ConnectionLost>),
    Again,
}

pub(super) struct Driver {
    endpoints: Vec<Endpoint>,
    options: ClientOptions,
    requests: Requests,
    link: Link,
    rotation: Rotation,
    cluster: Option<ClusterId>,
}

impl Driver {
    pub(super) fn new(endpoints: Vec<Endpoint>, options: ClientOptions) -> Self {
        Self {
            rotation: Rotation::new(endpoints.len()),
            endpoints,
            options,
            requests: Requests::default(),
            link: Link::Down(Instant::now()),
            cluster: None,
        }
    }

    /// Runs until the handle is gone and everything is answered or has timed out, or until the handle
    /// gives it up.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut given_up: oneshot::Receiver<()>,
    ) {
        let mut is_open = true;
        while is_open || self.requests.len() > 0 {
            self.put();
            let wakes_at = self.requests.wakes_at();
            let has_room = self.requests.len() < self.options.in_flight_max;
            let sleep = async {
                match wakes_at {
                    Some(at) => time::sleep_until(at).await,
                    None => future::pending().await,
                }
            };
            let silent_max = self.options.silent_max;
            let (link, requests) = (&mut self.link, &self.requests);
            tokio::select! {
                command = commands.recv(), if is_open && has_room => match command {
                    Some(command) => {
                        self.take(command);
                        // Other commands that wait leave in the same write.
                        while self.requests.len() < self.options.in_flight_max
                            && let Ok(command) = commands.try_recv()
                        {
                            self.take(command);
                        }
                    }
                    None => is_open = false,
                },
                // A handle that is dropped has not given up.
                Ok(()) = &mut given_up, if !given_up.is_terminated() => {
                    // These were never sent, and are told so.
                    while let Ok(command) = commands.try_recv() {
                        self.take(command);
                    }
                    break;
                }
                event = follow_link(link, requests, silent_max) => self.on(event),
                () = sleep => {}
            }
            self.requests.expire(Instant::now());
        }
        self.say_goodbye().await;
    }

    fn take(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Submit { value, deadline, reply } => {
                self.requests.submit(value, now, deadline, reply);
            }
            Command::Read { deadline, reply } => self.requests.read(now, deadline, reply),
            Command::Query { query, deadline, reply } => {
                self.requests.query(query, now, deadline, reply);
            }
            Command::Members { deadline, reply } => self.requests.members(now, deadline, reply),
            Command::Change { configuration, deadline, reply } => {
                self.requests.change(configuration, now, deadline, reply);
            }
            Command::EndSession { session, deadline, reply } => {
                self.requests.end_session(session, now, deadline, reply);
            }
        }
    }

    /// Queues what there is to ask, or begins to connect.
    fn put(&mut self) {
        let now = Instant::now();
        match &mut self.link {
            Link::Up(up) => {
                if up.leaving.is_some() {
                    return;
                }
                let was_waiting = self.requests.is_waiting();
                let Up { connection, heard, .. } = &mut **up;
                let about = *connection.about();
                let mut unsayable = None;
                if connection.unsent_bytes() < UNSENT_BYTES_MAX {
                    self.requests.ask(&about, |id, ask| {
                        unsayable = connection.put(id, ask).err();
                        unsayable.is_none() && connection.unsent_bytes() < UNSENT_BYTES_MAX
                    });
                }
                if !was_waiting {
                    *heard = now;
                }
                if let Some(error) = unsayable {
                    // A value within the limit fits. So this replica is not what it said it is.
                    self.lose(&format!("an ask cannot be sent: {error}"));
                }
            }
            Link::Down(at) if *at <= now && self.requests.len() > 0 => {
                let endpoint = self.endpoints[self.rotation.at()].clone();
                self.requests.now_at(&endpoint);
                let connect_max = self.options.connect_max;
                self.link = Link::Connecting(Box::pin(async move {
                    Connection::connect(&endpoint, connect_max).await
                }));
            }
            Link::Down(_) | Link::Connecting(_) => {}
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Again => {}
            Event::Connected(Ok(connection)) => self.connected(connection),
            Event::Connected(Err(error)) => {
                self.requests.not_connected(error.trouble.to_string());
                self.move_on();
            }
            Event::Exchanged(Err(lost)) => {
                let reason = match &self.link {
                    Link::Up(up) => up.leaving.map(|(_, reason)| reason.to_owned()),
                    _ => None,
                };
                self.lose(&reason.unwrap_or_else(|| lost.to_string()));
            }
            Event::Exchanged(Ok(())) => self.take_answers(),
        }
    }

    fn connected(&mut self, connection: Connection) {
        let cluster = connection.about().cluster_id;
        if *self.cluster.get_or_insert(cluster) == cluster {
            let heard = Instant::now();
            self.link = Link::Up(Box::new(Up { connection, heard, leaving: None }));
        } else {
            self.requests.not_connected(ConnectTrouble::OtherCluster.to_string());
            self.move_on();
        }
    }

    fn take_answers(&mut self) {
        let Link::Up(up) = &mut self.link else {
            return;
        };
        let now = Instant::now();
        up.heard = now;
        self.rotation.answered();
        loop {
            match up.connection.take() {
                Ok(Some(answer)) => {
                    let advice = self.requests.answer(answer.id, answer.answer, now);
                    if let Advice::MoveOn(reason) = advice
                        && up.leaving.is_none()
                    {
                        let others = self.endpoints.len() > 1;
                        let patience = if others { LEAVE_MAX } else { self.options.silent_max };
                        up.leaving = Some((now + patience, reason));
                    }
                }
                Ok(None) => match up.leaving {
                    Some((_, reason)) if !self.requests.is_waiting() => return self.lose(reason),
                    _ => return,
                },
                Err(lost) => return self.lose(&lost.to_string()),
            }
        }
    }

    /// The connection is over. What was sent on it is sent to the next endpoint, with the same numbers.
    fn lose(&mut self, trouble: &str) {
        self.requests.connection_lost(trouble.to_owned());
        self.move_on();
    }

    fn move_on(&mut self) {
        let rest = self.rotation.move_on();
        self.link = Link::Down(Instant::now() + rest);
    }

    /// Ends the session, if that can be done quickly.
    async fn say_goodbye(mut self) {
        self.requests.close();
        let (Link::Up(up), Some(session)) = (&mut self.link, self.requests.session()) else {
            return;
        };
        let goodbye = async {
            up.connection.put(u64::MAX, Ask::EndSession(session)).ok()?;
            while up.connection.answer().await.ok()?.id != u64::MAX {}
            Some(())
        };
        // Nobody waits for the answer.
        let _ = time::timeout(GOODBYE_MAX, goodbye).await;
    }
}

/// Waits until something happens to the link. Nothing is lost if the wait is dropped.
async fn follow_link(link: &mut Link, requests: &Requests, silent_max: Duration) -> Event {
    match link {
        Link::Down(at) if requests.len() > 0 => {
            time::sleep_until(*at).await;
            Event::Again
        }
        Link::Down(_) => future::pending().await,
        Link::Connecting(connecting) => Event::Connected(connecting.await),
        Link::Up(up) if requests.is_waiting() => {
            let patience = up.patience(silent_max);
            let exchanged = time::timeout_at(patience, up.connection.exchange()).await;
            Event::Exchanged(exchanged.unwrap_or(Err(ConnectionLost::Silent(silent_max))))
        }
        Link::Up(up) => Event::Exchanged(up.connection.exchange().await),
    }
}
