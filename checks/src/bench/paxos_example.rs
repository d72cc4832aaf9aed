//! Paxos for a single decision, written as one would begin: with stateright's actors.
//!
//! Three servers agree on the one value that a register will ever hold. Three clients each ask a
//! server of their own to write a value, and, once told that it is done, ask the next to read.
//! Whatever the clients saw is recorded, and a tester judges in every state whether one register,
//! used by one client at a time, could have answered so.
//!
//! It is the protocol of `model/` at its smallest. A server that is asked to write stands for
//! election at once under a sequence number of its own (*propose*), collects *promises* from a
//! majority, has a value *accepted* by a majority under that number (the client's, or the one that
//! the promises oblige it to), and tells everybody that it is *committed*. Nobody crashes, nothing
//! is lost or repeated, and writing to disk is not a step: `ActorModel` makes the handling of a
//! message one atomic act.
//!
//! What matters here is that it is the same *work* as the example that comes with stateright, on
//! which it is modelled: the same protocol step for step, the same hash maps and sets in a server's
//! state, the same network and history. Nothing is interned, nothing is left out of the state, and
//! nothing is remembered from one step to the next. What that costs is the question.

use std::borrow::Cow;

use stateright::Expectation;
use stateright::actor::register::{RegisterActor, RegisterMsg};
use stateright::actor::{Actor, ActorModel, Id, Network, Out, majority, model_peers};
use stateright::semantics::LinearizabilityTester;
use stateright::semantics::register::Register;
use stateright::util::{HashableHashMap, HashableHashSet};

/// How many servers there are.
const SERVERS: usize = 3;

/// What a register holds that was never written.
const UNWRITTEN: char = '\0';

/// What the clients have asked and been told so far, and the judge of it.
pub(crate) type History = LinearizabilityTester<Id, Register<char>>;

/// Three servers, and that many clients that write once and then read once.
pub(crate) fn model(clients: usize) -> ActorModel<RegisterActor<Server>, (), History> {
    let servers = (0..SERVERS)
        .map(|server| RegisterActor::Server(Server { peers: model_peers(server, SERVERS) }));
    let clients =
        (0..clients).map(|_| RegisterActor::Client { put_count: 1, server_count: SERVERS });
    ActorModel::new((), LinearizabilityTester::new(Register(UNWRITTEN)))
        .actors(servers)
        .actors(clients)
        .init_network(Network::new_unordered_nonduplicating([]))
        .record_msg_out(RegisterMsg::record_invocations)
        .record_msg_in(RegisterMsg::record_returns)
        .property(Expectation::Always, "linearizable", |_, state| {
            state.history.serialized_history().is_some()
        })
        .property(Expectation::Sometimes, "a value is read", |_, state| {
            state.network.iter_deliverable().any(|envelope| {
                matches!(envelope.msg, RegisterMsg::GetOk(_, value) if *value != UNWRITTEN)
            })
        })
}

/// Orders those who stand for election. Whoever stands counts one up from the highest it has heard.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SequenceNumber {
    count: u32,
    owner: Id,
}

/// What a client wants written.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Request {
    number: u64,
    client: Id,
    value: char,
}

/// A request that was taken, and the number it was taken under.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Accepted {
    s: SequenceNumber,
    request: Request,
}

/// What servers tell each other.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Message {
    /// I want to coordinate under `s`.
    Propose { s: SequenceNumber },
    /// I obey nobody below `s`; here is what I have accepted.
    Promise { s: SequenceNumber, accepted: Option<Accepted> },
    /// Take this request under `s`.
    Accept { s: SequenceNumber, request: Request },
    /// I have taken it.
    Acknowledge { s: SequenceNumber },
    /// A majority has taken it.
    Commit { s: SequenceNumber, request: Request },
}

use Message::{Accept, Acknowledge, Commit, Promise, Propose};
use RegisterMsg::Internal;

/// One of the servers. What it is told to begin with: who the others are.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    peers: Vec<Id>,
}

/// What a server knows.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ServerState {
    /// The highest sequence number that it has obeyed, be it another's or its own.
    s: SequenceNumber,
    /// As a coordinator: the request that it works for, from the client or from a promise.
    request: Option<Request>,
    /// As a coordinator: what those who promised had accepted.
    promises: HashableHashMap<Id, Option<Accepted>>,
    /// As a coordinator: who has taken the request.
    acknowledged: HashableHashSet<Id>,
    /// As an acceptor: the request that it took last.
    accepted: Option<Accepted>,
    /// The request that it accepted is the decision.
    committed: bool,
}

impl Actor for Server {
    type Msg = RegisterMsg<u64, char, Message>;
    type State = ServerState;
    type Timer = ();
    type Random = ();
    type Storage = ();

