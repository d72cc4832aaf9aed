//! A submission, as people write it: `a@0,2 places=2`, `open@1`, `members(0,1,3)@0`.

use std::fmt::{self, Display};
use std::str::FromStr;

use synod_model::world::{OPEN_SESSION, ScenarioSubmission};
use synod_model::{
    Change, Configuration, ConfigurationId, Entry, Opening, Registration, ReplicaId, Request, Run,
    SessionId,
};

use super::values::ReplicaSet;

/// Something that clients may submit, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission(pub Option<ScenarioSubmission>);

impl FromStr for Submission {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no submission: allowed are a@REPLICAS to z@REPLICAS, open@REPLICAS, \
                 end@REPLICAS and members(VOTERS+LEARNERS)@REPLICAS, followed by places=N, after=N, \
                 session=N, answered=N, or, for members, number=N, configuration=N and next=N"
            )
        };
        if text == "none" {
            return Ok(Self(None));
        }
        let mut words = text.split_whitespace();
        let (what, at) = words.next().and_then(|word| word.split_once('@')).ok_or_else(wrong)?;
        let at = at.parse::<ReplicaSet>()?.0;
        let (mut places, mut after, mut session, mut answered) = (1, None, OPEN_SESSION.0, 1);
        let mut change = ChangeText::default();
        for word in words {
            let (key, number) = word.split_once('=').ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            match key {
                "places" => places = u32::try_from(number).map_err(|_| wrong())?,
                "after" => after = Some(usize::try_from(number).map_err(|_| wrong())?),
                "session" => session = number,
                "answered" => answered = number,
                "number" => change.number = number,
                "configuration" => change.configuration = number,
                "next" => change.next = Some(u32::try_from(number).map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        let session = SessionId(session);
        let entry = match what.as_bytes() {
            [value @ b'a'..=b'z'] => {
                let number = u64::from(value - b'a') + 1;
                Entry::Request(Request { session, number, answered, value: *value })
            }
            b"open" => Entry::Open(Opening { origin: ReplicaId(0), run: Run(0), count: 1 }),
            b"end" => Entry::End { session },
            _ => {
                let number = change.number;
                let configuration = change.configuration(what).ok_or_else(wrong)??;
                Entry::Change(Change { session, number, answered, configuration })
            }
        };
        // Counted from 1 in the text, as people do.
        let after = match after {
            None => None,
            Some(after) => Some(usize::checked_sub(after, 1).ok_or_else(wrong)?),
        };
        Ok(Self(Some(ScenarioSubmission { entry, at, places, after })))
    }
}

impl Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ScenarioSubmission { entry, at, places, after }) = &self.0 else {
            return f.write_str("none");
        };
        let at = ReplicaSet(*at);
        let session = match entry {
            Entry::Request(Request { session, value, .. }) => {
                write!(f, "{}@{at}", char::from(*value))?;
                *session
            }
            Entry::End { session } => {
                write!(f, "end@{at}")?;
                *session
            }
            Entry::Change(Change { session, number, configuration, .. }) => {
                ChangeText::write(*number, configuration, at, f)?;
                *session
            }
            // Nobody submits anything else.
            Entry::Open(_) | Entry::NoOp => {
                write!(f, "open@{at}")?;
                OPEN_SESSION
            }
        };
        if *places != 1 {
            write!(f, " places={places}")?;
        }
        if let Some(after) = after {
            write!(f, " after={}", after + 1)?;
        }
        if session != OPEN_SESSION {
            write!(f, " session={}", session.0)?;
        }
        match entry {
            Entry::Request(Request { answered, .. }) | Entry::Change(Change { answered, .. })
                if *answered != 1 =>
            {
                write!(f, " answered={answered}")
            }
            _ => Ok(()),
        }
    }
}

/// What the text of a change says besides its members.
struct ChangeText {
    number: u64,
    configuration: u64,
    /// The next id that is free. If it is not said: the one after all members.
    next: Option<u32>,
}

impl Default for ChangeText {
    fn default() -> Self {
        Self { number: 1, configuration: 2, next: None }
    }
}

impl ChangeText {
    /// The configuration that `members(0,1+2)` stands for; `None` if that is another text.
    fn configuration(&self, text: &str) -> Option<Result<Configuration, String>> {
        let members = text.strip_prefix("members(")?.strip_suffix(')')?;
        let (voters, learners) = members.split_once('+').unwrap_or((members, ""));
        let learners = ids(learners)?;
        let members = [ids(voters)?, learners.clone()].concat();
        let next = self.next.unwrap_or_else(|| id_after(&members));
        let id = ConfigurationId(self.configuration);
        let configuration = Configuration::from_parts(id, members, learners, next)
            .and_then(|it| it.with_all_registered(Registration::first_of));
        Some(configuration.map_err(|error| format!("{text}: {error}")))
    }

    fn write(
        number: u64,
        configuration: &Configuration,
        at: ReplicaSet,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let list = |ids: &mut dyn Iterator<Item = ReplicaId>| {
            ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
        };
        let (id, next) = (configuration.id().0, configuration.next_replica_id());
        let defaults = Self::default();
        write!(f, "members({}", list(&mut configuration.voters()))?;
        if !configuration.learners().is_empty() {
            write!(f, "+{}", list(&mut configuration.learners().iter().copied()))?;
        }
        write!(f, ")@{at}")?;
        if number != defaults.number {
            write!(f, " number={number}")?;
        }
        if id != defaults.configuration {
            write!(f, " configuration={id}")?;
        }
        if next != id_after(configuration.members()) {
            write!(f, " next={next}")?;
        }
        Ok(())
    }
}

fn ids(list: &str) -> Option<Vec<ReplicaId>> {
    let ids = list.split(',').filter(|id| !id.is_empty());
    ids.map(|id| id.parse().ok().map(ReplicaId)).collect()
}

fn id_after(members: &[ReplicaId]) -> u32 {
    members.iter().map(|member| u32::from(member.0) + 1).max().unwrap_or(0)
}
