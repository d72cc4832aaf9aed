//! Bounds become a scenario, and a scenario is written as bounds.

use std::fmt;

use synod_model::world::{
    ASIDE, MessageKind, MessageKinds, READS_MAX, REPLICAS_MAX, Replicas, SUBMISSIONS_MAX, Scenario,
    ScenarioSubmission, Witness, small_limits,
};
use synod_model::{
    ClusterConstants, Configuration, ConfigurationId, Limits, ReplicaId, SequenceNumber,
};

use super::Bounds;
use super::submission::Submission;
use super::values::{Count, Hears, LimitName, MessageName, Numbers, ReplicaSet, WitnessName};

/// Bounds that do not go together.
#[derive(Debug)]
pub struct Contradiction {
    /// The bound that is to be changed.
    pub key: &'static str,
    /// What is wrong with it, and what is allowed.
    pub what: String,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

impl std::error::Error for Contradiction {}

fn wrong(key: &'static str, what: impl Into<String>) -> Contradiction {
    Contradiction { key, what: what.into() }
}

impl Bounds {
    /// The scenario within these bounds. Where they do not say what must be reached, nothing must, and
    /// the scenario watches everything that can be.
    ///
    /// # Errors
    ///
    /// If the bounds do not go together.
    pub fn scenario(&self) -> Result<Scenario, Contradiction> {
        let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let replicas = small(self.replicas.map_or(3, |it| it.0));
        let slots = small(self.slots.map_or(1, |it| it.0));
        let numbers = match &self.numbers {
            Some(numbers) => numbers.0.clone(),
            None => (1..=replicas as u64).collect(),
        };
        let all = |set: Option<ReplicaSet>| set.map_or(Replicas::ALL, |it| it.0);
        let is = |it: Option<bool>| it.unwrap_or(false);
        let defaults = Scenario::new(replicas, slots, &numbers);
        let scenario = Scenario {
            members: all(self.members),
            learners: self.learners.map_or(Replicas::NONE, |it| it.0),
            limits: self.limits()?,
            canvass: is(self.canvass),
            submissions: match &self.submissions {
                Some(submissions) => submissions.iter().filter_map(|it| it.0.clone()).collect(),
                None if numbers.is_empty() => Vec::new(),
                None => values(replicas, slots),
            },
            submit_anywhere: is(self.submit_anywhere),
            reads: self.reads.iter().flatten().map(|it| it.0).collect(),
            crashes: u8::try_from(self.crashes.map_or(0, |it| it.0)).unwrap_or(u8::MAX),
            may_crash: all(self.may_crash),
            readiness: is(self.readiness),
            other_directories: self.other_directories.map_or(Replicas::NONE, |it| it.0),
            forming: is(self.forming),
            losses: small(self.losses.map_or(0, |it| it.0)),
            may_lose: all(self.may_lose),
            rollbacks: u8::try_from(self.rollbacks.map_or(0, |it| it.0)).unwrap_or(u8::MAX),
            may_roll_back: all(self.may_roll_back),
            snapshots: u8::try_from(self.snapshots.map_or(0, |it| it.0)).unwrap_or(u8::MAX),
            may_snapshot: all(self.may_snapshot),
            may_install: all(self.may_install),
            hangs: small(self.hangs.map_or(0, |it| it.0)),
            may_hang: all(self.may_hang),
            durable_application: is(self.durable_application),
            sync_any: is(self.sync_any),
            resend: is(self.resend),
            rounds: self.rounds.map_or(defaults.rounds, |it| it.0),
            catch_up: all(self.catch_up),
            hears: self.hears(),
            loses: match &self.loses {
                Some(_) => kinds(self.loses.iter().flatten()),
                None => ASIDE.without(self.needed()),
            },
            keeps_dead: is(self.keeps_dead),
            reaches: match &self.reaches {
                Some(reaches) => reaches.iter().filter_map(|it| it.0).collect(),
                None => Witness::ALL.to_vec(),
            },
            liveness: self.liveness.unwrap_or(true),
            ..defaults
        };
        self.check(&scenario)?;
        Ok(scenario)
    }

