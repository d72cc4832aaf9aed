//! The gate: what the transport asks before it lets anything pass.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::{
    Configuration, Decision, Forming, Greeting, Incarnation, KnownMembers, OtherIncarnation,
    ReplicaId,
};
use synod_wire::blocking::{self, NotRun};
use thiserror::Error;
use tokio::sync::watch;
use tracing::info;

use super::{Store, StoreError};
use crate::identity::Identity;

/// [`Forming`] and its [`Store`], for tasks that may not block.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held for a moment only, so that nobody waits for the disk to read it.
    forming: Mutex<Forming>,
    /// Held from a decision to store until that is done, so one is carried out at a time. Locked before
    /// `forming`. `None` after an error, or once the gate is closed.
    store: Mutex<Option<Box<dyn Store>>>,
    is_formed: watch::Sender<bool>,
}

/// Why a replica does not pass.
#[derive(Clone, Debug, Error)]
pub enum GateError {
    /// It is known with another incarnation.
    #[error("it is known as incarnation {}, and now comes as {}", .0.known, .0.found)]
    OtherIncarnation(OtherIncarnation),
    /// It knows this replica with another incarnation, and is to be believed.
    #[error("it knows this replica as incarnation {known}")]
    MadeAnew {
        /// The incarnation that it knows.
        known: Incarnation,
    },
    /// It is this replica itself, or no member, and the cluster is not formed.
    #[error("it is no other member of the cluster, which is not formed")]
    NoPeer,
    /// What is known of the members could not be stored.
    #[error("what is known of the other members could not be stored\n  {0}")]
    Store(Arc<dyn std::error::Error + Send + Sync>),
    /// The system starts no more threads. It may start one later.
    #[error(
        "no thread could be started to store what is known of it: see the limits of this process"
    )]
    NoThread,
    /// This replica is stopping.
    #[error("this replica is stopping")]
    Closed,
}

impl From<StoreError> for GateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl Gate {
    /// The gate of a replica that starts with what is in `store`. `newest` is the newest configuration that it
    /// knows.
    pub fn new(identity: &Identity, newest: &Configuration, store: impl Store) -> Self {
        let forming = Forming::new(identity.replica, newest, store.known_members());
        let is_formed = watch::Sender::new(forming.is_formed());
        let store: Box<dyn Store> = Box::new(store);
        let (forming, store) = (Mutex::new(forming), Mutex::new(Some(store)));
        Self { inner: Arc::new(Inner { forming, store, is_formed }) }
    }

    /// From now on, `newest` is the newest configuration that this replica knows. Who has passed before may not pass
    /// any more: see [`check`](Self::check).
    pub fn govern(&self, newest: &Configuration) {
        self.inner.forming().govern(newest);
    }

    /// Judges `greeting` of the replica `from`, and stores what is to be stored. After that a hello may
    /// be answered with a welcome, and messages may pass on its connection once
    /// [`is_formed`](Self::is_formed) says so.
    ///
    /// # Errors
    ///
    /// If `from` does not pass.
    pub async fn receive(
        &self,
        from: ReplicaId,
        incarnation: Incarnation,
        greeting: Greeting,
    ) -> Result<(), GateError> {
        if self.inner.judge(from, incarnation, greeting)?.is_none() {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        let store = move || inner.receive(from, incarnation, greeting);
        match blocking::run("forming", store).await {
            Ok(stored) => stored,
            Err(NotRun::NoThread(_)) => Err(GateError::NoThread),
            Err(NotRun::Panicked(_)) => {
                // It is unknown what is stored, as after an error.
                *self.inner.store() = None;
                Err(StoreError::from("the thread that stores it has panicked").into())
            }
        }
    }

    /// Checks that a member is not known with another incarnation. Stores nothing.
    ///
    /// # Errors
    ///
    /// If it is.
    pub fn check(&self, member: ReplicaId, incarnation: Incarnation) -> Result<(), GateError> {
        let checked = self.inner.forming().check(member, incarnation);
        checked.map_err(GateError::OtherIncarnation)
    }

    /// Whether messages may pass on the connections of members that passed. Once [`Forming::passes`]
    /// allows that, it always does, so nothing is asked for each message.
    pub fn is_formed(&self) -> bool {
        *self.inner.is_formed.borrow()
    }

    /// The same, for tasks that wait for it.
    pub fn watch_formed(&self) -> watch::Receiver<bool> {
        self.inner.is_formed.subscribe()
    }

    /// The incarnation that `replica` is registered or known with.
    pub fn knows(&self, replica: ReplicaId) -> Option<Incarnation> {
        self.inner.forming().knows(replica)
    }

    /// The members that are missing before messages may pass.
    pub fn missing(&self) -> Vec<ReplicaId> {
        self.inner.forming().missing()
    }

    /// Waits until the store is at rest, and drops it. From then on no new member passes.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        if blocking::run("forming", move || drop(inner.store().take())).await.is_err() {
            // There is no thread, or the store has panicked as it was dropped. This one waits, then.
            drop(self.inner.store().take());
        }
    }
}

impl Inner {
    /// Whether `from` passes. Returns what must be stored first.
    fn judge(
        &self,
        from: ReplicaId,
        incarnation: Incarnation,
        greeting: Greeting,
    ) -> Result<Option<KnownMembers>, GateError> {
        match self.forming().receive(from, incarnation, greeting) {
            Decision::Store(known) => Ok(Some(known)),
            Decision::Admit => Ok(None),
            Decision::Refuse(other) => Err(GateError::OtherIncarnation(other)),
            Decision::Stop { known } => Err(GateError::MadeAnew { known }),
            Decision::NoPeer => Err(GateError::NoPeer),
        }
    }

    fn receive(
        &self,
        from: ReplicaId,
        incarnation: Incarnation,
        greeting: Greeting,
    ) -> Result<(), GateError> {
        let mut slot = self.store();
        while let Some(known) = self.judge(from, incarnation, greeting)? {
            let store = slot.as_mut().ok_or(GateError::Closed)?;
            if let Err(error) = store.store_known_members(known.clone()) {
                // It is unknown what is on the disk, and asking again does not tell.
                *slot = None;
                return Err(error.into());
            }
            let is_formed = known.is_formed;
            self.forming().stored(known);
            if is_formed {
                self.is_formed.send_replace(true);
                info!("the cluster is formed");
            } else {
                info!(peer = %from, %incarnation, "met for the first time");
            }
        }
        Ok(())
    }

    fn forming(&self) -> MutexGuard<'_, Forming> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> MutexGuard<'_, Option<Box<dyn Store>>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("forming", &*self.inner.forming()).finish_non_exhaustive()
    }
}
