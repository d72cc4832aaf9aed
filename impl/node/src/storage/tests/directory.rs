//! Making, opening and locking a data directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use synod_model::{Configuration, ConfigurationId, Incarnation, KnownMembers, Limits, ReplicaId};
use synod_wire::ClusterId;

use super::fixtures::{LOG, accepted, append, check, new_disk, new_replica, open, recover};
use crate::disk::{Disk, SimulatedDisk};
use crate::storage::{
    DataDirectory, InitError, Joining, LogLimits, NewReplica, OpenError, SmallFileError,
};

fn init(disk: &SimulatedDisk, replica: &NewReplica) -> Result<DataDirectory, InitError> {
    DataDirectory::init(Arc::new(disk.clone()), replica)
}

fn try_open(disk: &SimulatedDisk) -> Result<DataDirectory, OpenError> {
    DataDirectory::open(Arc::new(disk.clone()))
}

#[test]
fn what_was_made_is_opened() {
    let disk = new_disk(1);
    let directory = open(&disk);
    let identity = directory.identity();
    assert_eq!(identity.cluster_name, "test");
    assert_eq!(identity.replica, ReplicaId(1));
    assert_eq!(identity.constants, new_replica().constants);
    assert_eq!(*directory.log_limits(), LOG);
    assert_eq!(directory.peers(), &new_replica().peers);
    let nobody = KnownMembers { incarnations: BTreeMap::new(), is_formed: false };
    assert_eq!(*directory.known_members(), nobody, "there are others to meet");
}

/// A replica that joins is no first member, has an id of its own, and knows the directories of the members.
#[test]
fn a_joining_replica_is_made_for_a_cluster_that_is_there() {
    let joins = NewReplica { replica: ReplicaId(3), incarnation: Incarnation(33), ..new_replica() };
    let joining = Joining {
        cluster_id: ClusterId([0xab; 32]),
        members: (0..3).map(|id| (ReplicaId(id), Incarnation(id.into()))).collect(),
    };
    let join = |disk: &SimulatedDisk| DataDirectory::join(Arc::new(disk.clone()), &joins, &joining);
    let disk = SimulatedDisk::new(1);
    let known = KnownMembers { incarnations: joining.members.clone(), is_formed: true };
    assert_eq!(*join(&disk).expect("an empty disk").known_members(), known);

    let disk = disk.kill();
    assert!(matches!(join(&disk), Err(InitError::AlreadyMade { .. })));
    let directory = open(&disk);
    assert_eq!(directory.identity().replica, ReplicaId(3));
    assert_eq!(directory.identity().cluster_id, joining.cluster_id, "as it was told");
    assert_eq!(directory.known_members(), &known);
    assert_eq!(directory.peers(), &joins.peers);
    drop(directory);
    let (_, records) = recover(&disk);
    assert!(records.is_empty());

    // A member of a new cluster is one of the first.
    let refused = init(&SimulatedDisk::new(1), &joins);
    assert!(matches!(refused, Err(InitError::Identity(_))), "{refused:?}");
}

/// A node makes nothing, so nobody mistakes an emptied directory for a first start.
#[test]
fn open_makes_nothing() {
    let told = |disk: &SimulatedDisk| {
        let before = disk.files();
        let error = try_open(disk).expect_err("nothing to open").to_string();
        assert_eq!(before, disk.files());
        error
    };
    let disk = SimulatedDisk::new(1);
    let error = told(&disk);
    assert!(error.starts_with("data/ is empty, or not there\n"), "{error}");
    assert!(error.contains("`synod init`"), "{error}");
    assert!(disk.list("").is_err(), "not even the directory itself");
    disk.make_root().expect("room");
    assert!(told(&disk).contains("`synod init`"));
    drop(disk.create("notes.txt").expect("room"));
    assert!(told(&disk).contains("there is no file `identity` in it"));

    // Everything is removed, except for what cannot be seen.
    let disk = new_disk(1);
    for name in ["identity", "incarnations", "peers", "log/00000001.wal"] {
        disk.remove(name).expect("a file");
    }
    assert!(told(&disk).contains("making it was interrupted"));

    for name in ["incarnations", "peers", "LOCK"] {
        let disk = new_disk(1);
        disk.remove(name).expect("a file");
        let error = told(&disk);
        assert!(error.contains(&format!("data/{name}")), "{error}");
    }
}

