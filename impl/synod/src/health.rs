//! Does the cluster work? One verdict, from what the replicas say: for `synod health`, for `synod status`,
//! and for commands that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use synod_client::Endpoint;
use synod_model::{ReplicaId, Slot};
use synod_wire::api::{
    Forgotten, Forming, Hang, Membership, OtherHistory, PeerStatus, ReplicaStatus, Resource, Role,
};

use super::args::{AllEndpoints, duration};
use super::exit::{Exit, error_text};
use super::output::Output;
use super::status::{self, Report};

pub(crate) const ABOUT: &str = "\
Say in one line whether the cluster works, for scripts and probes.

It works if a coordinator has a majority. With one endpoint, the answer is that
of one replica: whether it runs, has read its log, and is in touch with such a
coordinator.";

pub(crate) const CODES: &str = "\
Exit codes:
  0  the cluster works
  1  no replica answered
  2  the command line is invalid
  3  the cluster does not work: there is no majority, no coordinator yet, or it
     is still starting or forming
  4  it works, but two replicas have committed different entries, or a disk has
     lost what it had; or it was asked for more, and a member is missing, an
     endpoint does not serve, a disk or an application hangs (--all), or a
     replica lags (--lag-max)";

/// The arguments of `health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    pub(crate) endpoints: AllEndpoints,
    /// Fail also if a member is missing, an endpoint does not serve, or something hangs; and name it
    #[arg(long)]
    pub(crate) all: bool,
    /// Fail also if a replica lags by more slots, or does not know its lag
    #[arg(long, value_name = "SLOTS")]
    pub(crate) lag_max: Option<u64>,
    /// Print one JSON document instead of the line
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to wait for each replica, such as 2s or 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

pub(crate) async fn health(args: HealthArgs) -> anyhow::Result<Exit> {
    let endpoints = args.endpoints.endpoints();
    let reports = status::ask(&endpoints, args.timeout).await;
    let health = Health::of(&reports);
    let mut output = Output::new();
    if args.json {
        output.line(serde_json::to_string_pretty(&health)?)?;
    } else if args.all && !health.not_serving.is_empty() {
        output.line(format_args!("{health}; not serving: {}", health.not_serving.join(", ")))?;
    } else {
        output.line(&health)?;
    }
    output.flush()?;
    let lags = |report: &Report| {
        let lag = report.status.as_ref().and_then(|it| it.lag_slots);
        args.lag_max.is_some_and(|most| lag.is_none_or(|lag| lag > most))
    };
    let is_less = (args.all && !health.is_complete()) || reports.iter().any(lags);
    Ok(match health.exit() {
        Exit::Done if is_less => Exit::Degraded,
        exit => exit,
    })
}

/// A command has failed for want of an answer. Prints the error, and why the cluster does not work if it
/// does not.
pub(crate) async fn failed(endpoints: &[Endpoint], error: anyhow::Error) -> anyhow::Result<Exit> {
    anstream::eprint!("{}", error_text(&error));
    explain(endpoints).await;
    Ok(Exit::Failed)
}

/// Says on standard error why the cluster does not work, if it does not.
pub(crate) async fn explain(endpoints: &[Endpoint]) {
    const ANSWER_MAX: Duration = Duration::from_secs(1);
    let health = Health::of(&status::ask(endpoints, ANSWER_MAX).await);
    if !matches!(health.verdict, Verdict::Works | Verdict::Unreachable) {
        anstream::eprintln!("  {health}");
    }
}

/// Whether the cluster works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// A coordinator has a majority.
    Works,
    /// Too few members are there.
    NoMajority,
    /// A majority is there, and nobody coordinates it.
    NoCoordinator,
    /// Not all members have met.
    Forming,
    /// The replicas that answered read their logs.
    Starting,
    /// No replica answered.
    Unreachable,
}

/// The health of a cluster, as far as the replicas that answered know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    pub(crate) verdict: Verdict,
    coordinator: Option<ReplicaId>,
    members: BTreeSet<ReplicaId>,
    /// The members that vote. The others are learners.
    voters: BTreeSet<ReplicaId>,
    /// Members that neither answered nor are connected with one that did. One that starts is missing.
    missing: BTreeSet<ReplicaId>,
    /// Replicas that answered, and are no members: not yet, or not any more.
    outside: BTreeSet<ReplicaId>,
    /// Endpoints that do not serve: they did not answer, start, or are out of touch.
    not_serving: Vec<String>,
    /// For how long the replicas that answered have been out of touch, at least.
    out_of_touch_ms: Option<u64>,
    /// The replicas of which something hangs, and what.
    hanging: Vec<(ReplicaId, Resource)>,
    /// The snapshots that replicas get from peers.
    receiving: Vec<Receiving>,
    two_histories: Vec<TwoHistories>,
    /// What the disks of replicas have lost, that they had told.
    forgotten: BTreeMap<ReplicaId, Forgotten>,
}

