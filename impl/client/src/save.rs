//! Saving a snapshot of one replica: piece by piece, and over as many connections as it takes.

use std::collections::VecDeque;
use std::time::Duration;

use synod_wire::Value;
use synod_wire::api::{About, SaveBegun, SaveError, SaveId, TakeSnapshotError};
use synod_wire::protocol::{Answer, Ask, ReadSave, Unwelcome};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{ConnectError, ConnectTrouble, Connection, ConnectionLost};
use super::endpoint::Endpoint;

/// How many pieces are asked for at once. 8: two megabytes, which fill a link of 20 MB/s with a round trip of 100 ms.
const PIECES_IN_FLIGHT: usize = 8;

/// How long to wait before a replica that could not be asked is asked again. 250 ms, as a replica takes to start.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How long the replica may take to hear that the save is over. Default 500 ms. If it does not, it forgets the save by
/// itself.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// The limits and timeouts of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// How long the replica may take to take its snapshot. Default 10 min: 64 MiB are written in a second.
    pub begin_max: Duration,
    /// How long a replica may take to welcome the client. Default 1 s.
    pub connect_max: Duration,
    /// For how long the save goes on without any new byte, over as many connections as that takes. Default 20 s: a
    /// replica that was stopped is there again, and the replica still keeps the snapshot.
    pub no_progress_max: Duration,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            begin_max: Duration::from_mins(10),
            connect_max: Duration::from_secs(1),
            no_progress_max: Duration::from_secs(20),
        }
    }
}

/// A snapshot of a replica, on its way to this client.
#[derive(Debug)]
pub struct SnapshotSave {
    endpoint: Endpoint,
    options: SaveOptions,
    save: SaveId,
    begun: SaveBegun,
    about: About,
    connection: Option<Connection>,
    next_id: u64,
    /// What was asked for on this connection, in the order of the file.
    asked: VecDeque<Asked>,
    /// Everything up to here was returned.
    returned_bytes: u64,
    progress_at: Instant,
}

#[derive(Debug)]
struct Asked {
    id: u64,
    offset: u64,
    piece: Option<Value>,
}

/// What comes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavePiece {
    /// The next bytes.
    Bytes(Value),
    /// The replica does not keep that snapshot any more. Another one follows, from its beginning on: what has come is of
    /// no use.
    BeginsAnew,
}

/// Why a snapshot is not saved.
#[derive(Debug, Error)]
pub enum SaveFailed {
    /// The replica cannot be asked.
    #[error(transparent)]
    NotConnected(#[from] ConnectError),
    /// The replica refuses.
    #[error("{endpoint}: {error}")]
    Refused {
        /// The endpoint of the replica.
        endpoint: Endpoint,
        /// Why.
        error: SaveError,
    },
    /// Nothing has come for too long.
    #[error("{endpoint}: nothing more of its snapshot has come for {} s: {trouble}", .waited.as_secs())]
    NoProgress {
        /// The endpoint of the replica.
        endpoint: Endpoint,
        /// For how long.
        waited: Duration,
        /// What went wrong last.
        trouble: String,
    },
}

impl SaveFailed {
    /// Whether the same save may begin later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { error: SaveError::Busy, .. })
    }
}

impl SnapshotSave {
    /// Has the replica at `endpoint` take a snapshot and keep it to be read. The log of the replica stays as it is.
    ///
    /// # Errors
    ///
    /// If the replica cannot be asked, or refuses, or has no snapshot in time.
    pub async fn begin(endpoint: Endpoint, options: SaveOptions) -> Result<Self, SaveFailed> {
        let save = SaveId(fastrand::u64(..));
        let (connection, begun) = connect(&endpoint, options, save).await?;
        Ok(Self {
            endpoint,
            options,
            save,
            begun,
            about: *connection.about(),
            connection: Some(connection),
            next_id: 1,
            asked: VecDeque::new(),
            returned_bytes: 0,
            progress_at: Instant::now(),
        })
    }

    /// The replica whose snapshot it is.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The snapshot that is saved.
    #[must_use]
    pub fn begun(&self) -> &SaveBegun {
        &self.begun
    }

