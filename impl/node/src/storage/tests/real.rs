//! The same on the operating system's files.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use synod_model::{Record, Slot, SlotRange};
use synod_wire::Value;
use tempfile::{TempDir, tempdir};

use super::fixtures::{accepted, append, entry, new_replica, snapshot};
use crate::disk::RealDisk;
use crate::storage::{DataDirectory, InitError, Log, OpenError, Preparation, ReadError, inspect};

fn init(path: &Path) -> Result<DataDirectory, InitError> {
    DataDirectory::init(Arc::new(RealDisk::new(path)), &new_replica())
}

fn open(path: &Path) -> Result<DataDirectory, OpenError> {
    DataDirectory::open(Arc::new(RealDisk::new(path)))
}

fn new_directory() -> (TempDir, std::path::PathBuf) {
    let holder = tempdir().expect("a temporary directory");
    let path = holder.path().join("r1");
    init(&path).unwrap_or_else(|error| panic!("{error}"));
    (holder, path)
}

fn recover(path: &Path) -> (Log, Vec<Record<Value>>) {
    let directory = open(path).unwrap_or_else(|error| panic!("{error}"));
    let mut records = Vec::new();
    let log = Log::recover(&directory, Preparation::InBackground, |record| {
        records.push(record);
        Ok::<_, Infallible>(())
    });
    (log.unwrap_or_else(|error| panic!("{error}")), records)
}

/// Over many segments. One thread makes them while another fills them and a third one reads.
#[test]
fn appended_read_and_recovered() {
    let (_holder, path) = new_directory();
    let (mut log, recovered) = recover(&path);
    assert_eq!(recovered, []);
    let reader = log.reader();
    let appended = AtomicU64::new(0);
    let count = 100_u64;
    let record = |slot: u64| {
        let seed = u8::try_from(slot % 251).expect("small");
        accepted(slot, seed, usize::try_from(slot * 37 % 3000).expect("small"))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for slot in 1..=count {
                append(&mut log, &[record(slot)]);
                appended.store(slot, Ordering::Release);
            }
        });
        scope.spawn(|| {
            loop {
                let last = appended.load(Ordering::Acquire);
                let slots = SlotRange { first: Slot(last / 2 + 1), last: Slot(last) };
                match reader.read(slots, 10, u64::MAX) {
                    Ok(entries) => {
                        let seed = u8::try_from((last / 2 + 1) % 251).expect("small");
                        let bytes = usize::try_from((last / 2 + 1) * 37 % 3000).expect("small");
                        assert_eq!(entries[0], entry(seed, bytes));
                    }
                    Err(ReadError::SlotMissing { .. }) => assert_eq!(last, 0),
                    Err(error) => panic!("{error}"),
                }
                if last == count {
                    break;
                }
            }
        });
    });
    drop(log);
    assert!(path.join("log/00000010.wal").exists());
    let (log, recovered) = recover(&path);
    assert_eq!(recovered, (1..=count).map(record).collect::<Vec<_>>());
    assert_eq!(log.recovered().records, count);
    drop(log);

    let mut batches = 0;
    inspect(&RealDisk::new(&path), |finding| {
        batches += u64::from(finding.to_string().contains(": batch "));
    })
    .expect("a directory");
    assert_eq!(batches, count);
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let (_holder, path) = new_directory();
    let (log, _) = recover(&path);
    let error = open(&path).expect_err("it is open").to_string();
    let expected = format!(
        "data directory {} is in use by process {}\n  every replica needs a directory of its own",
        path.display(),
        std::process::id()
    );
    assert!(error.starts_with(&expected), "{error}");
    let mut first = None;
    inspect(&RealDisk::new(&path), |finding| {
        first.get_or_insert(finding.to_string());
    })
    .expect("a directory");
    assert!(first.expect("a finding").contains(&format!("process {}", std::process::id())));
    // The lock is asked for, and not waited for. Once it is free, the text in the file means nothing.
    drop(log);
    open(&path).expect("nobody has it");
}

/// Root may write anywhere, and often runs the tests. But nobody may write below a file, or in `/proc`.
#[test]
fn an_unwritable_directory_is_reported() {
    let holder = tempdir().expect("a temporary directory");
    let file = holder.path().join("file");
    fs::write(&file, "").expect("room");
    for (path, expected) in [
        (file.join("r1"), "cannot list"),
        (file.clone(), "cannot list"),
        (holder.path().join("missing/r1"), "cannot make"),
        (Path::new("/proc/synod").to_owned(), "cannot make /proc/synod"),
    ] {
        let error = init(&path).expect_err("unwritable").to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("\n  "), "it says what to do: {error}");
    }
    assert_eq!(fs::read_dir(holder.path()).expect("a directory").count(), 1);
}

#[test]
fn a_directory_that_is_there_and_empty_will_do() {
    let holder = tempdir().expect("a temporary directory");
    init(holder.path()).expect("an empty directory");
    open(holder.path()).expect("a data directory");
}

/// The log is cut by another thread, again and again, while one thread appends and another one reads.
#[test]
fn cut_while_it_is_appended_to_and_read() {
    let (_holder, path) = new_directory();
    let directory = open(&path).unwrap_or_else(|error| panic!("{error}"));
    let log = Log::recover(&directory, Preparation::InBackground, |_| Ok::<_, Infallible>(()));
    let mut log = log.unwrap_or_else(|error| panic!("{error}"));
    let (reader, appended, count) = (log.reader(), AtomicU64::new(0), 400_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for slot in 1..=count {
                append(&mut log, &[accepted(slot, 1, 100)]);
                if slot.is_multiple_of(20) {
                    append(&mut log, &[snapshot(directory.snapshots(), slot)]);
                }
                appended.store(slot, Ordering::Release);
            }
        });
        scope.spawn(|| {
            loop {
                let last = appended.load(Ordering::Acquire);
                for back in [0, 15, 30, 100] {
                    let first = Slot(last.saturating_sub(back).max(1));
                    match reader.read(SlotRange { first, last: first }, 1, 1) {
                        Ok(entries) => assert_eq!(entries, [entry(1, 100)]),
                        Err(ReadError::Gone { slot, snapshot }) => assert!(slot <= snapshot),
                        Err(ReadError::SlotMissing { .. }) => assert_eq!(last, 0),
                        Err(error) => panic!("{error}"),
                    }
                }
                if last == count {
                    break;
                }
            }
        });
    });
    // The thread that cuts has ended.
    drop((log, directory));
    let segments = fs::read_dir(path.join("log")).expect("a folder").count();
    assert!(segments <= 5, "{segments} segments");
    assert_eq!(fs::read_dir(path.join("snapshots")).expect("a folder").count(), 2);
    let (log, recovered) = recover(&path);
    assert!(recovered.contains(&accepted(count, 1, 100)) || log.size().bytes_since_snapshot == 0);
    assert!(!recovered.contains(&accepted(count - 100, 1, 100)));
}
