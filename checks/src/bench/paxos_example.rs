//! Paxos for a single decision, written with stateright's actors: as a first version would be.
//!
//! Three servers agree on the only value that a register will ever hold. Three clients each ask a
//! server to write a value. When that is done, they ask the next server to read. The history records
//! what the clients saw. A tester decides in every state whether it is linearizable: whether a single
//! register could have given the same answers.
//!
//! It is the protocol of `model/` at its smallest. A server that is asked to write stands for election
//! at once, under a sequence number of its own (*propose*). It collects *promises* from a majority.
//! Then a majority *accepts* a value under that number: the client's, or the one that the promises
//! require. At last the server tells all others that the value is *committed*. No server crashes, no
//! message is lost or repeated, and a write to disk is not a step: in `ActorModel` the handling of a
//! message is atomic.
//!
//! It does the same *work* as the example of stateright that it is modelled on: the same protocol step
//! by step, the same hash maps and sets in the state of a server, the same network and history.
//! Nothing is interned, nothing is left out of the state, and nothing is remembered from one step to
//! the next. The benchmark measures what that costs.

use std::borrow::Cow;

use stateright::Expectation;
use stateright::actor::register::{RegisterActor, RegisterMsg};
use stateright::actor::{Actor, ActorModel, Id, Network, Out, majority, model_peers};
use stateright::semantics::LinearizabilityTester;
use stateright::semantics::register::Register;
use stateright::util::{HashableHashMap, HashableHashSet};

/// The number of servers.
const SERVERS: usize = 3;

/// The value of a register that was never written.
const UNWRITTEN: char = '\0';

/// The requests and answers of the clients so far, with the tester that judges them.
pub(crate) type History = LinearizabilityTester<Id, Register<char>>;

/// Three servers, and this many clients, each of which writes once and then reads once.
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

/// Orders the candidates. A candidate takes the next number above the highest it has heard of.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SequenceNumber {
    count: u32,
    owner: Id,
}

/// A client's request to write a value.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Request {
    number: u64,
    client: Id,
    value: char,
}

/// A request that was accepted, and the number under which it was.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Accepted {
    s: SequenceNumber,
    request: Request,
}

/// A message between servers.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Message {
    /// The sender wants to coordinate under `s`.
    Propose { s: SequenceNumber },
    /// The sender obeys no number below `s`, and reports what it has accepted.
    Promise { s: SequenceNumber, accepted: Option<Accepted> },
    /// Accept this request under `s`.
    Accept { s: SequenceNumber, request: Request },
    /// The sender has accepted it.
    Acknowledge { s: SequenceNumber },
    /// A majority has accepted it.
    Commit { s: SequenceNumber, request: Request },
}

use Message::{Accept, Acknowledge, Commit, Promise, Propose};
use RegisterMsg::Internal;

/// A server, which knows the others from the start.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    peers: Vec<Id>,
}

/// The state of a server.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ServerState {
    /// The highest sequence number that it has obeyed: another server's or its own.
    s: SequenceNumber,
    /// As a coordinator: the request, from its client or from a promise.
    request: Option<Request>,
    /// As a coordinator: what each promiser had accepted.
    promises: HashableHashMap<Id, Option<Accepted>>,
    /// As a coordinator: the servers that have accepted the request.
    acknowledged: HashableHashSet<Id>,
    /// As an acceptor: the request that it accepted last.
    accepted: Option<Accepted>,
    /// Whether the request that it accepted is the decision.
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
        // A read is answered only by a server that knows the decision: any other cannot tell whether
        // there is one. A message that fits no arm came too late, and stays in the network.
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
    /// Phase 1: stands for election and votes for itself.
    fn propose(&self, me: Id, state: &mut ServerState, request: Request, out: &mut Out<Self>) {
        state.s = SequenceNumber { count: state.s.count + 1, owner: me };
        state.request = Some(request);
        state.promises = HashableHashMap::default();
        state.promises.insert(me, state.accepted);
        state.acknowledged = HashableHashSet::default();
        out.broadcast(&self.peers, &Internal(Propose { s: state.s }));
    }

    /// Phase 2, once elected: accepts a value and asks the others to accept it.
    ///
    /// If a value was chosen before, a server of this majority has accepted it, and it is the one
    /// that was accepted under the highest number. If none was accepted, the client's value
    /// may be chosen.
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

    /// A majority has accepted the value: it is the decision. Tells the others and the client.
    fn commit(&self, state: &mut ServerState, out: &mut Out<Self>) {
        let request = state.request.expect("a coordinator has a request");
        let s = state.s;
        state.committed = true;
        out.broadcast(&self.peers, &Internal(Commit { s, request }));
        out.send(request.client, RegisterMsg::PutOk(request.number));
    }

    /// The number of servers that is a majority.
    fn majority(&self) -> usize {
        majority(self.peers.len() + 1)
    }
}

impl ServerState {
    /// Accepts a request under `s`. The number is not below what it has obeyed, or the request is
    /// committed.
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

    /// The unique and generated states with this many clients.
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
