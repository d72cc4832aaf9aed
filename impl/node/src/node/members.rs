//! Who the members of the cluster are, for those who ask this replica.

use synod_model::{Configuration, Registration, ReplicaId};
use synod_wire::api::{Members, ReadError};

use super::call::{Call, ReadReply};
use super::shared::Governing;
use super::{Node, Parts};

impl Node {
    /// Finds out who the members are, linearizably: whoever has seen a change finished never gets an older answer.
    ///
    /// # Errors
    ///
    /// If that was not found out. It can be asked again.
    pub async fn members(&self) -> Result<Members, ReadError> {
        let call = |reply| Call::Read(ReadReply::Members(reply));
        let governing = self.call(call, ReadError::Stopping, ReadError::Stopping).await?;
        let Governing { configuration, changed_at, is_finished } = governing;
        let identity = &self.inner.parts.identity;
        Ok(Members {
            cluster_id: identity.cluster_id,
            cluster_name: identity.cluster_name.clone(),
            constants: identity.constants.clone(),
            configuration: self.inner.parts.registered(configuration),
            changed_at,
            is_finished,
        })
    }
}

impl Parts {
    /// The same configuration, where every member is registered of whom this replica knows enough. It has met the
    /// members of a first configuration when the cluster formed.
    fn registered(&self, configuration: Configuration) -> Configuration {
        let members = configuration.members().to_vec();
        members.into_iter().fold(configuration, |configuration, member| {
            if configuration.registration(member).is_some() {
                return configuration;
            }
            let Some(registration) = self.registration(member) else {
                return configuration;
            };
            // Fails only if the address is too long. Then it is as good as unknown.
            configuration.clone().with_registration(member, registration).unwrap_or(configuration)
        })
    }

    fn registration(&self, member: ReplicaId) -> Option<Registration> {
        if member == self.identity.replica {
            let (incarnation, address) = (self.identity.incarnation, self.address.clone()?);
            return Some(Registration { incarnation, address });
        }
        let incarnation = self.peers.incarnation(member)?;
        let mut peers = self.peers.status().into_iter();
        let address = peers.find(|peer| peer.replica == member)?.address?;
        Some(Registration { incarnation, address })
    }
}