    /// What concerns several bounds.
    fn check(&self, scenario: &Scenario) -> Result<(), Contradiction> {
        let replicas = scenario.replicas;
        let sets = [
            ("members", scenario.members),
            ("learners", scenario.learners),
            ("may-crash", scenario.may_crash),
            ("other-directories", scenario.other_directories),
            ("may-lose", scenario.may_lose),
            ("may-roll-back", scenario.may_roll_back),
            ("may-snapshot", scenario.may_snapshot),
            ("may-install", scenario.may_install),
            ("may-hang", scenario.may_hang),
            ("catch-up", scenario.catch_up),
        ];
        let reads = scenario.reads.iter().map(|set| ("reads", *set));
        let at = scenario.submissions.iter().map(|it| ("submissions", it.at));
        let hears = self.hears.iter().flatten();
        let to_be_heard = hears.clone().map(|it| ("hears", it.hears.0));
        let hearing = hears.map(|it| ("hears", Replicas::of(&[it.replica])));
        let all = sets.into_iter().chain(reads).chain(at).chain(to_be_heard).chain(hearing);
        for (key, set) in all {
            if let Some(id) =
                (replicas..REPLICAS_MAX).find(|id| set != Replicas::ALL && set.contains(*id))
            {
                return Err(wrong(
                    key,
                    format!("there is no replica {id}: allowed are 0 to {}", replicas - 1),
                ));
            }
        }
        if scenario.losses > 0 && !scenario.forming {
            return Err(wrong("losses", "a data directory can be lost only with `forming`"));
        }
        if scenario.snapshots > 0 && scenario.rollbacks > 0 {
            return Err(wrong("snapshots", "not allowed together with `rollbacks`"));
        }
        if scenario.forming && scenario.canvass {
            return Err(wrong("canvass", "not allowed together with `forming`"));
        }
        let count = scenario.submissions.len();
        if count > SUBMISSIONS_MAX {
            return Err(wrong(
                "submissions",
                format!("{count} of them: at most {SUBMISSIONS_MAX} are allowed"),
            ));
        }
        let count = scenario.reads.len();
        if count > READS_MAX {
            return Err(wrong(
                "reads",
                format!("{count} of them: at most {READS_MAX} are allowed"),
            ));
        }
        for (index, submission) in scenario.submissions.iter().enumerate() {
            let text = Submission(Some(submission.clone()));
            if submission.places == 0 {
                return Err(wrong("submissions", format!("{text}: `places` is 1 or more")));
            }
            if submission.after.is_some_and(|after| after >= index) {
                let what = format!("{text}: `after` names a submission before it, counted from 1");
                return Err(wrong("submissions", what));
            }
        }
        let among = |set: Replicas| {
            let ids = ids(replicas).filter(move |id| set.contains(usize::from(*id)));
            ids.map(ReplicaId).collect::<Vec<_>>()
        };
        let (members, learners) = (among(scenario.members), among(scenario.learners));
        let next = u32::try_from(replicas).unwrap_or(u32::MAX);
        let members = Configuration::from_parts(ConfigurationId(1), members, learners, next);
        let members = members.map_err(|error| wrong("members", error.to_string()))?;
        ClusterConstants::new(replicas as u64, members, scenario.limits.clone())
            .map(|_| ())
            .map_err(|error| wrong("limits", error.to_string()))
    }

    /// The limits of models, with those that are set in their place.
    fn limits(&self) -> Result<Limits, Contradiction> {
        let failed = |error: &dyn fmt::Display| wrong("limits", error.to_string());
        let mut table = toml::Table::try_from(small_limits()).map_err(|error| failed(&error))?;
        for LimitName { name, value } in self.limits.iter().flatten() {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            table.insert((*name).to_owned(), toml::Value::Integer(value));
        }
        table.try_into().map_err(|error| failed(&error))
    }

    fn hears(&self) -> [Replicas; REPLICAS_MAX] {
        let mut hears = [Replicas::ALL; REPLICAS_MAX];
        for it in self.hears.iter().flatten() {
            hears[usize::from(it.replica)] = it.hears.0;
        }
        hears
    }

    /// The kinds of message without which a bound that is turned on would mean nothing.
    fn needed(&self) -> MessageKinds {
        let mut needed = MessageKinds::of(&[]);
        if self.canvass == Some(true) {
            needed = needed.and(MessageKinds::of(&[MessageKind::Canvass, MessageKind::Agree]));
        }
        if self.reads.as_ref().is_some_and(|reads| !reads.is_empty()) {
            let reads =
                [MessageKind::Round, MessageKind::Obey, MessageKind::Read, MessageKind::ReadAt];
            needed = needed.and(MessageKinds::of(&reads));
        }
        if self.submit_anywhere == Some(true) {
            needed = needed.and(MessageKinds::of(&[MessageKind::Submit]));
        }
        needed
    }

