//! Saving a snapshot of a replica that comes and goes.

use std::time::Duration;

use synod_client::api::{SaveError, TakeSnapshotError};
use synod_client::{SaveFailed, SaveOptions, SavePiece, SnapshotSave};

use super::fake::{Cluster, PIECE_BYTES, Running};
use super::in_time;

/// A replica whose snapshot begins with this byte, and has so many bytes.
async fn replica(first: u8, bytes: usize) -> Running {
    let running = Running::start(&Cluster::new(), 0).await;
    running.node.saves.lock().unwrap().snapshot = snapshot(first, bytes);
    running
}

fn snapshot(first: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| first.wrapping_add(u8::try_from(at % 199).unwrap())).collect()
}

fn options() -> SaveOptions {
    let second = Duration::from_secs(1);
    SaveOptions { begin_max: 5 * second, connect_max: second, no_progress_max: 2 * second }
}

async fn begin(replica: &Running) -> Result<SnapshotSave, SaveFailed> {
    SnapshotSave::begin(replica.endpoint.clone(), options()).await
}

/// What has come, and how often it began anew.
async fn save_all(save: &mut SnapshotSave) -> Result<(Vec<u8>, usize), SaveFailed> {
    let (mut all, mut began_anew) = (Vec::new(), 0);
    while let Some(piece) = save.next().await? {
        match piece {
            SavePiece::Bytes(piece) => all.extend_from_slice(&piece.0),
            SavePiece::BeginsAnew => {
                began_anew += 1;
                all.clear();
            }
        }
    }
    Ok((all, began_anew))
}

#[tokio::test]
async fn the_pieces_come_in_order_and_the_replica_is_told_when_it_is_over() {
    in_time(async {
        for bytes in [1, 999, 1000, 1001, 123_456] {
            let replica = replica(7, bytes).await;
            let mut save = begin(&replica).await.unwrap();
            assert_eq!((save.begun().slot.0, save.begun().bytes), (5, bytes as u64));
            assert_eq!(replica.node.saves.lock().unwrap().kept.len(), 1);
            assert_eq!(save_all(&mut save).await.unwrap(), (snapshot(7, bytes), 0));
            assert_eq!(save.next().await.unwrap(), None);
            save.end().await;
            let saves = replica.node.saves.lock().unwrap();
            assert!(saves.kept.is_empty());
            assert_eq!(saves.reads.len() as u64, (bytes as u64).div_ceil(PIECE_BYTES));
        }
    })
    .await;
}

/// The replica was started again, and has the same snapshot.
#[tokio::test]
async fn it_goes_on_where_it_was() {
    in_time(async {
        let replica = replica(7, 50_500).await;
        replica.node.saves.lock().unwrap().restarts_at = Some(30_000);
        let mut save = begin(&replica).await.unwrap();
        assert_eq!(save_all(&mut save).await.unwrap(), (snapshot(7, 50_500), 0));
        let saves = replica.node.saves.lock().unwrap();
        let first = saves.reads.iter().filter(|offset| **offset == 0).count();
        assert_eq!(first, 1, "nothing is read twice but what was in flight: {:?}", saves.reads);
        assert!(saves.reads.len() < 51 + 20, "{:?}", saves.reads);
    })
    .await;
}

/// The replica was started again, and has committed more.
#[tokio::test]
async fn another_snapshot_begins_anew() {
    in_time(async {
        let replica = replica(7, 50_500).await;
        {
            let mut saves = replica.node.saves.lock().unwrap();
            (saves.restarts_at, saves.another) = (Some(30_000), Some(snapshot(8, 60_000)));
        }
        let mut save = begin(&replica).await.unwrap();
        assert_eq!(save_all(&mut save).await.unwrap(), (snapshot(8, 60_000), 1));
        assert_eq!(save.begun().bytes, 60_000);
    })
    .await;
}

#[tokio::test]
async fn what_a_replica_refuses_is_told() {
    in_time(async {
        let replica = replica(7, 10).await;
        for (error, is_busy) in [
            (SaveError::Busy, true),
            (SaveError::NotTaken(TakeSnapshotError::Empty), false),
            (SaveError::Disk("it is broken".to_owned()), false),
        ] {
            replica.node.saves.lock().unwrap().refuses = Some(error.clone());
            let failed = begin(&replica).await.unwrap_err();
            assert_eq!(failed.is_busy(), is_busy);
            assert_eq!(failed.to_string(), format!("{}: {error}", replica.endpoint));
        }
    })
    .await;
}

/// It is tried again for a while, and not for ever.
#[tokio::test]
async fn a_replica_that_does_not_come_back_is_given_up() {
    in_time(async {
        let replica = replica(7, 500_000).await;
        let mut save = begin(&replica).await.unwrap();
        assert!(matches!(save.next().await, Ok(Some(SavePiece::Bytes(_)))));
        replica.die().await;
        let failed = save_all(&mut save).await.unwrap_err();
        assert!(matches!(failed, SaveFailed::NoProgress { .. }), "{failed}");
        assert!(failed.to_string().contains("nothing more of its snapshot has come for 2 s"));
    })
    .await;
}

/// A replica that says again and again that it does not keep the snapshot is given up, too.
#[tokio::test]
async fn a_replica_that_never_sends_anything_is_given_up() {
    in_time(async {
        let replica = replica(7, 5_000).await;
        let mut save = begin(&replica).await.unwrap();
        let node = replica.node.clone();
        let forgets = tokio::spawn(async move {
            loop {
                node.saves.lock().unwrap().restarts_at = Some(0);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let failed = save_all(&mut save).await.unwrap_err();
        assert!(matches!(failed, SaveFailed::NoProgress { .. }), "{failed}");
        forgets.abort();
    })
    .await;
}
