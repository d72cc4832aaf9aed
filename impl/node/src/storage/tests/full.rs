//! A full disk: a replica starts on it, and what it reads is durable all the same.

use std::sync::Arc;

use synod_model::{Incarnation, KnownMembers, ReplicaId};

use super::fixtures::{accepted, append, disk_with, flat, new_disk, open, recover};
use crate::disk::SimulatedDisk;
use crate::storage::{DataDirectory, OpenError};

fn try_open(disk: &SimulatedDisk) -> Result<DataDirectory, OpenError> {
    DataDirectory::open(Arc::new(disk.clone()))
}

#[test]
fn a_replica_starts_on_a_full_disk_and_uses_the_room_that_its_log_has() {
    let batches: Vec<_> = (1..4).map(|slot| vec![accepted(slot, 1, 100)]).collect();
    let mut disk = disk_with(&batches);
    disk.set_full(true);
    let files = disk.files();
    let mut expected = flat(&batches);
    for slot in 4..9 {
        disk = if slot % 2 == 0 { disk.kill() } else { disk.lose_power() };
        let (mut log, found) = recover(&disk);
        assert_eq!(found, expected);
        append(&mut log, &[accepted(slot, 1, 100)]);
        expected.push(accepted(slot, 1, 100));
    }
    assert!(disk.files().keys().eq(files.keys()), "nothing is left of what found no room");
    let disk = disk.kill();
    let (mut log, _) = recover(&disk);
    let error = log.append(&[accepted(9, 1, 100)]).expect_err("a segment more").to_string();
    assert!(error.contains("the disk is full: make room on it"), "{error}");
    let disk = disk.kill();
    disk.set_full(false);
    assert_eq!(recover(&disk).1, expected);
}

/// Wherever a change stops or fails, and whether or not there is room after that: what a start reads does not go back
/// with the next loss of power.
#[test]
fn what_is_read_on_a_full_disk_is_durable() {
    let known =
        KnownMembers { incarnations: [(ReplicaId(0), Incarnation(7))].into(), is_formed: false };
    let (mut opened, mut refused, mut changed) = (0, 0, 0);
    for (operation, seed) in (1..8).flat_map(|operation| (0..40).map(move |seed| (operation, seed)))
    {
        let disk = new_disk(operation * 100 + seed);
        let mut directory = open(&disk);
        let at = disk.operations() + operation;
        if seed % 2 == 0 {
            disk.stop_at(at);
        } else {
            disk.fail_at(at, 5);
        }
        let stored = directory.store_known_members(known.clone());
        drop(directory);
        let disk = disk.kill();
        disk.set_full(true);
        let found = match try_open(&disk) {
            Ok(directory) => directory.known_members().clone(),
            Err(error) => {
                assert!(error.to_string().contains("the disk is full"), "{error}");
                refused += 1;
                continue;
            }
        };
        assert!(stored.is_err() || found == known);
        opened += 1;
        changed += usize::from(found == known);
        let disk = disk.lose_power();
        assert_eq!(*open(&disk).known_members(), found, "operation {operation}, seed {seed}");
    }
    assert!(opened > 150 && refused > 0 && changed > 50, "{opened}, {refused}, {changed}");
}
