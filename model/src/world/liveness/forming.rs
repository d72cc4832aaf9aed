//! Which majorities must agree where a cluster must form first.
//!
//! A replica that is not formed needs all others, so a majority alone gets nowhere. And a directory
//! that was made anew under a known id never takes part. So before a majority is left in peace its
//! members greet one another. Then:
//!
//! - a majority whose members all take part, and let one another's messages pass, must agree;
//! - all replicas together must have come to that, unless one of them knows a directory that is lost;
//! - of other majorities nothing is claimed.

use super::FairRun;
use crate::world::directory::{Directory, welcomes};
use crate::world::intern::Id;
use crate::world::model::World;
use crate::world::outcomes::EventKey;
use crate::world::scenario::{REPLICAS_MAX, Replicas};
use std::vec::Vec;

/// What becomes of a majority when its members have greeted one another.
pub(super) enum Formed {
    /// It must agree from here.
    Joined([Id; REPLICAS_MAX]),
    /// It cannot be expected to agree.
    Apart,
    /// It should have formed.
    Stuck,
}

impl World {
    /// Lets the members of `majority` greet one another.
    pub(super) fn formed(&self, majority: Replicas, locals: [Id; REPLICAS_MAX]) -> Formed {
        if !self.scenario.forming {
            return Formed::Joined(locals);
        }
        let mut run = FairRun { world: self, majority, locals, in_flight: Vec::new() };
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
    /// Whether `is_so` of any member and any other.
    fn any_pair(&self, is_so: impl Fn(&Directory, &Directory) -> bool) -> bool {
        let directory = |it: usize| self.local(it).directory.as_ref();
        let others = |it: usize| self.members().filter(move |other| *other != it);
        self.members()
            .filter_map(|it| Some((it, directory(it)?)))
            .any(|(it, one)| others(it).filter_map(directory).any(|other| is_so(one, other)))
    }

    /// All members say hello to one another, and then all are welcomed that are welcome.
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
