//! Compares the reductions with the plain model, within small bounds.
//!
//! In the plain model dead messages stay in flight. The tests visit all of its states. For every message
//! that [`dead`](super::dead) calls dead, they assert that a delivery changes nothing and sends only
//! dead messages, and that the message stays dead after every action. Then they compare the local
//! states that can be reached together: they are the same with and without the removal.

use std::collections::HashSet;
use std::vec::Vec;

use super::actions::Action;
use super::intern::digest;
use super::model::World;
use super::outcomes::EventKey;
use super::scenario::{
    ASIDE, MessageKind, MessageKinds, Replicas, Scenario, ScenarioSubmission, small_limits,
};
use super::state::ClusterState;
use crate::limits::Limits;
use crate::message::Message;

const NONE: Replicas = Replicas::NONE;

fn request(number: u8, at: &[u16]) -> ScenarioSubmission {
    ScenarioSubmission::request(u64::from(number), b'a' + number - 1, Replicas::of(at))
}

/// The local states of all replicas.
fn locals(world: &World, state: &ClusterState) -> u128 {
    let locals = world.replicas().map(|it| world.locals.get(state.locals[it]).digest);
    digest(&locals.collect::<Vec<_>>())
}

/// The replicas without their disks.
fn replicas(world: &World, state: &ClusterState) -> u128 {
    let replicas = world.replicas().map(|it| &world.locals.get(state.locals[it]).content.replica);
    digest(&replicas.collect::<Vec<_>>())
}

/// Explores `world`. Returns the values of `reached` in all states, and the number of states.
fn explore(
    world: &World,
    reached: fn(&World, &ClusterState) -> u128,
    mut visit: impl FnMut(&ClusterState),
) -> (HashSet<u128>, usize) {
    let first = world.first_state();
    let mut seen = HashSet::from([first.digest]);
    let mut frontier = Vec::from([first]);
    let mut together = HashSet::new();
    let mut actions = Vec::new();
    while let Some(state) = frontier.pop() {
        visit(&state);
        together.insert(reached(world, &state));
        actions.clear();
        world.list_actions(&state, &mut actions);
        for action in actions.drain(..) {
            let Some(next) = world.act(&state, action) else {
                continue;
            };
            if world.keeps_dead {
                assert_still_dead(world, &state, action, &next);
            }
            if seen.insert(next.digest) {
                frontier.push(next);
            }
        }
    }
    (together, seen.len())
}

fn assert_still_dead(world: &World, state: &ClusterState, action: Action, next: &ClusterState) {
    for &id in &state.in_flight {
        if world.is_dead(id, &state.locals) {
            assert!(
                world.is_dead(id, &next.locals),
                "{:?} comes back to life after {action:?}, at {:#?}",
                world.envelopes.get(id).content,
                world.locals.get(state.locals[world.envelopes.get(id).derived.to]).content,
            );
        }
    }
}

/// Asserts that no message that is called dead acts in `state`.
fn assert_dead_never_act(world: &World, state: &ClusterState) {
    for &id in &state.in_flight {
        if !world.is_dead(id, &state.locals) {
            continue;
        }
        let interned = world.envelopes.get(id);
        let to = interned.derived.to;
        if !world.local(state, to).admits(&interned.content) {
            continue;
        }
        let outcome = world.outcome(state.locals[to], EventKey::Deliver(id));
        let before = world.locals.get(state.locals[to]);
        assert!(
            outcome.local == state.locals[to],
            "{:?} is called dead and changes {:#?} to {:#?}",
            interned.content,
            before.content,
            world.locals.get(outcome.local).content,
        );
        for sent in outcome.kept() {
            assert!(
                world.is_dead(*sent, &state.locals) || state.in_flight.contains(sent),
                "{:?} is called dead and sends {:?} from {:#?}",
                interned.content,
                world.envelopes.get(*sent).content,
                before.content,
            );
        }
    }
}

fn check(scenario: Scenario) {
    let mut plain = World::new(scenario.clone());
    plain.keeps_dead = true;
    let mut dead_seen = 0_usize;
    let (plainly, plain_states) = explore(&plain, locals, |state| {
        dead_seen += state.in_flight.iter().filter(|id| plain.is_dead(**id, &state.locals)).count();
        assert_dead_never_act(&plain, state);
    });
    let (reduced, reduced_states) = explore(&World::new(scenario), locals, |_| {});
    std::println!("{plain_states} states in the plain model, {reduced_states} without the dead");
    assert!(dead_seen > 0, "no message ever died: this tests nothing");
    assert_eq!(plainly, reduced, "the same local states are reached together");
}

