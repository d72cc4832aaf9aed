//! What the transport asks before it lets anything pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::ReplicaId;
use synod_wire::Incarnation;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::info;

use super::{Acquaintance, Forming, OtherIncarnation, Store, StoreError};
use crate::identity::Identity;

/// [`Forming`] and its [`Store`], for tasks that may not block.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held for a moment only, so that whoever wants to know how things are need not wait for a disk.
    forming: Mutex<Forming>,
    /// Held while the disk is at work, so one thing is stored at a time. Locked before `forming`.
    /// None after an error, or once the gate is closed.
    store: Mutex<Option<Box<dyn Store>>>,
    is_formed: watch::Sender<bool>,
}

/// Why a member does not pass.
#[derive(Clone, Debug, Error)]
pub enum GateError {
    /// It is known under another incarnation.
    #[error("it is known as incarnation {}, and now comes as {}", .0.known, .0.found)]
    OtherIncarnation(OtherIncarnation),
    /// What was to be remembered could not be.
    #[error("what is known of the other members could not be stored\n  {0}")]
    Store(Arc<dyn std::error::Error + Send + Sync>),
    /// This replica stops.
    #[error("this replica is stopping")]
    Closed,
}

impl From<StoreError> for GateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl Gate {
    /// The gate of this replica, as far open as it has been before.
    pub fn new(identity: &Identity, store: impl Store) -> Self {
        let forming = Forming::new(identity, store.incarnations(), store.is_formed());
        let is_formed = watch::Sender::new(forming.is_formed());
        let store: Box<dyn Store> = Box::new(store);
        let (forming, store) = (Mutex::new(forming), Mutex::new(Some(store)));
        Self { inner: Arc::new(Inner { forming, store, is_formed }) }
    }

    /// A member has said who it is. When this returns, that is stored, and it may be told so.
    ///
    /// # Errors
    ///
    /// If it does not pass.
    pub async fn met(&self, member: ReplicaId, incarnation: Incarnation) -> Result<(), GateError> {
        self.meet(member, incarnation, false).await
    }

    /// A member has said who it is, and that it has stored who this replica is. When this returns,
    /// the cluster may be formed.
    ///
    /// # Errors
    ///
    /// If it does not pass.
    pub async fn welcomed(&self, by: ReplicaId, incarnation: Incarnation) -> Result<(), GateError> {
        self.meet(by, incarnation, true).await
    }

    /// Judges a member that says who it is, and stores nothing.
    ///
    /// # Errors
    ///
    /// If it does not pass.
    pub fn check(&self, member: ReplicaId, incarnation: Incarnation) -> Result<(), GateError> {
        self.inner.check(member, incarnation).map(drop)
    }

    /// Whether messages may pass.
    pub fn is_formed(&self) -> bool {
        *self.inner.is_formed.borrow()
    }

    /// Whether messages may pass, for those who wait for that.
    pub fn watch_formed(&self) -> watch::Receiver<bool> {
        self.inner.is_formed.subscribe()
    }

    /// The members that are still to be met.
    pub fn missing(&self) -> Vec<ReplicaId> {
        self.inner.forming().missing()
    }

    /// Gives the store back to nobody: waits until it is at rest, and drops it. Nobody new passes any
    /// more.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        // It fails only if it panics, and then the store is at rest as well.
        let _ = spawn_blocking(move || inner.store().take()).await;
    }

    async fn meet(
        &self,
        member: ReplicaId,
        incarnation: Incarnation,
        confirms: bool,
    ) -> Result<(), GateError> {
        if self.is_formed() {
            // Everybody is known, and nothing is left to be stored.
            return self.inner.check(member, incarnation).map(drop);
        }
        let inner = Arc::clone(&self.inner);
        let met = spawn_blocking(move || inner.meet(member, incarnation, confirms));
        // The runtime ends, or a store has panicked: either way nothing is known to be stored.
        met.await.unwrap_or(Err(GateError::Closed))
    }
}

impl Inner {
    fn meet(
        &self,
        member: ReplicaId,
        incarnation: Incarnation,
        confirms: bool,
    ) -> Result<(), GateError> {
        let mut slot = self.store();
        let store = slot.as_mut().ok_or(GateError::Closed)?;
        let outcome = self.meet_with(store.as_mut(), member, incarnation, confirms);
        if let Err(GateError::Store(_)) = outcome {
            // What is on the disk is unknown now, and does not become known by asking again.
            *slot = None;
        }
        outcome
    }

    fn meet_with(
        &self,
        store: &mut dyn Store,
        member: ReplicaId,
        incarnation: Incarnation,
        confirms: bool,
    ) -> Result<(), GateError> {
        if self.check(member, incarnation)? == Acquaintance::New {
            store.store_incarnation(member, incarnation)?;
            self.forming().stored(member, incarnation);
            info!(replica = %member, %incarnation, "met for the first time");
        }
        if confirms && self.forming().confirmed(member) {
            store.store_formed()?;
            self.forming().formed();
            self.is_formed.send_replace(true);
            info!("the cluster is formed");
        }
        Ok(())
    }

    fn check(&self, member: ReplicaId, found: Incarnation) -> Result<Acquaintance, GateError> {
        self.forming().meet(member, found).map_err(GateError::OtherIncarnation)
    }

    fn forming(&self) -> MutexGuard<'_, Forming> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> MutexGuard<'_, Option<Box<dyn Store>>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("forming", &*self.inner.forming()).finish_non_exhaustive()
    }
}