#[test]
fn init_changes_nothing_that_is_there() {
    let told = |disk: &SimulatedDisk| {
        let before = disk.files();
        let error = init(disk, &new_replica()).expect_err("something is there").to_string();
        assert_eq!(before, disk.files());
        error
    };
    let disk = SimulatedDisk::new(1);
    disk.make_root().expect("room");
    drop(disk.create("notes.txt").expect("room"));
    assert!(told(&disk).starts_with("data/ is not empty: there is notes.txt\n"));

    let disk = new_disk(1);
    let error = told(&disk);
    assert!(error.starts_with("data/ is the data directory of a replica already\n"), "{error}");

    // It was a replica, and somebody took its identity.
    let (mut log, _) = recover(&disk);
    append(&mut log, &[accepted(1, 1, 1)]);
    drop(log);
    disk.remove("identity").expect("a file");
    let error = told(&disk);
    assert!(error.starts_with("data/log/00000001.wal holds records, and the file `identity`"));
    // A node reports the same, and does not send its operator to `init`.
    assert_eq!(try_open(&disk).expect_err("no identity").to_string(), error);
    drop(disk.create("log/notes.txt").expect("room"));
    assert!(told(&disk).starts_with("data/ is not empty: there is log/notes.txt\n"));
}

#[test]
fn one_process_at_a_time() {
    let disk = new_disk(1);
    let directory = open(&disk);
    let error = try_open(&disk).expect_err("it is open").to_string();
    assert!(error.starts_with("data directory data/ is in use by process 2\n"), "{error}");
    // The log holds the lock too.
    let (log, _) = super::fixtures::try_recover(&directory).expect("an empty log");
    drop(directory);
    assert!(matches!(try_open(&disk), Err(OpenError::InUse(_))));
    drop(log);
    open(&disk);
}

#[test]
fn what_is_known_of_the_others_is_durable() {
    let disk = new_disk(1);
    let mut directory = open(&disk);
    let incarnations = BTreeMap::from([(ReplicaId(2), Incarnation(22))]);
    let known = KnownMembers { incarnations, is_formed: true };
    directory.store_known_members(known.clone()).expect("room");
    assert_eq!(*directory.known_members(), known);
    assert_eq!(*open(&disk.lose_power()).known_members(), known);
}

/// A small file that is being replaced has its old content or the new one, whole. Once the replacement
/// was reported, it has the new one.
#[test]
fn small_files_are_replaced_atomically() {
    let ends = (any::<bool>(), any::<bool>());
    check(1_000, &(1..40_u64, any::<u64>(), ends), |(operation, seed, (fails, is_killed))| {
        let disk = new_disk(seed);
        if fails {
            disk.fail_at(disk.operations() + operation, 5);
        } else {
            disk.stop_at(disk.operations() + operation);
        }
        let mut stored = 0;
        if let Ok(mut directory) = try_open(&disk) {
            let mut known = directory.known_members().clone();
            known.incarnations.insert(ReplicaId(stored), Incarnation(5));
            while directory.store_known_members(known.clone()).is_ok() {
                stored += if stored == 0 { 2 } else { 1 };
                known.incarnations.insert(ReplicaId(stored), Incarnation(5));
            }
            // After a failure it is unknown which content is there.
            let error = directory.store_peers(BTreeMap::new()).expect_err("a failed directory");
            assert!(error.to_string().contains("an earlier change"), "{error}");
        }
        let disk = if is_killed { disk.kill() } else { disk.lose_power() };
        let found = open(&disk).known_members().incarnations.clone();
        let expected =
            |last| (0..=last).filter(|it| *it != 1).map(|it| (ReplicaId(it), Incarnation(5)));
        let is_new = found.contains_key(&ReplicaId(stored));
        let last = if is_new { Some(stored) } else { stored.checked_sub(1) };
        assert_eq!(found, last.into_iter().flat_map(expected).collect());
        assert_eq!(
            open(&disk.lose_power()).known_members().incarnations,
            found,
            "what was read is durable"
        );
    });
}

/// The identity is in the page cache, and syncing its name has failed.
#[test]
fn an_identity_that_was_opened_stays() {
    let operations = {
        let disk = SimulatedDisk::new(1);
        init(&disk, &new_replica()).expect("an empty disk");
        disk.operations()
    };
    for seed in 0..40 {
        let disk = SimulatedDisk::new(seed);
        disk.fail_at(operations, 5);
        let error = init(&disk, &new_replica()).expect_err("the last sync fails").to_string();
        assert!(error.starts_with("cannot sync data/: "), "{error}");
        let disk = disk.kill();
        open(&disk);
        open(&disk.lose_power());
    }
}