/// The replicas without the note that they have asked: it is the only trace of an ask.
fn replicas_that_ask_not(world: &World, state: &ClusterState) -> u128 {
    let locals = world.replicas().map(|it| {
        let mut local = world.locals.get(state.locals[it]).content.clone();
        local.replica.common.forget_asks();
        local
    });
    digest(&locals.collect::<Vec<_>>())
}

/// Asserts that what is reached with asks and their answers in flight is also reached when the world
/// serves committed slots unasked.
fn check_catch_up(scenario: Scenario) {
    check_answers(scenario, MessageKind::Committed);
}

/// The same, where asks are answered by messages of the kind `answer`.
fn check_answers(scenario: Scenario, answer: MessageKind) {
    let mut plain = World::new(scenario.clone());
    plain.keeps_asks = true;
    let mut answers = 0_usize;
    let (plainly, plain_states) = explore(&plain, replicas_that_ask_not, |state| {
        answers += usize::from(plain.has_in_flight(state, answer));
    });
    let (reduced, reduced_states) = explore(&World::new(scenario), replicas_that_ask_not, |_| {});
    std::println!("{plain_states} states with asks in flight, {reduced_states} without");
    assert!(answers > 0, "nobody ever answers an ask: this tests nothing");
    assert!(plainly.is_subset(&reduced), "something is reached by asks alone");
}

#[test]
fn catch_up_of_a_follower() {
    let submissions = Vec::from([request(1, &[0]), request(2, &[0])]);
    let hears = [Replicas::ALL, Replicas::of(&[0]), Replicas::of(&[0, 1]), NONE, NONE];
    check_catch_up(Scenario { submissions, hears, ..Scenario::new(3, 2, &[3]) });
}

#[test]
fn catch_up_of_a_candidate_and_a_crash() {
    let submissions = Vec::from([request(1, &[1])]);
    let may_crash = Replicas::of(&[0]);
    let hears = [Replicas::ALL, Replicas::ALL, Replicas::of(&[1]), NONE, NONE];
    check_catch_up(Scenario {
        submissions,
        crashes: 1,
        may_crash,
        hears,
        ..Scenario::new(3, 1, &[1, 3])
    });
}

/// The coordinator of 3 hears of a snapshot of what the coordinator of 1 has committed without it. (After its
/// crash, the coordinator of 1 has nothing in memory that is in its snapshot.)
#[test]
fn offers_of_a_snapshot() {
    let hears = [Replicas::of(&[1, 2]), Replicas::of(&[0, 2]), Replicas::of(&[0, 1]), NONE, NONE];
    let scenario = Scenario {
        submissions: Vec::from([request(1, &[1])]),
        hears,
        snapshots: 1,
        may_snapshot: Replicas::of(&[1]),
        may_install: Replicas::of(&[0]),
        crashes: 1,
        may_crash: Replicas::of(&[1]),
        ..Scenario::new(3, 1, &[1, 3])
    };
    check_answers(scenario, MessageKind::Offer);
}

/// Where no disk rolls back, what a reply tells of its sender's prefix changes nothing.
#[test]
fn prefixes_that_are_all_the_same() {
    let submissions = Vec::from([request(1, &[0]), request(2, &[0])]);
    let may_crash = Replicas::of(&[1]);
    let hears = [Replicas::ALL, Replicas::of(&[0]), Replicas::of(&[0]), NONE, NONE];
    let scenario =
        Scenario { submissions, crashes: 1, may_crash, hears, ..Scenario::new(3, 2, &[3]) };
    let mut plain = World::new(scenario.clone());
    plain.keeps_prefixes = true;
    let (plainly, plain_states) = explore(&plain, locals, |_| {});
    let (reduced, reduced_states) = explore(&World::new(scenario), locals, |_| {});
    std::println!("{plain_states} states with all prefixes, {reduced_states} without");
    assert!(reduced_states < plain_states, "no prefix was ever left out: this tests nothing");
    assert_eq!(plainly, reduced, "the same local states are reached together");
}

