//! Changing the members of a cluster.
//!
//! A change is a submission, and is retried as any other. Two things differ. The coordinator may not open it yet,
//! since those who would vote are not ready: then it is asked again until the deadline. And a change that has no
//! answer by then must not happen later, when nobody expects it. So the client ends the session that the change is
//! in. After that no copy of the change can be delivered, and a look at the members tells whether one was.

use std::time::Duration;

use synod_model::{Configuration, DeliveryRefused, MemberSet, Slot};
use synod_wire::api::{self, Members};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Client;
use crate::driver::Command;
use crate::outcome::{NotDone, ReadFailed, SubmitFailed, Unknown};
use crate::requests::ChangeUnanswered;

/// Why the members were not changed, as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeFailed {
    /// No replica has taken the change. It was not made, and will not be.
    #[error("not done: {0}")]
    NotDone(NotDone),
    /// The coordinator did not open the change until the deadline, for too few of those who would vote were ready.
    /// The change was not made, and will not be.
    #[error("not done: too few of those who would vote after it are ready")]
    NotReady {
        /// Which members of the new configuration are ready.
        ready: MemberSet,
    },
    /// Another change was made first. This one was not made, and will not be.
    #[error("not done: another change of the members came first")]
    OtherFirst,
    /// There was no answer until the deadline. The change was taken back: it was not made, and will not be.
    #[error("not done, and taken back: {0}")]
    TakenBack(Unknown),
    /// Nobody could say whether the change was made. It may still be.
    #[error("unknown, it may be made yet: {0}")]
    Unknown(Unknown),
}

impl Client {
    /// Finds out who the members are, linearizably: whoever has seen a change finished never gets an older answer.
    ///
    /// # Errors
    ///
    /// If there is no answer in time.
    pub async fn members(&self) -> Result<Members, ReadFailed> {
        self.members_within(self.deadline).await
    }

    /// The same, with another deadline than [`ClientOptions::deadline`](crate::ClientOptions::deadline).
    ///
    /// # Errors
    ///
    /// If there is no answer in time.
    pub async fn members_within(&self, within: Duration) -> Result<Members, ReadFailed> {
        let (reply, outcome) = oneshot::channel();
        let deadline = Instant::now() + within;
        let _ = self.commands.send(Command::Members { deadline, reply }).await;
        outcome.await.unwrap_or(Err(ReadFailed::Closed))
    }

    /// Makes `configuration` the one that governs, and waits until that is committed. Returns the slot of the change.
    /// The members before it are still needed until [`Members::is_finished`] says otherwise.
    ///
    /// `configuration` is [made](Configuration::changed) from the one that [`members`](Self::members) gives. If
    /// another change is committed before, nothing is changed.
    ///
    /// If there is no answer within this time, the session of the client is ended, so that the change cannot be made
    /// later. That, and looking whether it was made, takes as long as [`ClientOptions::deadline`] each, at most. What
    /// else is in flight in the session becomes unknown.
    ///
    /// [`ClientOptions::deadline`]: crate::ClientOptions::deadline
    ///
    /// # Errors
    ///
    /// If it is not made, or if nobody could say whether it was.
    pub async fn change_within(
        &self,
        configuration: Configuration,
        within: Duration,
    ) -> Result<Slot, ChangeFailed> {
        let (reply, outcome) = oneshot::channel();
        let deadline = Instant::now() + within;
        let command = Command::Change { configuration: configuration.clone(), deadline, reply };
        let _ = self.commands.send(command).await;
        match outcome.await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(unanswered)) => self.take_back(&configuration, unanswered).await,
            Err(_) => Err(ChangeFailed::Unknown(Unknown::Closed)),
        }
    }

    /// Makes sure that a change without an answer is not made later, and finds out whether it was made.
    async fn take_back(
        &self,
        configuration: &Configuration,
        unanswered: ChangeUnanswered,
    ) -> Result<Slot, ChangeFailed> {
        let ChangeUnanswered { failed, session, not_ready } = unanswered;
        let (unknown, session) = match (failed, session) {
            (SubmitFailed::NotDone(reason), _) => return Err(ChangeFailed::NotDone(reason)),
            // As long as its session is known, so is a first copy. So there was none, and later ones come too late.
            (
                SubmitFailed::Unknown(Unknown::Told(api::Unknown::Refused(
                    DeliveryRefused::OtherConfiguration,
                ))),
                _,
            ) => return Err(ChangeFailed::OtherFirst),
            (SubmitFailed::Unknown(unknown), Some(session)) => (unknown, session),
            (SubmitFailed::Unknown(unknown), None) => return Err(ChangeFailed::Unknown(unknown)),
        };
        let (reply, ended) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        let _ = self.commands.send(Command::EndSession { session, deadline, reply }).await;
        if !matches!(ended.await, Ok(Ok(_))) {
            return Err(ChangeFailed::Unknown(unknown));
        }
        let Ok(members) = self.members().await else {
            return Err(ChangeFailed::Unknown(unknown));
        };
        let newest = members.configuration;
        if newest == *configuration {
            Ok(members.changed_at)
        } else if newest.id() > configuration.id() {
            // It may be one of those before.
            Err(ChangeFailed::Unknown(unknown))
        } else if newest.id() == configuration.id() {
            Err(ChangeFailed::OtherFirst)
        } else if let Some(ready) = not_ready {
            Err(ChangeFailed::NotReady { ready })
        } else {
            Err(ChangeFailed::TakenBack(unknown))
        }
    }
}
