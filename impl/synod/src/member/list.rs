//! `synod member list`: shows who the members are.

use std::time::Duration;

use clap::Args;
use comfy_table::{Cell, Color};
use serde::Serialize;
use synod_client::{Client, Members, Slot};
use synod_model::{ConfigurationId, ReplicaId};
use synod_wire::api::{Membership, ReplicaStatus, Role};

use crate::args::{Endpoints, Timeout};
use crate::exit::Exit;
use crate::health;
use crate::output::Output;
use crate::status::{self, Report, table_of};

/// How long each endpoint may take to say how it is. What it does not say is left out.
const STATUS_MAX: Duration = Duration::from_secs(2);

/// How many digits of an incarnation are shown. They tell one directory from another.
const INCARNATION_DIGITS: usize = 8;

/// The arguments of `member list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    endpoints: Endpoints,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    timeout: Timeout,
}

pub(super) async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let endpoints = args.endpoints.endpoints();
    let client = Client::new(endpoints.clone(), args.timeout.options())?;
    let members = match client.members().await {
        Ok(members) => members,
        Err(error) => {
            let error = anyhow::Error::new(error).context("the members could not be found out");
            return health::failed(&endpoints, error).await;
        }
    };
    let reports = status::ask(&endpoints, STATUS_MAX.min(args.timeout.timeout)).await;
    let shown = Shown::of(&members, &reports);
    let mut output = Output::new();
    if args.json {
        output.line(serde_json::to_string_pretty(&shown)?)?;
    } else {
        output.line(shown.table())?;
        output.line(format_args!("\n{}", shown.sentence()))?;
    }
    output.flush()?;
    Ok(Exit::Done)
}

/// The members, as they are shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    cluster_name: String,
    cluster_id: String,
    configuration: ConfigurationId,
    /// The slot of the change that made the configuration. 0 for the first one.
    changed_at: Slot,
    is_finished: bool,
    next_replica_id: u32,
    members: Vec<ShownMember>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ShownMember {
    id: ReplicaId,
    membership: Membership,
    address: Option<String>,
    incarnation: Option<String>,
    /// What it does, or whether it is connected with the replica that coordinates. None if nobody has said.
    state: Option<&'static str>,
    lag_slots: Option<u64>,
}

impl Shown {
    pub(super) fn of(members: &Members, reports: &[Report]) -> Self {
        let Members { cluster_id, cluster_name, configuration, changed_at, is_finished, .. } =
            members;
        let shown = configuration.members().iter().map(|&id| {
            let registration = configuration.registration(id);
            ShownMember {
                id,
                membership: Membership::of(id, configuration),
                address: registration.map(|it| it.address.clone()),
                incarnation: registration.map(|it| it.incarnation.to_string()),
                state: state(id, reports),
                lag_slots: own(id, reports).and_then(|it| it.lag_slots),
            }
        });
        Self {
            cluster_name: cluster_name.clone(),
            cluster_id: cluster_id.to_string(),
            configuration: configuration.id(),
            changed_at: *changed_at,
            is_finished: *is_finished,
            next_replica_id: configuration.next_replica_id(),
            members: shown.collect(),
        }
    }

    pub(super) fn table(&self) -> String {
        let rows = self.members.iter().map(|member| {
            let incarnation = member.incarnation.as_deref().unwrap_or("?");
            let state = Cell::new(member.state.unwrap_or("?"));
            let is_well = member.state.is_some_and(|it| it != NOT_CONNECTED);
            vec![
                Cell::new(format!("r{}", member.id)),
                Cell::new(member.membership.name()),
                Cell::new(member.address.as_deref().unwrap_or("?")),
                Cell::new(incarnation.get(..INCARNATION_DIGITS).unwrap_or(incarnation)),
                if is_well { state } else { state.fg(Color::Yellow) },
                Cell::new(member.lag_slots.map_or("?".to_owned(), |it| it.to_string())),
            ]
        });
        let header = ["id", "member", "address", "directory", "state", "lag"];
        table_of(&header, &["lag"], rows).trim_fmt()
    }

    pub(super) fn sentence(&self) -> String {
        let Self { configuration, changed_at, next_replica_id, .. } = self;
        let made = if *changed_at == Slot::ZERO {
            "the first one".to_owned()
        } else if self.is_finished {
            format!("made in slot {changed_at}, and finished")
        } else {
            format!("made in slot {changed_at} and not finished:\nleave former members running")
        };
        format!("configuration {}, {made}\nthe next free id is {next_replica_id}", configuration.0)
    }
}

const NOT_CONNECTED: &str = "not connected";

/// What a replica says of itself, if it was asked.
fn own(id: ReplicaId, reports: &[Report]) -> Option<&ReplicaStatus> {
    reports.iter().filter_map(|it| it.status.as_ref()).find(|it| it.replica == id)
}

/// What a member does, as it says itself; or whether the coordinator is connected with it, or else anybody is.
fn state(id: ReplicaId, reports: &[Report]) -> Option<&'static str> {
    if let Some(own) = own(id, reports) {
        return Some(match own.role {
            Role::Coordinator => "coordinates",
            Role::Follower => "follows",
            role => role.name(),
        });
    }
    let is_connected = is_connected(id, reports)?;
    Some(if is_connected { "connected" } else { NOT_CONNECTED })
}

/// Whether the coordinator is connected with a replica, or else any replica is that was asked.
pub(super) fn is_connected(id: ReplicaId, reports: &[Report]) -> Option<bool> {
    let all = || reports.iter().filter_map(|it| it.status.as_ref());
    let says = |status: &ReplicaStatus| {
        status.peers.iter().find(|peer| peer.replica == id).map(|peer| peer.connected)
    };
    let coordinator = all().find(|it| it.role == Role::Coordinator);
    let anybody = || all().filter_map(says).reduce(|one, other| one || other);
    coordinator.and_then(says).or_else(anybody)
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_model::{ClusterConstants, Configuration, Incarnation, Limits, Registration};
    use synod_wire::ClusterId;

    fn members() -> Members {
        let ids = (0..2).map(ReplicaId).collect();
        let first = Configuration::new(ConfigurationId(1), ids).expect("two members");
        let registration = |id: ReplicaId| Registration {
            incarnation: Incarnation(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef + u128::from(id.0)),
            address: format!("replica-{id}.example.com:7000"),
        };
        let constants = ClusterConstants::new(65_536, first.clone(), Limits::default());
        let first = first.with_all_registered(registration).expect("short addresses");
        let configuration = first.changed(&[ReplicaId(0), ReplicaId(1)], &[ReplicaId(2)]);
        Members {
            cluster_id: ClusterId([7; 32]),
            cluster_name: "orders".to_owned(),
            constants: constants.expect("right limits"),
            configuration: configuration.expect("a learner"),
            changed_at: Slot(99_999_999),
            is_finished: false,
        }
    }

    #[test]
    fn the_table_fits_eighty_columns_and_says_what_is_known() {
        let shown = Shown::of(&members(), &[]);
        let text = format!("{}\n\n{}", shown.table(), shown.sentence());
        let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:#?}");
        let expected = "\
id  member   address                     directory  state  lag
r0  voter    replica-0.example.com:7000  01234567   ?        ?
r1  voter    replica-1.example.com:7000  01234567   ?        ?
r2  learner  ?                           ?          ?        ?

configuration 2, made in slot 99999999 and not finished:
leave former members running
the next free id is 3";
        let lines = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&text), lines(expected));
    }
}