/// A disk that is never read again may be removed: the same replicas are reached together as with it.
#[test]
fn disks_that_are_never_read_again() {
    let submissions = Vec::from([request(1, &[0])]);
    let scenario = Scenario { submissions, crashes: 1, ..Scenario::new(3, 1, &[1, 3]) };
    let mut plain = World::new(scenario.clone());
    plain.keeps_disks = true;
    let (plainly, plain_states) = explore(&plain, replicas, |_| {});
    let (reduced, reduced_states) = explore(&World::new(scenario), replicas, |_| {});
    std::println!("{plain_states} states with all disks, {reduced_states} without those that go");
    assert!(reduced_states < plain_states, "no disk ever went: this tests nothing");
    assert_eq!(plainly, reduced, "the same replicas are reached together");
}

/// Positions are only compared with one another, so it does not matter where counting starts: a replica
/// that has counted further behaves the same, except for the shift.
#[test]
fn positions_count_from_anywhere() {
    use crate::io::{Input, Output};
    use crate::numbers::Position;
    let world = World::new(Scenario::new(3, 1, &[3]));
    let mut near = world.first_local(0).replica;
    let mut far = near.clone();
    for round in 0..3 {
        let (mut here, mut there) = (Output::default(), Output::default());
        near.step(Input::Elect { canvass: false }, &mut here);
        far.step(Input::Elect { canvass: false }, &mut there);
        assert_eq!(here, there);
        near.step(Input::Synced { through: Position(1) }, &mut here);
        far.step(Input::Synced { through: Position(round + 1) }, &mut there);
        assert_eq!(here, there);
        near.common.unsynced.renumber();
        assert_eq!(near.common.unsynced.written(), Position(0));
        assert_eq!(far.common.unsynced.written(), Position(round + 1));
    }
}

#[test]
fn rivals() {
    let submissions = Vec::from([request(1, &[0]), request(2, &[1])]);
    check(Scenario { submissions, ..Scenario::new(3, 1, &[1, 3]) });
}

#[test]
fn a_crash() {
    let submissions = Vec::from([request(1, &[0])]);
    check(Scenario { submissions, crashes: 1, ..Scenario::new(3, 1, &[3]) });
}

#[test]
fn a_crash_of_a_coordinator_that_stands_again() {
    let submissions = Vec::from([request(1, &[0]), request(2, &[1])]);
    let may_crash = Replicas::of(&[0]);
    let catch_up = Replicas::NONE;
    check(Scenario {
        submissions,
        crashes: 1,
        may_crash,
        catch_up,
        ..Scenario::new(3, 1, &[3, 4])
    });
}

#[test]
fn two_slots() {
    let submissions = Vec::from([request(1, &[0]), request(2, &[0])]);
    let hears = [Replicas::ALL, Replicas::of(&[0]), NONE, NONE, NONE];
    let catch_up = Replicas::of(&[1]);
    check(Scenario { submissions, catch_up, hears, ..Scenario::new(3, 2, &[3]) });
}

#[test]
fn portions_of_an_election() {
    let submissions = Vec::from([request(1, &[1]), request(2, &[1])]);
    let hears = [Replicas::ALL, Replicas::of(&[0]), Replicas::of(&[0]), NONE, NONE];
    let catch_up = Replicas::NONE;
    let limits = Limits { resend_bytes_max: 1, ..small_limits() };
    check(Scenario { limits, submissions, catch_up, hears, ..Scenario::new(3, 2, &[1, 2]) });
}

#[test]
fn rejections() {
    let submissions = Vec::from([request(1, &[0])]);
    let loses = ASIDE.without(MessageKinds::of(&[MessageKind::Reject]));
    check(Scenario { submissions, loses, ..Scenario::new(3, 1, &[1, 2]) });
}

#[test]
fn canvass() {
    let submissions = Vec::from([request(1, &[0])]);
    let loses = ASIDE.without(MessageKinds::of(&[MessageKind::Canvass, MessageKind::Agree]));
    let canvass = true;
    check(Scenario { canvass, submissions, loses, ..Scenario::new(3, 1, &[3]) });
}