/// A replica that lacks what the logs of the others have no more, and gets a snapshot of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Receiving {
    replica: ReplicaId,
    from: ReplicaId,
    percent: u64,
}

/// Two replicas that have committed different entries, and a slot up to which they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct TwoHistories {
    replicas: [ReplicaId; 2],
    slot: Slot,
}

impl Health {
    pub(crate) fn of(reports: &[Report]) -> Self {
        let running: Vec<_> = reports.iter().filter_map(|it| it.status.as_ref()).collect();
        let starting = reports.iter().filter_map(|it| it.starting.as_ref());
        let mut present = BTreeSet::new();
        for status in &running {
            present.insert(status.replica);
            let connected = status.peers.iter().filter(|it| it.connected);
            present.extend(connected.map(|it| it.replica));
        }
        let (voters, mut members) = newest_members(&running);
        for starting in starting.clone() {
            // It has not said of which configuration it is a member, and nobody else has.
            if running.is_empty() {
                members.insert(starting.replica);
            }
            present.remove(&starting.replica);
        }
        let outside = running.iter().filter(|it| it.membership == Membership::Outside);
        let outside = outside.map(|it| it.replica).collect();
        let missing: BTreeSet<_> = members.difference(&present).copied().collect();
        let formed: Vec<_> =
            running.iter().copied().filter(|it| it.forming == Forming::Formed).collect();
        let coordinator = coordinator(&formed);
        let verdict = if coordinator.is_some() {
            Verdict::Works
        } else if !formed.is_empty() {
            let has_majority = 2 * voters.intersection(&present).count() > voters.len();
            if has_majority { Verdict::NoCoordinator } else { Verdict::NoMajority }
        } else if !running.is_empty() {
            Verdict::Forming
        } else if starting.count() > 0 {
            Verdict::Starting
        } else {
            Verdict::Unreachable
        };
        let serves = |report: &&Report| {
            let status = report.status.as_ref();
            status.is_some_and(|it| it.forming == Forming::Formed && it.out_of_touch_ms.is_none())
        };
        let not_serving = reports.iter().filter(|it| !serves(it)).map(|it| it.endpoint.clone());
        let out_of_touch = running.iter().map(|it| it.out_of_touch_ms.unwrap_or_default()).min();
        let hanging = running
            .iter()
            .flat_map(|it| it.hangs.iter().map(|Hang { resource, .. }| (it.replica, *resource)));
        Self {
            verdict,
            coordinator,
            members,
            voters,
            missing,
            outside,
            not_serving: not_serving.collect(),
            out_of_touch_ms: out_of_touch.filter(|ms| *ms > 0),
            hanging: hanging.collect(),
            receiving: running.iter().filter_map(|it| receiving(it)).collect(),
            two_histories: two_histories(&running),
            forgotten: running
                .iter()
                .flat_map(|it| &it.forgotten)
                .map(|it| (it.replica, *it))
                .collect(),
        }
    }

    /// How a command ends that was asked for the health.
    pub(crate) fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Works if !self.two_histories.is_empty() || !self.forgotten.is_empty() => {
                Exit::Degraded
            }
            Verdict::Works => Exit::Done,
            Verdict::Unreachable => Exit::Failed,
            _ => Exit::DoesNotWork,
        }
    }

    fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.not_serving.is_empty() && self.hanging.is_empty()
    }
}

/// The voters, and all members, as the replicas say that know the newest configuration.
fn newest_members(running: &[&ReplicaStatus]) -> (BTreeSet<ReplicaId>, BTreeSet<ReplicaId>) {
    let newest = running.iter().map(|it| it.configuration).max();
    let those = running.iter().filter(|it| Some(it.configuration) == newest);
    let all = those.flat_map(|it| {
        let peers = it.peers.iter().map(|peer| (peer.replica, peer.membership));
        [(it.replica, it.membership)].into_iter().chain(peers)
    });
    let (mut voters, mut members) = (BTreeSet::new(), BTreeSet::new());
    for (replica, membership) in all {
        match membership {
            Membership::Voter => _ = (voters.insert(replica), members.insert(replica)),
            Membership::Learner => _ = members.insert(replica),
            Membership::Outside => {}
        }
    }
    (voters, members)
}

