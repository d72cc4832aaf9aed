//! A replica that waits for a snapshot asks for nothing else. If none comes, it asks anew at once.

use std::time::Duration;

use synod_model::{Entry, Message, Order, Prefix, PrefixHash, Slot};
use synod_wire::Value;
use tokio::time::timeout;

use super::IN_TIME;
use super::two::Two;
use crate::forming::kit::identity;
use crate::peers::tests::harness::{Setup, until};

impl Two {
    /// The coordinator tells that so much is committed, and opens the slot behind it, until it is asked for what
    /// is lacking before.
    async fn asked(&mut self, through: u64) -> (Slot, Slot) {
        let asked = async {
            loop {
                let (first, prefix) = (Slot(through + 1), prefix(through));
                self.order(Order::Accept { first, entries: vec![Entry::NoOp], prefix });
                let next = timeout(Duration::from_millis(20), self.other.receive()).await;
                if let Ok((_, Message::Ask { from, through, .. })) = next {
                    return (from, through);
                }
            }
        };
        timeout(IN_TIME, asked).await.expect("it asks anew")
    }
}

/// What is committed, if it is nothing but no-ops.
fn prefix(through: u64) -> Prefix {
    let none = PrefixHash::default();
    let hash = (0..through).fold(none, |hash, _| hash.after(&Entry::<Value>::NoOp));
    Prefix { through: Slot(through), hash, ..Prefix::default() }
}

#[tokio::test]
async fn if_nobody_has_it() {
    let mut two = Two::new(Setup::new(identity(1, 2, 11)).formed()).await;
    two.send(&Message::Offer { slot: Slot(60) });
    assert_eq!(two.asked(70).await, (Slot(1), Slot(70)));
    two.node.stop().await.unwrap();
}

#[tokio::test]
async fn if_commits_overtake_it() {
    let mut setup = Setup::new(identity(1, 2, 11)).formed();
    setup.snapshots.limits.sent_bytes_per_second = 1000;
    setup.snapshots.add(3, 1 << 20);
    let mut two = Two::new(setup).await;
    two.send(&Message::Offer { slot: Slot(3) });
    until(|| two.node.status().snapshots.receiving.is_some()).await;
    let entries = vec![Entry::NoOp; 3];
    two.order(Order::Accept { first: Slot(1), entries, prefix: prefix(0) });
    two.order(Order::Commit { prefix: prefix(3) });
    until(|| two.node.status().committed == Slot(3)).await;
    assert_eq!(two.asked(7).await, (Slot(4), Slot(7)));
    assert_eq!(two.node.status().snapshots.receiving, None);
    assert_eq!(two.setup.snapshots.state().stored.len(), 1);
    two.node.stop().await.unwrap();
}