#[test]
fn reads() {
    let loses = ASIDE.without(MessageKinds::of(&[
        MessageKind::Round,
        MessageKind::Obey,
        MessageKind::Read,
        MessageKind::ReadAt,
    ]));
    let reads = Vec::from([Replicas::of(&[0, 1])]);
    check(Scenario { reads, loses, ..Scenario::new(3, 1, &[3]) });
}

#[test]
fn an_old_answer_tells_of_a_leftover() {
    let submissions = Vec::from([request(1, &[2])]);
    let lost =
        MessageKinds::of(&[MessageKind::Acknowledge, MessageKind::Commit, MessageKind::Accept]);
    let loses = ASIDE.without(MessageKinds::of(&[MessageKind::Round, MessageKind::Obey])).and(lost);
    let catch_up = Replicas::NONE;
    let reads = Vec::from([Replicas::of(&[0])]);
    check(Scenario { submissions, reads, catch_up, loses, ..Scenario::new(3, 1, &[2, 3]) });
}

#[test]
fn forwarding() {
    let submissions = Vec::from([request(1, &[0, 1])]);
    let loses = ASIDE.without(MessageKinds::of(&[MessageKind::Submit]));
    let submit_anywhere = true;
    let resend = true;
    check(Scenario { submissions, submit_anywhere, resend, loses, ..Scenario::new(3, 1, &[3]) });
}

#[test]
fn a_full_queue() {
    let submissions = Vec::from([request(1, &[0]), request(2, &[1]), request(3, &[1])]);
    let loses = ASIDE.without(MessageKinds::of(&[
        MessageKind::Submit,
        MessageKind::NotTaken,
        MessageKind::Forward,
    ]));
    let submit_anywhere = true;
    let limits = Limits { open_slots_max: 1, queued_submissions_max: 1, ..small_limits() };
    let only = |id| Replicas::of(&[id]);
    let hears = [only(1), only(0), NONE, NONE, NONE];
    let catch_up = Replicas::NONE;
    check(Scenario {
        limits,
        submissions,
        submit_anywhere,
        catch_up,
        hears,
        loses,
        ..Scenario::new(3, 2, &[3, 4])
    });
}

#[test]
fn a_lost_directory() {
    let submissions = Vec::from([request(1, &[0])]);
    let may_lose = Replicas::of(&[0, 2]);
    let scenario = Scenario { submissions, losses: 1, may_lose, ..Scenario::new(3, 1, &[3]) };
    check(Scenario { forming: true, ..scenario });
}

#[test]
fn a_snapshot() {
    let submissions = Vec::from([request(1, &[1]), request(2, &[0])]);
    check(Scenario {
        submissions,
        snapshots: 1,
        may_snapshot: Replicas::of(&[0, 1]),
        may_install: Replicas::of(&[0, 2]),
        catch_up: Replicas::NONE,
        crashes: 1,
        may_crash: Replicas::of(&[2]),
        hears: [Replicas::of(&[2]), Replicas::of(&[2]), Replicas::ALL, NONE, NONE],
        ..Scenario::new(3, 1, &[1, 3])
    });
}

#[test]
fn a_change() {
    let bounds = Scenario { members: Replicas::of(&[0, 1]), ..Scenario::new(3, 1, &[3, 4]) };
    let change = bounds.change(1, &[1, 2], Replicas::of(&[0]));
    check(Scenario {
        submissions: Vec::from([change, request(2, &[1])]),
        crashes: 1,
        may_crash: Replicas::of(&[1]),
        ..bounds
    });
}

/// What all replicas have accepted and learned. A change that is kept aside is in neither.
fn acceptors_and_learners(world: &World, state: &ClusterState) -> u128 {
    let all = world.replicas().map(|it| {
        let common = &world.locals.get(state.locals[it]).content.replica.common;
        (&common.acceptor, &common.learner)
    });
    digest(&all.collect::<Vec<_>>())
}

