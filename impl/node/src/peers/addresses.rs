//! Where a peer is looked for.
//!
//! Several may say so. The operator of this replica is believed first, because an address that does not lead
//! to the peer from here can be mended in no other way. Then comes the newest configuration, to which the members
//! have agreed. Then comes what the data directory has. A caller's own word comes last, for a member: it is the word
//! of anybody who can connect.

use std::collections::BTreeMap;

use synod_model::{ADDRESS_BYTES_MAX, Configuration, ReplicaId};

/// The addresses that a replica was given, as `host:port`. It may be among them itself.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// By its operator, for this run.
    pub given: BTreeMap<ReplicaId, String>,
    /// When its data directory was made, or for a run before.
    pub stored: BTreeMap<ReplicaId, String>,
}

/// Where a peer is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) text: String,
    /// Whether nobody but a caller has said that it is there.
    pub(super) is_only_told: bool,
}

impl Addresses {
    /// Everyone that has an address here.
    pub(super) fn replicas(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.given.keys().chain(self.stored.keys()).copied()
    }

    /// Where `replica` is looked for. `told` is what it has said itself. Of a replica outside the newest
    /// configuration nobody else keeps the address up to date.
    pub(super) fn of(
        &self,
        replica: ReplicaId,
        newest: &Configuration,
        former: Option<&Configuration>,
        told: Option<&str>,
    ) -> Option<Address> {
        let registered = [Some(newest), former].into_iter().flatten();
        let mut registered = registered.filter_map(|it| it.registration(replica));
        let agreed = self.given.get(&replica).or_else(|| Some(&registered.next()?.address));
        let stored = self.stored.get(&replica);
        let known = if newest.contains(replica) || told.is_none() {
            agreed.or(stored)
        } else {
            agreed.or_else(|| stored.filter(|it| told == Some(it)))
        };
        let known = known.map(|it| Address { text: it.clone(), is_only_told: false });
        known.or_else(|| Some(Address { text: told?.to_owned(), is_only_told: true }))
    }
}

/// Whether a caller's word for where it is can be true. What it says is dialled, and shown to people.
pub(super) fn is_possible(address: &str) -> bool {
    let is_plain = |it: char| it.is_ascii_graphic();
    let is_port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    address.len() <= ADDRESS_BYTES_MAX
        && address.chars().all(is_plain)
        && address.rsplit_once(':').is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use synod_model::{ConfigurationId, Incarnation, Registration};

    use super::*;

    const R0: ReplicaId = ReplicaId(0);
    const R3: ReplicaId = ReplicaId(3);

    fn address(text: &str, is_only_told: bool) -> Address {
        Address { text: text.to_owned(), is_only_told }
    }

    fn first() -> Configuration {
        Configuration::new(ConfigurationId(1), vec![R0]).expect("one member")
    }

    fn with_three() -> Configuration {
        let at = |port: u16| format!("registered:{port}");
        let registration =
            |it: ReplicaId| Registration { incarnation: Incarnation(7), address: at(it.0) };
        let after = first().changed(&[R0, R3], &[]).expect("an id that is new");
        after.with_all_registered(registration).expect("short addresses")
    }

    #[test]
    fn the_operator_comes_first_and_the_caller_last() {
        let mut addresses = Addresses::default();
        let (first, newest) = (first(), with_three());
        let of = |addresses: &Addresses, newest: &Configuration, told| {
            addresses.of(R0, newest, None, told)
        };
        assert_eq!(of(&addresses, &first, None), None);
        assert_eq!(of(&addresses, &first, Some("told:1")), Some(address("told:1", true)));
        addresses.stored.insert(R0, "stored:1".to_owned());
        assert_eq!(of(&addresses, &first, Some("told:1")), Some(address("stored:1", false)));
        assert_eq!(of(&addresses, &newest, Some("told:1")), Some(address("registered:0", false)));
        addresses.given.insert(R0, "given:1".to_owned());
        assert_eq!(of(&addresses, &newest, Some("told:1")), Some(address("given:1", false)));
    }

    /// It may have moved, and nobody registers that.
    #[test]
    fn a_replica_outside_is_looked_for_where_it_says() {
        let mut addresses = Addresses::default();
        addresses.stored.insert(R3, "stored:3".to_owned());
        let (first, newest) = (first(), with_three());
        let told = |told| addresses.of(R3, &first, None, told);
        assert_eq!(told(None), Some(address("stored:3", false)));
        assert_eq!(told(Some("stored:3")), Some(address("stored:3", false)));
        assert_eq!(told(Some("told:3")), Some(address("told:3", true)));
        // It was removed by a change that is not finished.
        let removed = addresses.of(R3, &first, Some(&newest), Some("told:3"));
        assert_eq!(removed, Some(address("registered:3", false)));
    }

    #[test]
    fn what_cannot_be_an_address_is_recognized() {
        for text in ["a:1", "[::1]:7000", "127.0.0.1:65535"] {
            assert!(is_possible(text), "{text}");
        }
        for text in ["", "a", ":1", "a:", "a:65536", "a b:1", "\u{1b}[2J:1", "a\n:1", "ä:1"] {
            assert!(!is_possible(text), "{text:?}");
        }
        assert!(!is_possible(&format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX))));
    }
}
