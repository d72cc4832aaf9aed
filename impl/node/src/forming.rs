//! Forming: no message passes until all members of a new cluster know one another.
//!
//! The core decides who is admitted, and when this replica may take part. That is a matter of safety:
//! [`Forming`](synod_model::Forming) says why, and the model checks it. This module does what the core
//! says. A [`Store`] keeps what a replica knows of the other members. The [`Gate`] gives each greeting to
//! the core, stores what must be stored, and returns whether the sender passes.

mod gate;
#[cfg(test)]
pub(crate) mod kit;
#[cfg(test)]
mod tests;

use std::error::Error;

use synod_model::KnownMembers;

pub use gate::{Gate, GateError};

/// Where a replica keeps what it knows of the other members. Calls block.
pub trait Store: Send + 'static {
    /// What is stored.
    fn known_members(&self) -> KnownMembers;

    /// Stores `known` durably, in place of what is stored.
    ///
    /// # Errors
    ///
    /// If `known` may not be durable. Then this is not called again.
    fn store_known_members(&mut self, known: KnownMembers) -> Result<(), StoreError>;
}

/// The error of a store, in words for people.
pub type StoreError = Box<dyn Error + Send + Sync>;
