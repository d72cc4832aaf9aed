//! For tests: the making of a data directory, interrupted at every operation of its disk.

use std::fmt::Display;
use std::sync::Arc;

use super::{DataDirectory, OpenError};
use crate::disk::SimulatedDisk;

/// The system says that the disk is full.
const ENOSPC: i32 = 28;

/// Lets each operation of `make` be the last of its process, or fail, several times with other seeds. There must be a
/// whole data directory then, or none, and in that case another attempt must make one. `check` checks it, after a loss
/// of power.
pub(crate) fn interrupted_at_every_operation<T, E: Display>(
    seeds: u64,
    make: impl Fn(&SimulatedDisk) -> Result<T, E>,
    check: impl Fn(&SimulatedDisk),
) {
    let whole = SimulatedDisk::new(1);
    drop(make(&whole).unwrap_or_else(|error| panic!("{error}")));
    let operations = whole.operations();
    assert!(operations > 20, "{operations}");
    for operation in 1..=operations {
        for seed in 0..seeds {
            let disk = SimulatedDisk::new(operation * 100 + seed);
            if seed % 4 == 3 {
                disk.fail_at(operation, ENOSPC);
            } else {
                disk.stop_at(operation);
            }
            // It may not need what fails: nothing is left to remove of a file that has its name.
            drop(make(&disk));
            let disk = if seed % 2 == 0 { disk.kill() } else { disk.lose_power() };
            let disk = match DataDirectory::open(Arc::new(disk.clone())) {
                Ok(directory) => {
                    drop(directory);
                    disk
                }
                Err(
                    OpenError::Empty { .. }
                    | OpenError::InitInterrupted { .. }
                    | OpenError::RestoreInterrupted { .. },
                ) => {
                    let disk = disk.kill();
                    let again = make(&disk);
                    drop(again.unwrap_or_else(|it| panic!("{operation}, {seed}: {it}")));
                    disk
                }
                Err(error) => panic!("operation {operation}, seed {seed}: {error}"),
            };
            check(&disk.lose_power());
        }
    }
}
