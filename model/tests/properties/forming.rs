//! Data directories are lost and made anew while a cluster forms, and later.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::{
    Configuration, ConfigurationId, Decision, Forming, Greeting, Incarnation, KnownMembers,
    OtherIncarnation, Registration, ReplicaId,
};

use crate::check;

const R0: ReplicaId = ReplicaId(0);
const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);

fn members(count: u16) -> Configuration {
    Configuration::new(ConfigurationId(1), (0..count).map(ReplicaId).collect()).expect("a few")
}

/// A data directory: what is on its disk, and the replica that runs on it.
struct Directory {
    replica: ReplicaId,
    incarnation: Incarnation,
    members: Configuration,
    on_disk: KnownMembers,
    forming: Forming,
    /// Whether it has stopped, because a peer knows another directory under its id.
    is_stopped: bool,
}

impl Directory {
    fn new(replica: ReplicaId, members: &Configuration, incarnation: u128) -> Self {
        let on_disk = KnownMembers::new(members);
        Self {
            replica,
            incarnation: Incarnation(incarnation),
            members: members.clone(),
            forming: Forming::new(replica, members, on_disk.clone()),
            on_disk,
            is_stopped: false,
        }
    }

    fn restart(&mut self) {
        self.forming = Forming::new(self.replica, &self.members, self.on_disk.clone());
    }

    /// Receives a greeting and carries out the decision, as a shell does. Never returns
    /// [`Decision::Store`].
    fn receive(&mut self, from: ReplicaId, incarnation: Incarnation, said: Greeting) -> Decision {
        loop {
            match self.forming.receive(from, incarnation, said) {
                Decision::Store(known) => {
                    assert_ne!(known, self.on_disk, "there is something to store");
                    self.on_disk = known.clone();
                    self.forming.stored(known);
                }
                Decision::Stop { known } => {
                    self.is_stopped = true;
                    return Decision::Stop { known };
                }
                decision => return decision,
            }
        }
    }
}

/// `from` dials `to`. The answer may be lost.
fn dial(directories: &mut [Directory], from: usize, to: usize, is_answered: bool) {
    let who = |it: &Directory| (it.replica, it.incarnation);
    let (dialer, acceptor) = (who(&directories[from]), who(&directories[to]));
    let answer = match directories[to].receive(dialer.0, dialer.1, Greeting::Hello) {
        Decision::Admit => Greeting::Welcome,
        Decision::Refuse(other) => Greeting::Refusal { known: other.known },
        decision => panic!("{decision:?} answers no hello of a member"),
    };
    if is_answered {
        let _ = directories[from].receive(acceptor.0, acceptor.1, answer);
    }
}

#[test]
fn a_cluster_is_formed_when_all_members_have_confirmed() {
    let (one, two) = (Incarnation(11), Incarnation(12));
    let mut zero = Directory::new(R0, &members(3), 10);
    assert_eq!(zero.forming.missing(), [R1, R2]);

    // An incarnation is stored before the hello is answered.
    let knows_one = KnownMembers { incarnations: BTreeMap::from([(R1, one)]), is_formed: false };
    let decision = zero.forming.receive(R1, one, Greeting::Hello);
    assert_eq!(decision, Decision::Store(knows_one.clone()));
    assert_eq!(zero.forming.knows(R1), None);
    zero.forming.stored(knows_one);
    assert_eq!(zero.receive(R1, one, Greeting::Hello), Decision::Admit);
    assert_eq!(zero.forming.missing(), [R1, R2], "it has confirmed nothing yet");

    assert_eq!(zero.receive(R1, one, Greeting::Welcome), Decision::Admit);
    assert_eq!(zero.forming.missing(), [R2]);
    assert!(!zero.forming.passes(R1, one), "not before everybody has confirmed");
    assert_eq!(zero.receive(R2, two, Greeting::Welcome), Decision::Admit);
    assert!(zero.forming.is_formed() && zero.on_disk.is_formed);
    assert!(zero.forming.missing().is_empty());
    assert!(zero.forming.passes(R1, one) && zero.forming.passes(R2, two));
    assert!(!zero.forming.passes(R2, one) && !zero.forming.passes(R0, Incarnation(10)));
    assert_eq!(zero.receive(R1, one, Greeting::Welcome), Decision::Admit);
}

#[test]
fn a_known_id_keeps_its_incarnation() {
    let (known, found) = (Incarnation(11), Incarnation(13));
    let mut zero = Directory::new(R0, &members(3), 10);
    assert_eq!(zero.receive(R1, known, Greeting::Hello), Decision::Admit);
    let refused = Decision::Refuse(OtherIncarnation { known, found });
    let refusal = Greeting::Refusal { known: Incarnation(14) };
    for said in [Greeting::Hello, Greeting::Welcome, refusal] {
        assert_eq!(zero.receive(R1, found, said), refused);
    }
    // A refusal counts if its sender has the known incarnation, or if none is known yet.
    let known = Incarnation(14);
    assert_eq!(zero.receive(R1, Incarnation(11), refusal), Decision::Stop { known });
    assert_eq!(zero.receive(R2, Incarnation(12), refusal), Decision::Stop { known });
    assert_eq!(zero.forming.knows(R2), None);
}

#[test]
fn an_earlier_run_has_confirmed_nothing_until_the_cluster_is_formed() {
    let incarnations = BTreeMap::from([(R1, Incarnation(11)), (R2, Incarnation(12))]);
    let start = |on_disk: KnownMembers| Forming::new(R0, &members(3), on_disk);
    let forming = start(KnownMembers { incarnations: incarnations.clone(), is_formed: false });
    assert_eq!((forming.is_formed(), forming.missing()), (false, vec![R1, R2]));
    let forming = start(KnownMembers { incarnations, is_formed: true });
    assert_eq!((forming.is_formed(), forming.missing()), (true, vec![]));
    // This content is impossible. A replica that finds it is not formed.
    assert!(!start(KnownMembers { incarnations: BTreeMap::new(), is_formed: true }).is_formed());
}

