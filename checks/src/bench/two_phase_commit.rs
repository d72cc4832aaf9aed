//! Two-phase commit: a model that is next to nothing, so that its search shows what the checker
//! itself costs.
//!
//! A transaction spans several resource managers (databases, say), and all must end it alike. Each
//! manager may prepare, which binds it to go along with either decision, or abort while it has not.
//! A transaction manager collects who has prepared. Once all have, it may decide to commit; until
//! it has decided, it may decide to abort. Managers then do as they are told.
//!
//! This is the small specification in "Consensus on Transaction Commit" (Gray and Lamport, 2004),
//! which stateright brings as an example too. As there, messages form a set that only grows: one
//! can be received again and again, and one that is never received is as good as lost. Receiving
//! it again changes nothing, so ten states are generated for each one that is new, and the time
//! goes into cloning, hashing, and looking up. For the same reason a state is kept as plainly as
//! there, in vectors and a `BTreeSet`: packed into bits it would be another workload.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// A transaction over that many resource managers.
pub(crate) fn model(managers: usize) -> Transaction {
    Transaction { managers }
}

/// The system to search.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    managers: usize,
}

/// All that there is to know at one moment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct State {
    /// How far each resource manager is.
    managers: Vec<Progress>,
    /// What the transaction manager has decided.
    decision: Decision,
    /// Of which resource managers the transaction manager knows that they have prepared.
    known_prepared: Vec<bool>,
    /// Every message ever sent.
    sent: BTreeSet<Message>,
}

/// How far a resource manager is with the transaction.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Progress {
    Working,
    Prepared,
    Committed,
    Aborted,
}

/// How the transaction is to end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Decision {
    Open,
    Commit,
    Abort,
}

/// What managers tell each other.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Message {
    /// To the transaction manager: this resource manager has prepared.
    Prepared { manager: usize },
    /// To all resource managers: the decision is to commit.
    Commit,
    /// To all resource managers: the decision is to abort.
    Abort,
}

/// What may happen next. A resource manager is named by its index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// The transaction manager decides to commit.
    DecideCommit,
    /// The transaction manager decides to abort.
    DecideAbort,
    /// The transaction manager hears that this one has prepared.
    HearPrepared(usize),
    /// This one binds itself to either decision.
    Prepare(usize),
    /// This one aborts unasked, being bound to nothing yet.
    GiveUp(usize),
    /// This one hears that it is to commit.
    HearCommit(usize),
    /// This one hears that it is to abort.
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

/// Has one ended the transaction in one way, and the other in the other?
fn contradict(one: &Progress, other: &Progress) -> bool {
    *one == Progress::Committed && *other == Progress::Aborted
}

/// Is every resource manager that far?
fn all_are(state: &State, progress: &Progress) -> bool {
    state.managers.iter().all(|manager| manager == progress)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::measure;

    /// The unique and generated states with that many resource managers.
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