    /// Does not lose what a bound needs that `over` turns on.
    pub(super) fn keep_what_is_needed(&mut self, over: &Self) {
        let needed = over.needed();
        if let Some(loses) = &mut self.loses {
            loses.retain(|name| name.0.is_none_or(|kind| !needed.contains(kind)));
        }
    }
}

/// Values a, b, ...: at least two, so that they compete, and one for each slot. Each is submitted at
/// the even or the odd replicas.
fn values(replicas: usize, slots: usize) -> Vec<ScenarioSubmission> {
    let count = slots.clamp(2, SUBMISSIONS_MAX);
    let at = |parity: usize| {
        let ids = ids(replicas).filter(|id| usize::from(*id) % 2 == parity || replicas == 1);
        Replicas::of(&ids.collect::<Vec<_>>())
    };
    let request = |(index, value): (usize, u8)| {
        ScenarioSubmission::request(index as u64 + 1, value, at(index % 2))
    };
    (b'a'..=b'z').enumerate().take(count).map(request).collect()
}

/// The ids of so many replicas.
fn ids(replicas: usize) -> impl Iterator<Item = u16> {
    (0..).take(replicas)
}

fn kinds<'a>(names: impl Iterator<Item = &'a MessageName>) -> MessageKinds {
    let kinds: Vec<_> = names.filter_map(|name| name.0).collect();
    MessageKinds::of(&kinds)
}

/// All bounds of a scenario.
impl From<&Scenario> for Bounds {
    fn from(scenario: &Scenario) -> Self {
        // Taken apart, so that a bound that is added is not left out.
        let Scenario {
            replicas,
            members,
            learners,
            slots,
            limits,
            numbers,
            canvass,
            submissions,
            submit_anywhere,
            reads,
            crashes,
            may_crash,
            readiness,
            other_directories,
            forming,
            losses,
            may_lose,
            rollbacks,
            may_roll_back,
            snapshots,
            may_snapshot,
            may_install,
            hangs,
            may_hang,
            durable_application,
            sync_any,
            resend,
            rounds,
            catch_up,
            hears,
            loses,
            keeps_dead,
            reaches,
            liveness,
        } = scenario;
        let limits = limits.named().into_iter().zip(small_limits().named());
        let hears = ids(*replicas).zip(hears);
        Self {
            replicas: Some(Count(*replicas as u64)),
            members: Some(ReplicaSet(*members)),
            learners: Some(ReplicaSet(*learners)),
            slots: Some(Count(*slots as u64)),
            limits: Some(
                limits
                    .filter(|(limit, small)| limit != small)
                    .map(|((name, value), _)| LimitName { name, value })
                    .collect(),
            ),
            numbers: Some(Numbers(numbers.iter().map(|SequenceNumber(s)| *s).collect())),
            canvass: Some(*canvass),
            submissions: Some(submissions.iter().cloned().map(Some).map(Submission).collect()),
            submit_anywhere: Some(*submit_anywhere),
            reads: Some(reads.iter().copied().map(ReplicaSet).collect()),
            crashes: Some(Count(u64::from(*crashes))),
            may_crash: Some(ReplicaSet(*may_crash)),
            readiness: Some(*readiness),
            other_directories: Some(ReplicaSet(*other_directories)),
            forming: Some(*forming),
            losses: Some(Count(*losses as u64)),
            may_lose: Some(ReplicaSet(*may_lose)),
            rollbacks: Some(Count(u64::from(*rollbacks))),
            may_roll_back: Some(ReplicaSet(*may_roll_back)),
            snapshots: Some(Count(u64::from(*snapshots))),
            may_snapshot: Some(ReplicaSet(*may_snapshot)),
            may_install: Some(ReplicaSet(*may_install)),
            hangs: Some(Count(*hangs as u64)),
            may_hang: Some(ReplicaSet(*may_hang)),
            durable_application: Some(*durable_application),
            sync_any: Some(*sync_any),
            resend: Some(*resend),
            rounds: Some(Count(*rounds)),
            catch_up: Some(ReplicaSet(*catch_up)),
            hears: Some(
                hears
                    .filter(|(_, hears)| **hears != Replicas::ALL)
                    .map(|(replica, hears)| Hears { replica, hears: ReplicaSet(*hears) })
                    .collect(),
            ),
            loses: Some(
                MessageKind::NAMED
                    .iter()
                    .filter(|(kind, _)| loses.contains(*kind))
                    .map(|(kind, _)| MessageName(Some(*kind)))
                    .collect(),
            ),
            keeps_dead: Some(*keeps_dead),
            liveness: Some(*liveness),
            reaches: Some(reaches.iter().copied().map(Some).map(WitnessName).collect()),
            states: None,
        }
    }
}