#[test]
fn damage_in_small_files_is_reported() {
    for name in ["identity", "incarnations", "peers"] {
        let disk = new_disk(1);
        let length = disk.files()[name].len();
        for offset in 0..length {
            let flip = |content: &mut Vec<u8>| content[offset] ^= 1 << (offset % 8);
            disk.damage(name, flip);
            let error = try_open(&disk).expect_err("damage");
            assert!(matches!(error, OpenError::SmallFile(SmallFileError::Damaged { .. })));
            assert!(error.to_string().starts_with(&format!("data/{name} is damaged: it ")));
            disk.damage(name, flip);
        }
        for cut in 0..length {
            let disk = disk.fork(1);
            disk.damage(name, |content| content.truncate(cut));
            try_open(&disk).expect_err("damage");
        }
        disk.damage(name, |content| {
            content[8] = 9;
            let end = content.len() - 4;
            let checksum = crc32c::crc32c(&content[..end]);
            content[end..].copy_from_slice(&checksum.to_le_bytes());
        });
        let error = try_open(&disk).expect_err("another version").to_string();
        assert!(error.contains("has format version 9, and this program knows version 4 only"));
    }
}

#[test]
fn impossible_replicas_are_refused() {
    let told = |change: &dyn Fn(&mut NewReplica)| {
        let mut replica = new_replica();
        change(&mut replica);
        let disk = SimulatedDisk::new(1);
        let error = init(&disk, &replica).expect_err("impossible").to_string();
        assert_eq!(disk.operations(), 0, "nothing was made");
        error
    };
    assert!(told(&|it| it.cluster_name.clear()).contains("cannot be the name of a cluster"));
    assert!(told(&|it| it.cluster_name = "a\nb".into()).contains("cannot be the name"));
    assert!(told(&|it| it.cluster_name = "x".repeat(65)).contains("cannot be the name"));
    let error = told(&|it| it.replica = ReplicaId(3));
    assert!(error.contains("not among the members of its cluster, which are [0, 1, 2]"), "{error}");
    for segment_bytes in [0, 4096, 8 * 4096 + 1, 1 << 40] {
        let error = told(&|it| it.log = LogLimits { segment_bytes, ..LOG });
        assert!(error.contains("is impossible with batch_bytes_max = 8,128"), "{error}");
    }
    let error = told(&|it| it.log.batch_bytes_max = 3000);
    assert!(error.contains("a record can take 4,296 bytes"), "{error}");
    let error = told(&|it| it.log.batch_bytes_max = u64::MAX);
    assert!(error.contains("is impossible"), "{error}");
}

/// Two replicas that disagree on anything have different cluster ids. Addresses do not count.
#[test]
fn a_cluster_id_is_of_all_that_must_agree() {
    let cluster = |stride, configuration, members: &[u16], limits| {
        let members = members.iter().copied().map(ReplicaId).collect();
        let first = Configuration::new(ConfigurationId(configuration), members).expect("members");
        synod_model::ClusterConstants::new(stride, first, limits).expect("a cluster")
    };
    let fewer = Limits { reads_max: 3, ..Limits::default() };
    let ids = [
        ClusterId::of("a", &cluster(65_536, 1, &[0, 1, 2], Limits::default())),
        ClusterId::of("b", &cluster(65_536, 1, &[0, 1, 2], Limits::default())),
        ClusterId::of("a", &cluster(3, 1, &[0, 1, 2], Limits::default())),
        ClusterId::of("a", &cluster(65_536, 2, &[0, 1, 2], Limits::default())),
        ClusterId::of("a", &cluster(65_536, 1, &[0, 1], Limits::default())),
        ClusterId::of("a", &cluster(65_536, 1, &[0, 1, 2], fewer)),
    ];
    for (index, id) in ids.iter().enumerate() {
        assert!(!ids[..index].contains(id));
    }
    assert_eq!(ids[0], ClusterId::of("a", &cluster(65_536, 1, &[2, 1, 0], Limits::default())));
    // The defaults of today differ from those of the first clusters.
    let first_limits =
        Limits { open_slots_max: 1024, frame_bytes_max: 1 << 20, ..Limits::default() };
    let first = ClusterId::of("a", &cluster(65_536, 1, &[0, 1, 2], first_limits));
    assert_eq!(
        first.to_string(),
        "0948598ffb80d33e8c50f96612f2d078e8337edacab2417f49a904a99fefd92c",
        "the ids of clusters that exist must not change"
    );
}
