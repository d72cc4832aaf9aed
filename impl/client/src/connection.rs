//! The client's side of one connection.

use std::io;
use std::time::Duration;

use synod_wire::api::{About, Starting};
use synod_wire::blocking::look_up;
use synod_wire::buffers::{Garbage, Inbox, Outbox};
use synod_wire::codec::EncodeError;
use synod_wire::protocol::{
    Ask, HANDSHAKE_BYTES_MAX, Hello, ToClient, ToNode, Unwelcome, Welcome, message_bytes_max,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time;

use super::endpoint::Endpoint;

/// A connection to a replica that takes asks.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    inbox: Inbox,
    outbox: Outbox,
    about: About,
}

impl Connection {
    /// Connects to the replica at `endpoint`, which has `connect_max` to answer.
    ///
    /// # Errors
    ///
    /// If it does not answer, or refuses.
    pub async fn connect(endpoint: &Endpoint, connect_max: Duration) -> Result<Self, ConnectError> {
        let connecting = time::timeout(connect_max, Self::shake_hands(endpoint)).await;
        let connected = connecting.unwrap_or(Err(ConnectTrouble::Silent(connect_max)));
        connected.map_err(|trouble| ConnectError { endpoint: endpoint.clone(), trouble })
    }

    async fn shake_hands(endpoint: &Endpoint) -> Result<Self, ConnectTrouble> {
        let mut socket = TcpStream::connect(&*look_up(endpoint).await?).await?;
        // The client batches its asks itself.
        socket.set_nodelay(true)?;
        let mut inbox = Inbox::new(HANDSHAKE_BYTES_MAX);
        let mut outbox = Outbox::new(HANDSHAKE_BYTES_MAX);
        outbox.push(&Hello::OURS).map_err(io::Error::other)?;
        outbox.send_all(&mut socket).await?;
        let welcome = loop {
            if let Some(welcome) = inbox.take()? {
                break welcome;
            }
            if inbox.fill(&mut socket).await? == 0 {
                return Err(ConnectTrouble::HungUp);
            }
        };
        let about: About = match welcome {
            Welcome::Welcome(about) => about,
            Welcome::Unwelcome(unwelcome) => return Err(unwelcome.into()),
        };
        let message_bytes_max = message_bytes_max(about.value_bytes_max);
        inbox.allow(message_bytes_max);
        outbox.allow(message_bytes_max);
        Ok(Self { socket, inbox, outbox, about })
    }

    /// What the replica says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Queues an ask. Its id has not been used on this connection.
    ///
    /// # Errors
    ///
    /// If the ask is longer than the replica allows. Then nothing has changed.
    pub fn put(&mut self, id: u64, ask: Ask) -> Result<(), EncodeError> {
        self.outbox.push(&ToNode { id, ask })
    }

    /// How many bytes are queued.
    pub fn unsent_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    /// Sends what is queued, and waits until something arrives. Nothing is lost if the wait is dropped.
    ///
    /// # Errors
    ///
    /// If the connection is over.
    pub async fn exchange(&mut self) -> Result<(), ConnectionLost> {
        let (mut reader, mut writer) = self.socket.split();
        loop {
            tokio::select! {
                biased;
                sent = self.outbox.send_some(&mut writer), if self.outbox.waiting_bytes() > 0 => sent?,
                read = self.inbox.fill(&mut reader) => {
                    return if read? > 0 { Ok(()) } else { Err(ConnectionLost::HungUp) };
                }
            }
        }
    }

    /// Takes the next answer, if it has arrived as a whole.
    ///
    /// # Errors
    ///
    /// If what arrived is no answer. The connection is over then.
    pub fn take(&mut self) -> Result<Option<ToClient>, ConnectionLost> {
        Ok(self.inbox.take()?)
    }

    /// Waits for the next answer, and sends meanwhile. Nothing is lost if the wait is dropped.
    ///
    /// # Errors
    ///
    /// If the connection is over.
    pub async fn answer(&mut self) -> Result<ToClient, ConnectionLost> {
        loop {
            if let Some(answer) = self.take()? {
                return Ok(answer);
            }
            self.exchange().await?;
        }
    }
}

/// A replica could not be asked.
#[derive(Debug, Error)]
#[error("{endpoint}: {trouble}")]
pub struct ConnectError {
    /// The endpoint of the replica.
    pub endpoint: Endpoint,
    /// What went wrong.
    pub trouble: ConnectTrouble,
}

/// What can go wrong before the first ask.
#[derive(Debug, Error)]
pub enum ConnectTrouble {
    /// There is no connection.
    #[error("no connection: {0}")]
    Io(#[from] io::Error),
    /// There was no answer.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// It closed the connection.
    #[error("it closed the connection; it may be stopping, or no synod node")]
    HungUp,
    /// The replica said why.
    #[error(transparent)]
    Unwelcome(#[from] Unwelcome),
    /// It has not read its log yet.
    #[error("it is starting: {0}")]
    Starting(#[from] Starting),
    /// What it said makes no sense.
    #[error("that is no synod node's port for clients")]
    NotANode(#[from] NotANode),
    /// It belongs to another cluster than the one that was asked before.
    #[error("it belongs to another cluster than the endpoints before it")]
    OtherCluster,
}

/// The bytes that came are no message of a node.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct NotANode(Garbage);

impl From<Garbage> for ConnectTrouble {
    fn from(garbage: Garbage) -> Self {
        Self::NotANode(NotANode(garbage))
    }
}

/// A connection is over. The replica may have taken what was asked on it.
#[derive(Debug, Error)]
pub enum ConnectionLost {
    /// It broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The replica closed it.
    #[error("the replica closed the connection")]
    HungUp,
    /// What it said makes no sense.
    #[error("what came is no answer of a node: {0}")]
    NotAnAnswer(#[from] NotANode),
    /// It said nothing.
    #[error("the replica gave no answer within {} ms", .0.as_millis())]
    Silent(Duration),
}

impl From<Garbage> for ConnectionLost {
    fn from(garbage: Garbage) -> Self {
        Self::NotAnAnswer(NotANode(garbage))
    }
}