/// The same is accepted and learned together, whether the coordinator asks who is ready, or all are at once.
#[test]
fn who_is_ready() {
    let bounds = Scenario { members: Replicas::of(&[0, 1]), ..Scenario::new(3, 1, &[3, 4]) };
    let change = bounds.change(1, &[1, 2], Replicas::of(&[0]));
    let scenario = Scenario {
        submissions: Vec::from([change, request(2, &[1])]),
        crashes: 1,
        may_crash: Replicas::of(&[1]),
        ..bounds
    };
    let asking = World::new(Scenario { readiness: true, ..scenario.clone() });
    let mut questions = 0_usize;
    let (asked, asked_states) = explore(&asking, acceptors_and_learners, |state| {
        questions += usize::from(asking.has_in_flight(state, MessageKind::AskReady));
    });
    let (reduced, states) = explore(&World::new(scenario), acceptors_and_learners, |_| {});
    std::println!("{asked_states} states with questions in flight, {states} without");
    assert!(questions > 0, "nobody is asked: this tests nothing");
    assert_eq!(asked, reduced, "the same is accepted and learned together");
}

#[test]
fn a_rollback() {
    let submissions = Vec::from([request(1, &[0]), request(2, &[1])]);
    let lost = MessageKinds::of(&[MessageKind::Commit, MessageKind::Compare]);
    check(Scenario {
        submissions,
        rollbacks: 1,
        may_roll_back: Replicas::of(&[2]),
        catch_up: Replicas::NONE,
        loses: ASIDE.and(lost),
        ..Scenario::new(3, 1, &[3, 4])
    });
}

#[test]
fn reminders() {
    let submissions = Vec::from([request(1, &[0])]);
    let reminders = MessageKinds::of(&[MessageKind::Remind, MessageKind::Forgot]);
    check(Scenario {
        submissions,
        rollbacks: 1,
        may_roll_back: Replicas::of(&[2]),
        resend: true,
        catch_up: Replicas::NONE,
        hears: [Replicas::ALL, NONE, Replicas::ALL, NONE, NONE],
        loses: ASIDE.without(reminders),
        ..Scenario::new(3, 1, &[3])
    });
}

/// Where no disk rolls back no reminder ever acts, though it reminds of all that was ever told.
#[test]
fn reminders_of_what_is_there() {
    let submissions = Vec::from([request(1, &[1])]);
    let reminders = MessageKinds::of(&[MessageKind::Remind]);
    let of_2 = Replicas::of(&[2]);
    let mut plain = World::new(Scenario {
        submissions,
        crashes: 1,
        resend: true,
        hears: [of_2, of_2, Replicas::ALL, NONE, NONE],
        loses: ASIDE.without(reminders),
        ..Scenario::new(3, 1, &[1, 3])
    });
    (plain.keeps_dead, plain.keeps_testimonies) = (true, true);
    let mut accepted = 0_usize;
    explore(&plain, locals, |state| {
        let tells = |id: &u32| {
            let message = &plain.envelope(*id).message;
            matches!(message, Message::Remind { testimony } if testimony.accepted.is_some())
        };
        accepted += usize::from(state.in_flight.iter().any(tells));
        assert_dead_never_act(&plain, state);
    });
    assert!(accepted > 0, "nobody was ever reminded of an accept: this tests nothing");
}

/// Greetings in flight are told from what the directories know. They are a set that only grows, like
/// messages, but for those to a directory that is lost.
#[test]
fn a_greeting_stays_in_flight() {
    let forming = Scenario { forming: true, crashes: 1, losses: 1, ..Scenario::new(3, 1, &[]) };
    let world = World::new(forming);
    let greetings = |state: &ClusterState| {
        let mut actions = Vec::new();
        world.list_actions(state, &mut actions);
        actions.retain(|it| matches!(it, Action::Greet { .. }));
        actions
    };
    let mut welcomes = 0_usize;
    explore(&world, locals, |state| {
        let mut actions = Vec::new();
        world.list_actions(state, &mut actions);
        let before = greetings(state);
        welcomes += before.iter().filter(|it| is_welcome(**it)).count();
        for action in actions {
            let Some(next) = world.act(state, action) else {
                continue;
            };
            let after = greetings(&next);
            let is_lost =
                |it: &Action| matches!(action, Action::Lose { .. }) && action.at() == it.at();
            let gone = before.iter().find(|it| !after.contains(it) && !is_lost(it));
            assert_eq!(gone, None, "after {action:?}");
        }
    });
    assert!(welcomes > 0, "nobody ever welcomed anybody: this tests nothing");
}

fn is_welcome(action: Action) -> bool {
    matches!(action, Action::Greet { is_welcome: true, .. })
}