/// A change that names another directory for a member does not make this replica talk to that one.
#[test]
fn a_change_does_not_replace_whom_a_replica_has_met() {
    let (met, other) = (Incarnation(11), Incarnation(13));
    let incarnations = BTreeMap::from([(R1, met), (R2, Incarnation(12))]);
    let mut zero = Forming::new(R0, &members(3), KnownMembers { incarnations, is_formed: true });
    let registration = |member| {
        let incarnation = if member == R1 { other } else { Incarnation(0) };
        Registration { incarnation, address: String::new() }
    };
    let next = members(3).changed(&[R0, R1, R2, ReplicaId(3)], &[]).expect("one more");
    zero.govern(&next.with_all_registered(registration).expect("short addresses"));
    assert!(zero.passes(R1, met) && !zero.passes(R1, other));
    // Whom it has not met, it knows by the change.
    assert!(zero.passes(ReplicaId(3), Incarnation(0)) && !zero.passes(ReplicaId(3), other));
}

#[test]
fn a_replica_that_is_alone_is_formed() {
    let alone = Directory::new(R0, &members(1), 10);
    assert!(alone.forming.is_formed() && alone.on_disk.is_formed);
}

#[test]
fn a_stranger_is_no_peer() {
    let mut zero = Directory::new(R0, &members(3), 10);
    for stranger in [R0, ReplicaId(3)] {
        assert_eq!(zero.receive(stranger, Incarnation(13), Greeting::Hello), Decision::NoPeer);
    }
    assert_eq!(zero.on_disk, KnownMembers::new(&members(3)));
}

/// What happens to a cluster while it forms.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The first replica dials the second. The answer may get lost.
    Dial { from: usize, to: usize, is_answered: bool },
    /// A restart forgets all that was not stored.
    Restart(usize),
    /// The data directory is lost, and made anew under the same id.
    Remake(usize),
}

fn happenings(replicas: usize, remakes: u32) -> impl Strategy<Value = Happening> {
    let dial = (0..replicas, 0..replicas, prop::bool::weighted(0.8))
        .prop_map(|(from, to, is_answered)| Happening::Dial { from, to, is_answered });
    prop_oneof![
        20 => dial,
        2 => (0..replicas).prop_map(Happening::Restart),
        remakes => (0..replicas).prop_map(Happening::Remake),
    ]
}

/// A data directory that took part.
struct TookPart {
    replica: ReplicaId,
    incarnation: Incarnation,
    /// The directories of other replicas that it knew.
    incarnations: BTreeMap<ReplicaId, Incarnation>,
    /// For each replica, whether its directory had been made anew by that time.
    remade: Vec<bool>,
}

fn run(replicas: u16, happenings: &[Happening]) -> (Vec<Directory>, Vec<TookPart>) {
    let members = members(replicas);
    let mut count = 0;
    let mut new = |replica| {
        count += 1;
        Directory::new(ReplicaId(replica), &members, count)
    };
    let mut cluster: Vec<_> = (0..replicas).map(&mut new).collect();
    let mut took_part: Vec<TookPart> = Vec::new();
    for happening in happenings {
        match *happening {
            Happening::Dial { from, to, is_answered } => {
                if from != to && !cluster[from].is_stopped && !cluster[to].is_stopped {
                    dial(&mut cluster, from, to, is_answered);
                }
            }
            Happening::Restart(at) => cluster[at].restart(),
            Happening::Remake(at) => cluster[at] = new(u16::try_from(at).expect("few")),
        }
        for Directory { replica, incarnation, on_disk, forming, .. } in &cluster {
            let is_new = took_part.iter().all(|it| it.incarnation != *incarnation);
            if forming.is_formed() && is_new {
                let is_first = |it: &Directory| it.incarnation.0 <= replicas.into();
                took_part.push(TookPart {
                    replica: *replica,
                    incarnation: *incarnation,
                    incarnations: on_disk.incarnations.clone(),
                    remade: cluster.iter().map(|it| !is_first(it)).collect(),
                });
            }
        }
    }
    (cluster, took_part)
}

/// A second data directory under one id takes part only if all others were lost in between. While one
/// member remembers the first directory, the second one never takes part.
#[test]
fn no_directory_takes_the_place_of_another() {
    check(20_000, &vec(happenings(3, 2), 0..120), |happenings| {
        let (_, took_part) = run(3, &happenings);
        for (index, second) in took_part.iter().enumerate() {
            let same_id = took_part[..index].iter().filter(|it| it.replica == second.replica);
            for first in same_id.filter(|it| it.incarnation != second.incarnation) {
                assert!(second.remade.iter().all(|remade| *remade));
                for (member, incarnation) in &second.incarnations {
                    assert_ne!(first.incarnations.get(member), Some(incarnation));
                }
            }
        }
    });
}

/// If no directory is lost, a cluster forms, however often its members restart.
#[test]
fn a_cluster_forms() {
    check(2_000, &vec(happenings(4, 0), 0..60), |mut happenings| {
        let all = (0..4).flat_map(|from| (0..4).map(move |to| (from, to)));
        happenings.extend(all.map(|(from, to)| Happening::Dial { from, to, is_answered: true }));
        let (cluster, took_part) = run(4, &happenings);
        assert!(cluster.iter().all(|it| it.forming.is_formed() && !it.is_stopped));
        assert_eq!(took_part.len(), 4);
    });
}
