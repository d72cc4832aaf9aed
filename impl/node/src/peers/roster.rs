//! Which replicas this one talks to.
//!
//! | who | why | until |
//! |---|---|---|
//! | the members of the newest configuration | they vote, or learn | a change removes them |
//! | those of the configuration before | they may not know of the change | the change is finished |
//! | everyone whose address is known, if this replica is no member | it asks around | it is one |
//! | guests: any other replica of the cluster that calls | it may join, have been removed, or know more than this one | it was away for a while |
//!
//! Whoever ceases to be one of the others becomes a guest. Guests are limited in number, because any caller can be one
//! under many ids.
//!
//! Which of their messages count is not decided here: the core decides that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synod_model::{Configuration, Limits, ReplicaId};
use synod_wire::api::Membership;
use tokio::time::Instant;
use tracing::info;

use super::addresses::{Addresses, is_possible};
use super::limits::{GUESTS_MAX, LinkTiming};
use super::peer::Peer;

/// The replicas that this one talks to.
#[derive(Debug)]
pub(super) struct Roster {
    me: ReplicaId,
    addresses: Addresses,
    limits: Limits,
    timing: LinkTiming,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    newest: Configuration,
    former: Option<Configuration>,
    peers: BTreeMap<ReplicaId, Arc<Peer>>,
    /// The other members of the newest configuration.
    others: Arc<[Arc<Peer>]>,
}

impl Roster {
    /// The replicas that `me` talks to when it starts. `newest` is the newest configuration that it knows.
    pub(super) fn new(
        me: ReplicaId,
        newest: Configuration,
        addresses: Addresses,
        limits: Limits,
        timing: LinkTiming,
    ) -> Self {
        let (peers, others) = (BTreeMap::new(), Arc::from([]));
        let state = State { newest, former: None, peers, others };
        let roster = Self { me, addresses, limits, timing, state: Mutex::new(state) };
        roster.fill(&mut roster.state());
        roster
    }

    /// From now on, these configurations are the newest one and the one before. Returns the peers that are new, or
    /// none if nothing has changed.
    pub(super) fn govern(
        &self,
        newest: &Configuration,
        former: Option<&Configuration>,
    ) -> Option<Vec<Arc<Peer>>> {
        let mut state = self.state();
        let id = Configuration::id;
        if id(&state.newest) == id(newest) && state.former.as_ref().map(id) == former.map(id) {
            return None;
        }
        (state.newest, state.former) = (newest.clone(), former.cloned());
        Some(self.fill(&mut state))
    }

    /// Adds the peers that are missing, drops guests that are too many, and looks for each peer where it is.
    fn fill(&self, state: &mut State) -> Vec<Arc<Peer>> {
        let wanted = self.wanted(state);
        let missing = wanted.iter().filter(|replica| !state.peers.contains_key(replica));
        let added: Vec<_> = missing.map(|replica| self.new_peer(*replica, state)).collect();
        state.peers.extend(added.iter().map(|peer| (peer.id, Arc::clone(peer))));
        for peer in state.peers.values() {
            self.look_for(peer, state);
        }
        let mut guests: Vec<_> = state.peers.values().cloned().collect();
        guests.retain(|peer| !wanted.contains(&peer.id));
        // Those that are connected last.
        guests.sort_by_key(|guest| guest.presence.is_used());
        for guest in &guests[..guests.len().saturating_sub(GUESTS_MAX)] {
            info!(
                "{guest} is dropped: it is outside the configuration, and there are too many such replicas"
            );
            guest.presence.end();
            state.peers.remove(&guest.id);
        }
        let others = state.newest.members().iter().filter_map(|it| state.peers.get(it));
        state.others = others.cloned().collect();
        added
    }

    /// Everyone that this replica talks to on its own account. All others are guests.
    fn wanted(&self, state: &State) -> BTreeSet<ReplicaId> {
        let configurations = [Some(&state.newest), state.former.as_ref()];
        let members = configurations.into_iter().flatten().flat_map(Configuration::members);
        let mut wanted: BTreeSet<_> = members.copied().collect();
        if !state.newest.contains(self.me) {
            wanted.extend(self.addresses.replicas());
        }
        wanted.remove(&self.me);
        wanted
    }

