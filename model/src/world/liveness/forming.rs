//! Which majorities must agree where a cluster must form first.
//!
//! A replica that is not formed needs all others, so a majority does not help it. And a new data
//! directory under a known id never takes part. So the members of a majority greet one another before
//! they are left in peace. Then:
//!
//! - If all of them take part, and let one another's messages pass, they must agree.
//! - All replicas together must get that far, unless one of them knows a directory that is lost.
//! - Nothing is claimed of other majorities.

use super::FairRun;
use crate::world::directory::{Directory, welcomes};
use crate::world::intern::Id;
use crate::world::model::World;
use crate::world::outcomes::EventKey;
use crate::world::scenario::{REPLICAS_MAX, Replicas};
use std::vec::Vec;

/// The result of the greetings among a majority.
pub(super) enum Formed {
    /// The members let one another's messages pass. They must agree.
    Joined([Id; REPLICAS_MAX]),
    /// They do not, and need not.
    Apart,
    /// They do not, and should.
    Stuck,
}

impl World {
    /// Lets the members of `majority` greet one another.
    pub(super) fn formed(&self, majority: Replicas, locals: [Id; REPLICAS_MAX]) -> Formed {
        if !self.scenario.forming {
            return Formed::Joined(locals);
        }
        let mut run = FairRun { world: self, majority, locals, in_flight: Vec::new(), rounds: 0 };
        let is_everybody = majority.count() == self.scenario.replicas;
        let must_form = is_everybody && !run.any_pair(Directory::knows_as_lost);
        run.greet();
        if !run.any_pair(|one, other| !one.passes(other)) {
            Formed::Joined(run.locals)
        } else if must_form {
            Formed::Stuck
        } else {
            Formed::Apart
        }
    }
}

impl FairRun<'_> {
    /// Whether `is_so` holds for any member and any other one.
    fn any_pair(&self, is_so: impl Fn(&Directory, &Directory) -> bool) -> bool {
        let directory = |it: usize| self.local(it).directory.as_ref();
        let others = |it: usize| self.members().filter(move |other| *other != it);
        self.members()
            .filter_map(|it| Some((it, directory(it)?)))
            .any(|(it, one)| others(it).filter_map(directory).any(|other| is_so(one, other)))
    }

    /// Each member says hello to each other one, and then each welcome arrives.
    fn greet(&mut self) {
        for is_welcome in [false, true] {
            for to in self.members() {
                for from in self.members().filter(|from| *from != to) {
                    let directory = |it: usize| self.local(it).directory.as_ref();
                    let (Some(sender), Some(recipient)) = (directory(from), directory(to)) else {
                        continue;
                    };
                    if !is_welcome || welcomes(&sender.forming, recipient) {
                        let from = sender.name();
                        self.happen(to, EventKey::Greet { from, is_welcome });
                    }
                }
            }
        }
    }
}
