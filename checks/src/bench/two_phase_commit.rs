//! Two-phase commit: a model that does next to no work, so its search shows the cost of the checker.
//!
//! A transaction spans several resource managers (databases, for example), and all must end it in the
//! same way. A resource manager may prepare: then it must follow either decision. Before that, it may
//! abort. A transaction manager learns which resource managers have prepared. Once all have, it may
//! decide to commit. Until it has decided, it may decide to abort. The resource managers then follow
//! the decision.
//!
//! This is the small specification in "Consensus on Transaction Commit" (Gray and Lamport, 2004),
//! which is also an example of stateright. As there, messages are a set that only grows: a message
//! can be received any number of times, or never. To receive one again changes nothing. So ten states
//! are generated for each new one, and the time goes into cloning, hashing and looking up. A state is
//! also represented as there, in vectors and a `BTreeSet`: packed into bits, it would be another
//! workload.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// The model of a transaction over this many resource managers.
pub(crate) fn model(managers: usize) -> Transaction {
    Transaction { managers }
}

/// The system to search.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    managers: usize,
}

/// A state of the system.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct State {
    /// The state of each resource manager.
    managers: Vec<Progress>,
    /// The decision of the transaction manager.
    decision: Decision,
    /// The resource managers that have prepared, as far as the transaction manager knows.
    known_prepared: Vec<bool>,
    /// All messages that were ever sent.
    sent: BTreeSet<Message>,
}

/// The state of a resource manager.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Progress {
    Working,
    Prepared,
    Committed,
    Aborted,
}

/// The decision of the transaction manager.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Decision {
    Open,
    Commit,
    Abort,
}

/// A message between managers.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Message {
    /// To the transaction manager: this resource manager has prepared.
    Prepared { manager: usize },
    /// To all resource managers: the decision is to commit.
    Commit,
    /// To all resource managers: the decision is to abort.
    Abort,
}

/// An action. A resource manager is named by its index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// The transaction manager decides to commit.
    DecideCommit,
    /// The transaction manager decides to abort.
    DecideAbort,
    /// The transaction manager learns that this resource manager has prepared.
    HearPrepared(usize),
    /// This resource manager prepares.
    Prepare(usize),
    /// This resource manager aborts by itself, before it has prepared.
    GiveUp(usize),
    /// This resource manager learns that the decision is to commit.
    HearCommit(usize),
    /// This resource manager learns that the decision is to abort.
    HearAbort(usize),
}

impl Model for Transaction {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            managers: vec![Progress::Working; self.managers],
            decision: Decision::Open,
            known_prepared: vec![false; self.managers],
            sent: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let open = state.decision == Decision::Open;
        if open && state.known_prepared.iter().all(|known| *known) {
            actions.push(Action::DecideCommit);
        }
        if open {
            actions.push(Action::DecideAbort);
        }
        for manager in 0..self.managers {
            if open && state.sent.contains(&Message::Prepared { manager }) {
                actions.push(Action::HearPrepared(manager));
            }
            if state.managers[manager] == Progress::Working {
                actions.push(Action::Prepare(manager));
                actions.push(Action::GiveUp(manager));
            }
            if state.sent.contains(&Message::Commit) {
                actions.push(Action::HearCommit(manager));
            }
            if state.sent.contains(&Message::Abort) {
                actions.push(Action::HearAbort(manager));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::DecideCommit => {
                state.decision = Decision::Commit;
                state.sent.insert(Message::Commit);
            }
            Action::DecideAbort => {
                state.decision = Decision::Abort;
                state.sent.insert(Message::Abort);
            }
            Action::HearPrepared(manager) => state.known_prepared[manager] = true,
            Action::Prepare(manager) => {
                state.managers[manager] = Progress::Prepared;
                state.sent.insert(Message::Prepared { manager });
            }
            Action::HearCommit(manager) => state.managers[manager] = Progress::Committed,
            Action::GiveUp(manager) | Action::HearAbort(manager) => {
                state.managers[manager] = Progress::Aborted;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no two managers end it differently", |_, state: &State| {
                state.managers.iter().all(|one| {
                    let mut others = state.managers.iter();
                    others.all(|other| !contradict(one, other))
                })
            }),
            Property::sometimes("all commit", |_, state: &State| {
                all_are(state, &Progress::Committed)
            }),
            Property::sometimes("all abort", |_, state: &State| all_are(state, &Progress::Aborted)),
        ]
    }
}

/// Whether one resource manager has committed and another has aborted.
fn contradict(one: &Progress, other: &Progress) -> bool {
    *one == Progress::Committed && *other == Progress::Aborted
}

/// Whether every resource manager is in this state.
fn all_are(state: &State, progress: &Progress) -> bool {
    state.managers.iter().all(|manager| manager == progress)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::measure;

    /// The unique and generated states with this many resource managers.
    fn states(managers: usize, threads: usize) -> (usize, usize) {
        let threads = NonZeroUsize::new(threads).expect("some");
        let found = measure("2pc", model(managers), threads).expect("it holds");
        (found.unique_states, found.transitions)
    }

    #[test]
    fn it_is_the_same_work_as_staterights_example_with_three_managers() {
        assert_eq!(states(3, 1), (288, 1_146));
    }

    #[test]
    fn it_is_the_same_work_as_staterights_example_with_five_managers() {
        assert_eq!(states(5, 1), (8_832, 58_146));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        assert_eq!(states(5, 2), states(5, 1));
    }

    #[test]
    fn who_hears_the_decision_again_is_a_state_generated_again() {
        let model = model(1);
        let mut state = model.init_states().remove(0);
        for action in [Action::DecideAbort, Action::HearAbort(0)] {
            state = model.next_state(&state, action).expect("always possible");
        }
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        assert_eq!(actions, [Action::HearAbort(0)]);
        assert_eq!(model.next_state(&state, actions.remove(0)), Some(state));
    }
}