    fn on_start(&self, _me: Id, _disk: &Option<()>, _out: &mut Out<Self>) -> ServerState {
        ServerState {
            s: SequenceNumber { count: 0, owner: Id::from(0) },
            request: None,
            promises: HashableHashMap::default(),
            acknowledged: HashableHashSet::default(),
            accepted: None,
            committed: false,
        }
    }

    fn on_msg(
        &self,
        me: Id,
        state: &mut Cow<'_, ServerState>,
        from: Id,
        message: Self::Msg,
        out: &mut Out<Self>,
    ) {
        if state.committed {
            if let (RegisterMsg::Get(number), Some(decision)) = (message, state.accepted) {
                out.send(from, RegisterMsg::GetOk(number, decision.request.value));
            }
            return;
        }
        // A read waits for a server that knows the decision: this one cannot tell whether there is
        // one yet. Whatever fits no arm came too late, and is left in the network for good.
        match message {
            RegisterMsg::Put(number, value) if state.request.is_none() => {
                let client = from;
                let request = Request { number, client, value };
                self.propose(me, state.to_mut(), request, out);
            }
            Internal(Propose { s }) if s > state.s => {
                let accepted = state.accepted;
                state.to_mut().s = s;
                out.send(from, Internal(Promise { s, accepted }));
            }
            Internal(Promise { s, accepted }) if s == state.s => {
                state.to_mut().promises.insert(from, accepted);
                if state.promises.len() == self.majority() {
                    self.coordinate(me, state.to_mut(), out);
                }
            }
            Internal(Accept { s, request }) if s >= state.s => {
                state.to_mut().accept(s, request);
                out.send(from, Internal(Acknowledge { s }));
            }
            Internal(Acknowledge { s }) if s == state.s => {
                state.to_mut().acknowledged.insert(from);
                if state.acknowledged.len() == self.majority() {
                    self.commit(state.to_mut(), out);
                }
            }
            Internal(Commit { s, request }) => {
                let state = state.to_mut();
                state.accept(s, request);
                state.committed = true;
            }
            _ => {}
        }
    }
}

impl Server {
    /// Phase 1: stands for election, and votes for itself.
    fn propose(&self, me: Id, state: &mut ServerState, request: Request, out: &mut Out<Self>) {
        state.s = SequenceNumber { count: state.s.count + 1, owner: me };
        state.request = Some(request);
        state.promises = HashableHashMap::default();
        state.promises.insert(me, state.accepted);
        state.acknowledged = HashableHashSet::default();
        out.broadcast(&self.peers, &Internal(Propose { s: state.s }));
    }

    /// Phase 2, elected: has everybody take a value, and is the first to do so.
    ///
    /// A value that was chosen before was accepted by some server of this majority, and the one
    /// accepted under the highest number is it. Only where none was accepted may the client's go.
    fn coordinate(&self, me: Id, state: &mut ServerState, out: &mut Out<Self>) {
        let bound_to = state.promises.values().max().copied().flatten();
        let request = bound_to
            .map(|accepted| accepted.request)
            .or(state.request)
            .expect("who stands for election has a request");
        let s = state.s;
        state.request = Some(request);
        state.accept(s, request);
        state.acknowledged.insert(me);
        out.broadcast(&self.peers, &Internal(Accept { s, request }));
    }

    /// A majority has taken the value: it is the decision. Tells everybody, and the client.
    fn commit(&self, state: &mut ServerState, out: &mut Out<Self>) {
        let request = state.request.expect("a coordinator has a request");
        let s = state.s;
        state.committed = true;
        out.broadcast(&self.peers, &Internal(Commit { s, request }));
        out.send(request.client, RegisterMsg::PutOk(request.number));
    }

    /// How many servers are more than half.
    fn majority(&self) -> usize {
        majority(self.peers.len() + 1)
    }
}

impl ServerState {
    /// Takes a request under `s`, which is not below what it has obeyed, or is committed.
    fn accept(&mut self, s: SequenceNumber, request: Request) {
        self.s = s;
        self.accepted = Some(Accepted { s, request });
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::measure;

    /// The unique and generated states with that many clients.
    fn states(clients: usize, threads: usize) -> (usize, usize) {
        let threads = NonZeroUsize::new(threads).expect("some");
        let found = measure("paxos", model(clients), threads).expect("it holds");
        (found.unique_states, found.transitions)
    }

    #[test]
    fn it_is_the_same_work_as_staterights_example_with_one_client() {
        assert_eq!(states(1, 1), (265, 482));
    }

    #[test]
    fn it_is_the_same_work_as_staterights_example_with_two_clients() {
        assert_eq!(states(2, 1), (16_668, 32_971));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        assert_eq!(states(2, 2), states(2, 1));
    }
}