fn receiving(status: &ReplicaStatus) -> Option<Receiving> {
    let transfer = status.snapshots.receiving.as_ref()?;
    let percent = status::percent(transfer);
    Some(Receiving { replica: status.replica, from: transfer.peer, percent })
}

/// The pairs of replicas that have committed different entries, by what these replicas say. Two that have
/// not met since may only show it by their hashes of the same slots.
fn two_histories(running: &[&ReplicaStatus]) -> Vec<TwoHistories> {
    let mut slots = BTreeMap::new();
    let mut note = |one: ReplicaId, other: ReplicaId, slot: Slot| {
        let lowest = slots.entry([one.min(other), one.max(other)]).or_insert(slot);
        *lowest = slot.min(*lowest);
    };
    for (index, status) in running.iter().enumerate() {
        for OtherHistory { peer, slot } in &status.other_histories {
            note(status.replica, *peer, *slot);
        }
        for other in &running[..index] {
            if other.committed == status.committed && other.committed_hash != status.committed_hash
            {
                note(status.replica, other.replica, status.committed);
            }
        }
    }
    slots.into_iter().map(|(replicas, slot)| TwoHistories { replicas, slot }).collect()
}

/// The coordinator that has a majority, by what these replicas say: it says so itself, or a replica that
/// is connected with it does.
fn coordinator(formed: &[&ReplicaStatus]) -> Option<ReplicaId> {
    let in_touch = |status: &&&ReplicaStatus| {
        let is_voter = |peer: &&PeerStatus| peer.membership == Membership::Voter;
        let own = usize::from(status.membership == Membership::Voter);
        let voters = own + status.peers.iter().filter(is_voter).count();
        let connected =
            own + status.peers.iter().filter(is_voter).filter(|it| it.connected).count();
        status.out_of_touch_ms.is_none() && 2 * connected > voters
    };
    let in_touch = || formed.iter().filter(in_touch);
    let coordinates = in_touch().filter(|it| it.role == Role::Coordinator);
    let itself = coordinates.max_by_key(|it| it.sequence_number).map(|it| it.replica);
    let by_followers = || {
        let followers = in_touch().filter(|it| it.role == Role::Follower);
        let followed = followers.filter_map(|it| {
            let id = it.coordinator?;
            it.peers.iter().any(|peer| peer.replica == id && peer.connected).then_some((it, id))
        });
        followed.max_by_key(|(it, _)| it.promised).map(|(_, id)| id)
    };
    itself.or_else(by_followers)
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members.len();
        let there = members - self.missing.len();
        match (self.verdict, self.coordinator) {
            (Verdict::Works, Some(id)) => {
                write!(
                    f,
                    "the cluster works: r{id} coordinates; {there} of {members} members are there"
                )?;
            }
            (Verdict::NoMajority | Verdict::Works, _) if self.voters.len() < members => {
                let voters = self.voters.len();
                let there = self.voters.difference(&self.missing).count();
                write!(f, "no majority: {there} of {voters} voters are there")?;
            }
            (Verdict::NoMajority | Verdict::Works, _) => {
                write!(f, "no majority: {there} of {members} members are there")?;
            }
            (Verdict::NoCoordinator, _) => {
                write!(
                    f,
                    "no coordinator: {there} of {members} members are there, none leads a majority"
                )?;
            }
            (Verdict::Forming, _) => f.write_str("forming: not all members have met")?,
            (Verdict::Starting, _) => f.write_str("starting: the log is being read")?,
            (Verdict::Unreachable, _) => f.write_str("no replica answered")?,
        }
        if !self.missing.is_empty() {
            let missing: Vec<_> = self.missing.iter().map(|id| format!("r{id}")).collect();
            write!(f, "; missing: {}", missing.join(", "))?;
        }
        for replica in &self.outside {
            write!(f, "; r{replica} is no member of the cluster")?;
        }
        if let Some(ms) = self.out_of_touch_ms {
            write!(f, "; out of touch for {} s", ms / 1000)?;
        }
        for (replica, resource) in &self.hanging {
            write!(f, "; the {} of r{replica} hangs", resource.name())?;
        }
        for Receiving { replica, from, percent } in &self.receiving {
            write!(f, "; r{replica} gets a snapshot of r{from}: {percent} %")?;
        }
        for TwoHistories { replicas: [one, other], slot } in &self.two_histories {
            write!(f, "; r{one} and r{other} have two histories up to slot {slot}")?;
        }
        for Forgotten { replica, told_to, .. } in self.forgotten.values() {
            write!(f, "; the disk of r{replica} has lost what r{replica} told r{told_to}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_model::{ConfigurationId, PrefixHash, Run, SequenceNumber};
    use synod_wire::api::{DiskStatus, SnapshotStatus, SnapshotTransfer, Starting};

    /// Replica `me` of three, which is connected with these.
    fn replica(me: u16, role: Role, coordinator: Option<u16>, connected: &[u16]) -> Report {
        let peers = (0..3).filter(|id| *id != me).map(|id| PeerStatus {
            replica: ReplicaId(id),
            address: String::new(),
            membership: Membership::Voter,
            connected: connected.contains(&id),
            dropped: 0,
        });
        let status = ReplicaStatus {
            replica: ReplicaId(me),
            run: Run(1),
            forming: Forming::Formed,
            configuration: ConfigurationId(1),
            membership: Membership::Voter,
            role,
            sequence_number: SequenceNumber(3),
            coordinator: coordinator.map(ReplicaId),
            promised: SequenceNumber(3),
            committed: Slot(7),
            committed_hash: PrefixHash(9),
            applied: Slot(7),
            lag_slots: Some(0),
            out_of_touch_ms: None,
            hangs: Vec::new(),
            other_histories: Vec::new(),
            forgotten: Vec::new(),
            disk: DiskStatus::default(),
            snapshots: SnapshotStatus::default(),
            resident_bytes: 0,
            peers: peers.collect(),
        };
        Report::of(format!("r{me}"), status)
    }

    fn told(reports: &[Report]) -> (Verdict, String) {
        let health = Health::of(reports);
        (health.verdict, health.to_string())
    }

    #[test]
    fn a_coordinator_with_a_majority_works() {
        let all = [
            replica(0, Role::Coordinator, Some(0), &[1, 2]),
            replica(1, Role::Follower, Some(0), &[0, 2]),
        ];
        let (verdict, text) = told(&all);
        assert_eq!(verdict, Verdict::Works);
        assert_eq!(text, "the cluster works: r0 coordinates; 3 of 3 members are there");
        assert!(!Health::of(&[replica(0, Role::Coordinator, Some(0), &[1])]).is_complete());
        // A follower knows it as well.
        let (verdict, text) = told(&all[1..]);
        assert_eq!((verdict, text.contains("r0 coordinates")), (Verdict::Works, true));
    }

    #[test]
    fn who_is_missing_is_named() {
        // It was the coordinator of a majority that is gone, or follows one that is.
        for survivor in [
            replica(0, Role::Coordinator, Some(0), &[]),
            replica(0, Role::Canvassing, Some(1), &[]),
            replica(0, Role::Follower, Some(1), &[]),
        ] {
            let (verdict, text) = told(&[survivor]);
            assert_eq!(verdict, Verdict::NoMajority);
            assert_eq!(text, "no majority: 1 of 3 members are there; missing: r1, r2");
        }
    }

    #[test]
    fn an_election_and_a_replica_out_of_touch_do_not_work() {
        let standing = replica(0, Role::Candidate, Some(1), &[2]);
        assert_eq!(told(&[standing]).0, Verdict::NoCoordinator);
        let mut cut_off = replica(0, Role::Follower, Some(1), &[1, 2]);
        cut_off.status.as_mut().expect("its status").out_of_touch_ms = Some(7_300);
        let (verdict, text) = told(&[cut_off]);
        assert_eq!(verdict, Verdict::NoCoordinator);
        assert!(text.ends_with("out of touch for 7 s"), "{text}");
    }

    #[test]
    fn what_hangs_is_named_and_the_cluster_works_all_the_same() {
        let mut follower = replica(0, Role::Follower, Some(1), &[1, 2]);
        let disk = Hang { resource: Resource::Disk, no_progress_ms: 4_000 };
        follower.status.as_mut().expect("its status").hangs.push(disk);
        let all = [follower, replica(1, Role::Coordinator, Some(1), &[0, 2])];
        let (verdict, text) = told(&all);
        assert_eq!(verdict, Verdict::Works);
        assert!(text.ends_with("3 of 3 members are there; the disk of r0 hangs"), "{text}");
        assert!(!Health::of(&all).is_complete());
    }

    #[test]
    fn a_replica_that_gets_a_snapshot_is_named() {
        let mut follower = replica(2, Role::Follower, Some(1), &[0, 1]);
        let transfer = SnapshotTransfer {
            peer: ReplicaId(0),
            slot: Slot(5),
            transferred_bytes: 459,
            bytes: 1000,
        };
        follower.status.as_mut().expect("its status").snapshots.receiving = Some(transfer);
        let all = [follower, replica(1, Role::Coordinator, Some(1), &[0, 2])];
        let (verdict, text) = told(&all);
        assert_eq!((verdict, Health::of(&all).exit()), (Verdict::Works, Exit::Done));
        assert!(text.ends_with("members are there; r2 gets a snapshot of r0: 45 %"), "{text}");
    }

    #[test]
    fn two_histories_are_never_well() {
        let mut all = [
            replica(0, Role::Coordinator, Some(0), &[1, 2]),
            replica(1, Role::Follower, Some(0), &[0, 2]),
            replica(2, Role::Follower, Some(0), &[0, 1]),
        ];
        assert_eq!(Health::of(&all).exit(), Exit::Done);
        let other = OtherHistory { peer: ReplicaId(2), slot: Slot(5) };
        all[0].status.as_mut().expect("its status").other_histories = vec![other];
        let (verdict, text) = told(&all);
        assert_eq!((verdict, Health::of(&all).exit()), (Verdict::Works, Exit::Degraded));
        assert!(text.ends_with("; r0 and r2 have two histories up to slot 5"), "{text}");
        // Nobody has noticed, but for who asks both.
        all[0].status.as_mut().expect("its status").other_histories.clear();
        all[2].status.as_mut().expect("its status").committed_hash = PrefixHash(8);
        let (_, text) = told(&all[1..]);
        assert!(text.ends_with("; r1 and r2 have two histories up to slot 7"), "{text}");
        // With different lengths, different hashes mean nothing.
        all[2].status.as_mut().expect("its status").committed = Slot(6);
        assert_eq!(Health::of(&all).exit(), Exit::Done);
        // One against one.
        let mut one = replica(0, Role::Canvassing, Some(1), &[1]);
        one.status.as_mut().expect("its status").other_histories = vec![other];
        assert_eq!(Health::of(&[one]).exit(), Exit::DoesNotWork);
    }

    #[test]
    fn learners_and_those_outside_make_no_majority() {
        let mut coordinator = replica(0, Role::Coordinator, Some(0), &[1]);
        let status = coordinator.status.as_mut().expect("its status");
        status.configuration = ConfigurationId(2);
        status.peers[1].membership = Membership::Outside;
        // One that was removed, and does not know it.
        let removed = replica(2, Role::Follower, Some(1), &[1]);
        let (verdict, text) = told(&[coordinator, removed]);
        assert_eq!(verdict, Verdict::Works);
        assert_eq!(text, "the cluster works: r0 coordinates; 2 of 2 members are there");

        let mut survivor = replica(0, Role::Canvassing, None, &[1]);
        let status = survivor.status.as_mut().expect("its status");
        status.peers[0].membership = Membership::Learner;
        let (verdict, text) = told(&[survivor]);
        assert_eq!(verdict, Verdict::NoMajority);
        assert_eq!(text, "no majority: 1 of 2 voters are there; missing: r2");
    }

    #[test]
    fn a_replica_that_starts_is_missing() {
        let starting =
            Starting { replica: ReplicaId(2), run: Run(1), segments_read: 1, segments: 9 };
        let starting = || Report::starting("r2".to_owned(), starting);
        assert_eq!(told(&[starting()]).0, Verdict::Starting);
        let (verdict, text) = told(&[replica(0, Role::Candidate, None, &[]), starting()]);
        assert_eq!(verdict, Verdict::NoMajority);
        assert!(text.ends_with("missing: r1, r2"), "{text}");
        assert_eq!(told(&[]).0, Verdict::Unreachable);
    }
}