    /// Waits for what comes next. None at the end of the snapshot.
    ///
    /// # Errors
    ///
    /// If nothing has come for [`SaveOptions::no_progress_max`], or the replica refuses to go on.
    pub async fn next(&mut self) -> Result<Option<SavePiece>, SaveFailed> {
        let mut trouble = None;
        while self.returned_bytes < self.begun.bytes {
            if let Some(trouble) = trouble.take_if(|_| Instant::now() >= self.waits_until()) {
                return Err(self.no_progress(trouble));
            }
            if self.connection.is_none() {
                match self.connect_again().await {
                    Ok(true) => {}
                    Ok(false) => return Ok(Some(SavePiece::BeginsAnew)),
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => {
                        trouble = Some(error.to_string());
                        sleep(AGAIN_AFTER).await;
                        continue;
                    }
                }
            }
            match self.piece(self.waits_until()).await {
                Ok(piece) => {
                    self.returned_bytes += piece.0.len() as u64;
                    self.progress_at = Instant::now();
                    return Ok(Some(SavePiece::Bytes(piece)));
                }
                Err(Trouble::Lost(error)) => {
                    trouble = Some(error.to_string());
                    self.connection = None;
                    sleep(AGAIN_AFTER).await;
                }
                Err(Trouble::Refused(error)) => {
                    let (endpoint, connection) = (self.endpoint.clone(), self.connection.take());
                    drop(connection);
                    if let SaveError::Disk(_) = error {
                        return Err(SaveFailed::Refused { endpoint, error });
                    }
                    trouble = Some(error.to_string());
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
        Ok(None)
    }

    /// Tells the replica that the snapshot need not be kept any more.
    pub async fn end(mut self) {
        let goodbye = async {
            let connection = self.connection.as_mut()?;
            connection.put(u64::MAX, Ask::EndSave(self.save)).ok()?;
            while connection.answer().await.ok()?.id != u64::MAX {}
            Some(())
        };
        // It forgets the save by itself, too.
        let _ = timeout(GOODBYE_MAX, goodbye).await;
    }

    /// Goes on over another connection. Returns false if it is another snapshot from now on.
    async fn connect_again(&mut self) -> Result<bool, SaveFailed> {
        let (connection, begun) = connect(&self.endpoint, self.options, self.save).await?;
        if connection.about().cluster_id != self.about.cluster_id {
            let (endpoint, trouble) = (self.endpoint.clone(), ConnectTrouble::OtherCluster);
            return Err(ConnectError { endpoint, trouble }.into());
        }
        self.asked.clear();
        // Equal logs give equal files, so their bytes are the same, too.
        let is_same = (begun.slot, begun.bytes, begun.checksum)
            == (self.begun.slot, self.begun.bytes, self.begun.checksum);
        if !is_same {
            self.returned_bytes = 0;
            self.progress_at = Instant::now();
        }
        (self.about, self.begun) = (*connection.about(), begun);
        self.connection = Some(connection);
        Ok(is_same)
    }

    /// The next piece over this connection.
    async fn piece(&mut self, waits_until: Instant) -> Result<Value, Trouble> {
        let limit = self.options.no_progress_max;
        loop {
            self.ask()?;
            if let Some(Asked { piece: Some(_), .. }) = self.asked.front()
                && let Some(Asked { piece: Some(piece), .. }) = self.asked.pop_front()
            {
                return Ok(piece);
            }
            let connection = self.connection.as_mut().ok_or(ConnectionLost::HungUp)?;
            let answered = tokio::time::timeout_at(waits_until, connection.answer()).await;
            let answer = answered.unwrap_or(Err(ConnectionLost::Silent(limit)))?;
            let expected = self.asked.iter_mut().find(|it| it.id == answer.id);
            match (answer.answer, expected) {
                (Answer::SavePiece(piece), Some(expected)) => {
                    let left = self.begun.bytes - expected.offset;
                    if piece.0.len() as u64 != self.begun.piece_bytes.min(left) {
                        return Err(ConnectionLost::HungUp.into());
                    }
                    expected.piece = Some(piece);
                }
                (Answer::NotSaved(error), _) => return Err(Trouble::Refused(error)),
                _ => {}
            }
        }
    }

    /// Asks for as many pieces as may be in flight.
    fn ask(&mut self) -> Result<(), Trouble> {
        let connection = self.connection.as_mut().ok_or(ConnectionLost::HungUp)?;
        let piece_bytes = self.begun.piece_bytes.max(1);
        let mut offset =
            self.asked.back().map_or(self.returned_bytes, |it| it.offset + piece_bytes);
        while self.asked.len() < PIECES_IN_FLIGHT && offset < self.begun.bytes {
            let (id, save) = (self.next_id, self.save);
            self.next_id += 1;
            let asked = connection.put(id, Ask::ReadSave(ReadSave { save, offset }));
            asked.map_err(|error| ConnectionLost::Io(std::io::Error::other(error)))?;
            self.asked.push_back(Asked { id, offset, piece: None });
            offset += piece_bytes;
        }
        Ok(())
    }

    /// Until when the next bytes must come.
    fn waits_until(&self) -> Instant {
        self.progress_at + self.options.no_progress_max
    }

    fn no_progress(&self, trouble: String) -> SaveFailed {
        let (endpoint, waited) = (self.endpoint.clone(), self.options.no_progress_max);
        SaveFailed::NoProgress { endpoint, waited, trouble }
    }
}

/// Whether it is of no use to ask the same replica again.
fn is_final(error: &SaveFailed) -> bool {
    match error {
        SaveFailed::NotConnected(error) => matches!(
            error.trouble,
            ConnectTrouble::OtherCluster | ConnectTrouble::Unwelcome(Unwelcome::Version { .. })
        ),
        SaveFailed::Refused { error, .. } => !may_pass(error),
        SaveFailed::NoProgress { .. } => true,
    }
}

/// Whether the same replica may do it a little later.
fn may_pass(error: &SaveError) -> bool {
    match error {
        SaveError::NotTaken(error) => matches!(
            error,
            TakeSnapshotError::Stopping | TakeSnapshotError::Forming | TakeSnapshotError::Starting
        ),
        SaveError::Busy | SaveError::NotKept | SaveError::Stopping => true,
        SaveError::Disk(_) => false,
    }
}

enum Trouble {
    Lost(ConnectionLost),
    Refused(SaveError),
}

impl From<ConnectionLost> for Trouble {
    fn from(lost: ConnectionLost) -> Self {
        Self::Lost(lost)
    }
}

/// Connects, and begins the save, or finds that it has begun.
async fn connect(
    endpoint: &Endpoint,
    options: SaveOptions,
    save: SaveId,
) -> Result<(Connection, SaveBegun), SaveFailed> {
    let failed = |trouble| ConnectError { endpoint: endpoint.clone(), trouble };
    let mut connection = Connection::connect(endpoint, options.connect_max).await?;
    let put = connection.put(0, Ask::BeginSave(save));
    put.map_err(|error| failed(ConnectTrouble::Io(std::io::Error::other(error))))?;
    let begun = async {
        loop {
            match connection.answer().await {
                Ok(answer) if answer.id == 0 => match answer.answer {
                    Answer::SaveBegun(begun) => return Ok(begun),
                    Answer::NotSaved(error) => {
                        return Err(SaveFailed::Refused { endpoint: endpoint.clone(), error });
                    }
                    _ => return Err(failed(ConnectTrouble::HungUp).into()),
                },
                Ok(_) => {}
                Err(ConnectionLost::Io(error)) => {
                    return Err(failed(ConnectTrouble::Io(error)).into());
                }
                Err(_) => return Err(failed(ConnectTrouble::HungUp).into()),
            }
        }
    };
    let silent = || Err(failed(ConnectTrouble::Silent(options.begin_max)).into());
    let begun = timeout(options.begin_max, begun).await.unwrap_or_else(|_| silent())?;
    Ok((connection, begun))
}