    fn new_peer(&self, replica: ReplicaId, state: &State) -> Arc<Peer> {
        let address = self.addresses.of(replica, &state.newest, state.former.as_ref(), None);
        Arc::new(Peer::new(replica, address, &self.limits, &self.timing))
    }

    /// Looks for a peer where it is, by what is known now. If nothing is known any more, it is looked for where it was.
    fn look_for(&self, peer: &Peer, state: &State) {
        let told = peer.seen().told_address;
        let former = state.former.as_ref();
        if let Some(address) = self.addresses.of(peer.id, &state.newest, former, told.as_deref()) {
            peer.look_at(address);
        }
    }

    /// The peer that `replica` is, which has called and says that it is at the address `told`. Says whether it is
    /// new: a guest.
    ///
    /// # Errors
    ///
    /// If there are as many guests as there may be.
    pub(super) fn meet(
        &self,
        replica: ReplicaId,
        told: Option<&str>,
    ) -> Result<(Arc<Peer>, bool), usize> {
        let mut state = self.state();
        let known = state.peers.get(&replica).cloned();
        let is_new = known.is_none();
        if is_new && state.peers.len() >= self.wanted(&state).len() + GUESTS_MAX {
            return Err(GUESTS_MAX);
        }
        let peer = known.unwrap_or_else(|| self.new_peer(replica, &state));
        if is_new {
            self.take_told(&peer, told, &state);
            state.peers.insert(replica, Arc::clone(&peer));
        }
        Ok((peer, is_new))
    }

    /// A peer that is connected has said where it is.
    pub(super) fn note_told_address(&self, peer: &Peer, told: Option<&str>) {
        self.take_told(peer, told, &self.state());
    }

    fn take_told(&self, peer: &Peer, told: Option<&str>, state: &State) {
        if let Some(told) = told.filter(|it| is_possible(it)) {
            peer.note_told_address(told.to_owned());
            self.look_for(peer, state);
        }
    }

    /// Drops the guests that were away for too long.
    pub(super) fn drop_unused(&self, now: Instant) {
        let mut state = self.state();
        let wanted = self.wanted(&state);
        state.peers.retain(|replica, peer| {
            let is_dropped = !wanted.contains(replica)
                && peer.presence.end_if_unused(self.timing.guest_kept, now);
            if is_dropped {
                info!("{peer} is dropped: it is outside the configuration, and was away");
            }
            !is_dropped
        });
    }

    /// A peer, if this replica talks to it.
    pub(super) fn get(&self, replica: ReplicaId) -> Option<Arc<Peer>> {
        self.state().peers.get(&replica).cloned()
    }

    /// The other members of the newest configuration.
    pub(super) fn others(&self) -> Arc<[Arc<Peer>]> {
        Arc::clone(&self.state().others)
    }

    /// Everyone that this replica talks to, by ascending id.
    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.state().peers.values().cloned().collect()
    }

    /// The same, with what each is.
    pub(super) fn memberships(&self) -> Vec<(Arc<Peer>, Membership)> {
        let state = self.state();
        let with_membership = |peer: &Arc<Peer>| {
            let membership = Membership::of(peer.id, &state.newest);
            (Arc::clone(peer), membership)
        };
        state.peers.values().map(with_membership).collect()
    }

    /// The members of the newest configuration and of the one before.
    pub(super) fn members(&self) -> Vec<Arc<Peer>> {
        let state = self.state();
        let former = state.former.as_ref();
        let is_member = |peer: &&Arc<Peer>| {
            state.newest.contains(peer.id) || former.is_some_and(|it| it.contains(peer.id))
        };
        state.peers.values().filter(is_member).cloned().collect()
    }

    /// Where the peers of this replica look for it.
    pub(super) fn own_address(&self) -> Option<String> {
        let state = self.state();
        let address = self.addresses.of(self.me, &state.newest, state.former.as_ref(), None);
        address.map(|it| it.text)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
