//! Has a cluster change its members, and says what came of it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::anyhow;
use owo_colors::OwoColorize as _;
use synod_client::{ChangeFailed, Client, ClientOptions, Configuration, Endpoint, MemberSet};
use synod_model::ReplicaId;
use synod_wire::api::Membership;
use tokio::time::{self, Instant};

use super::ChangeArgs;
use super::list::{Shown, is_connected};
use super::plan::{Plan, Wish, names, plan};
use crate::exit::{Exit, error_text};
use crate::health;
use crate::output::Output;
use crate::signals::Signals;
use crate::status;

/// How long one question to the cluster may take besides the change: 10 s, as for other commands.
const ASK_MAX: Duration = Duration::from_secs(10);

/// After this time without an answer, people are told what the command waits for: 3 s. A change that can be made is
/// made sooner.
const QUIET_MAX: Duration = Duration::from_secs(3);

/// How often to look whether a change is finished: after 50 ms at first, twice as long each time, at most 1 s.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// How long each endpoint may take to say how it is, when a change has failed.
const STATUS_MAX: Duration = Duration::from_secs(1);

/// Carries out a wish, unless a signal comes before.
pub(super) async fn change(wish: &Wish, args: &ChangeArgs) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let options = ClientOptions { deadline: ASK_MAX.min(args.timeout), ..ClientOptions::default() };
    let client = Client::new(args.endpoints.endpoints(), options)?;
    let mut is_begun = false;
    let done = tokio::select! {
        done = carry_out(wish, args, &client, &mut is_begun) => done,
        exit = signals.next() => Ok(exit),
    };
    if let (Ok(Exit::Signal(_)), true) = (&done, is_begun) {
        anstream::eprintln!(
            "{} the change may be made yet: `synod member list` says",
            "warning:".yellow().bold()
        );
    }
    client.give_up().await;
    done
}

/// `begun` is set when the cluster is asked for the change.
async fn carry_out(
    wish: &Wish,
    args: &ChangeArgs,
    client: &Client,
    begun: &mut bool,
) -> anyhow::Result<Exit> {
    let ChangeArgs { timeout, no_wait, .. } = args;
    let endpoints = args.endpoints.endpoints();
    let until = Instant::now() + *timeout;
    let members = match client.members_within(*timeout).await {
        Ok(members) => members,
        Err(error) => {
            let error = anyhow::Error::new(error).context("the members could not be found out");
            return health::failed(&endpoints, error).await;
        }
    };
    let mut output = Output::new();
    let after = match plan(&members.configuration, members.constants.stride(), wish) {
        Ok(Plan::Change(after)) => after,
        Ok(Plan::AlreadySo(sentence)) => {
            output.line(sentence)?;
            output.flush()?;
            return if *no_wait {
                Ok(Exit::Done)
            } else {
                finish(client, &members.configuration, wish, until, &mut output).await
            };
        }
        Err(refused) => return Ok(failed(&refused.into(), Exit::NotDone)),
    };
    warn_of_even(&members.configuration, &after);
    *begun = true;
    let left = until.saturating_duration_since(Instant::now());
    let mut changing = std::pin::pin!(client.change_within(after.clone(), left));
    let changed = if let Ok(changed) = time::timeout(QUIET_MAX, &mut changing).await {
        changed
    } else {
        anstream::eprintln!(
            "waits, at most {} s, until a majority of those who will vote is there and has nearly all",
            left.as_secs()
        );
        changing.await
    };
    match changed {
        Ok(slot) => {
            output.line(format_args!("slot {slot}: {}", done(wish, &after)))?;
            output.flush()?;
            if *no_wait {
                output.line("not waited for: leave former members running until it is finished")?;
                output.flush()?;
                return Ok(Exit::Done);
            }
            finish(client, &after, wish, until, &mut output).await
        }
        Err(error) => explain(error, &after, client, &endpoints).await,
    }
}

/// Waits until the change to `after` is finished, and says what to do then.
async fn finish(
    client: &Client,
    after: &Configuration,
    wish: &Wish,
    until: Instant,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let mut pause = LOOK_AGAIN;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(LOOK_AGAIN);
        let trouble = match client.members_within(left.min(ASK_MAX)).await {
            // The change to a later configuration was committed in a slot after this one.
            Ok(members) if members.is_finished || members.configuration.id() > after.id() => {
                output.line(next(wish))?;
                output.flush()?;
                return Ok(Exit::Done);
            }
            Ok(_) => "no slot after it is committed yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() + pause >= until {
            let error = anyhow!(
                "the change is made, and was not seen to be finished in time: {trouble}\n  \
                 leave former members running until `synod member list` says that it is finished; \
                 give it\n  the endpoints of members"
            );
            return Ok(failed(&error, Exit::Unknown));
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AGAIN_MAX);
    }
}

/// Says why a change was not made, or may not have been.
async fn explain(
    error: ChangeFailed,
    after: &Configuration,
    client: &Client,
    endpoints: &[Endpoint],
) -> anyhow::Result<Exit> {
    match error {
        ChangeFailed::NotReady { ready } => {
            let reports = status::ask(endpoints, STATUS_MAX).await;
            let why = not_ready(after, ready, |id| is_connected(id, &reports));
            Ok(failed(&anyhow!(why), Exit::NotDone))
        }
        ChangeFailed::OtherFirst => {
            let exit = failed(
                &anyhow!(
                    "not done: another change of the members came first\n  \
                     look at the members as they are now, and ask again if you still want it"
                ),
                Exit::NotDone,
            );
            if let Ok(members) = client.members().await {
                let shown = Shown::of(&members, &[]);
                anstream::eprintln!("{}\n\n{}", shown.table(), shown.sentence());
            }
            Ok(exit)
        }
        ChangeFailed::TakenBack(_) => {
            // The coordinator has not said who is ready. It may still have waited for somebody.
            let reports = status::ask(endpoints, STATUS_MAX).await;
            let silent = |id: &ReplicaId| is_connected(*id, &reports) == Some(false);
            let mut text = error.to_string();
            for id in after.voters().filter(silent) {
                add_not_ready(&mut text, after, id, Some(false));
            }
            let exit = failed(&anyhow!(text), Exit::NotDone);
            health::explain(endpoints).await;
            Ok(exit)
        }
        ChangeFailed::NotDone(_) => {
            let exit = failed(&error.into(), Exit::NotDone);
            health::explain(endpoints).await;
            Ok(exit)
        }
        ChangeFailed::Unknown(_) => {
            let error = anyhow!("{error}\n  `synod member list` says whether it is made");
            let exit = failed(&error, Exit::Unknown);
            health::explain(endpoints).await;
            Ok(exit)
        }
    }
}

/// Which voters are not ready, and what to look at.
fn not_ready(
    after: &Configuration,
    ready: MemberSet,
    is_connected: impl Fn(ReplicaId) -> Option<bool>,
) -> String {
    let voters = after.voters().count();
    let is_ready = |id: &ReplicaId| after.is_in(ready, *id);
    let count = after.voters().filter(is_ready).count();
    let mut text = format!(
        "not done: {count} of the {voters} who would vote are ready; a majority must be, and every learner that becomes a voter"
    );
    for id in after.voters().filter(|id| !is_ready(id)) {
        add_not_ready(&mut text, after, id, is_connected(id));
    }
    text
}

fn add_not_ready(
    text: &mut String,
    after: &Configuration,
    id: ReplicaId,
    is_connected: Option<bool>,
) {
    let address = after.registration(id).map_or("?", |it| &it.address);
    let what = match is_connected {
        Some(true) => {
            "is there: it still gets what is committed, or its incarnation is another one than was given"
        }
        Some(false) => "is silent: does it run, and do its peers reach it there?",
        None => "is silent or behind: does it run, and do its peers reach it there?",
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "\n  r{id} at {address} {what}");
}

/// Warns if the number of voters becomes even.
fn warn_of_even(before: &Configuration, after: &Configuration) {
    if let Some(warning) = even(before, after) {
        anstream::eprintln!("{} {warning}", "warning:".yellow().bold());
    }
}

fn even(before: &Configuration, after: &Configuration) -> Option<String> {
    let (was, is) = (before.voters().count(), after.voters().count());
    let survives = |voters: usize| (voters - 1) / 2;
    (was != is && is % 2 == 0).then(|| {
        if is == 2 {
            return "two voters stop when either of them stops: one or three are better".to_owned();
        }
        format!(
            "{is} voters go on without {} of them, no more than {} do: an odd number is better",
            survives(is),
            is - 1
        )
    })
}

/// What is so once the change is committed.
fn done(wish: &Wish, after: &Configuration) -> String {
    let is = |id: &ReplicaId| format!("r{id} is a {}", Membership::of(*id, after).name());
    match wish {
        Wish::Add { id, .. } | Wish::Promote { id } => is(id),
        Wish::Remove { id } => format!("{} is no member any more", names(&[*id])),
        Wish::Replace { old, new, .. } => format!("{} in place of r{old}", is(new)),
        Wish::Move { id, address } => format!("the others look for r{id} at {address}"),
    }
}

/// What to do once the change is finished.
fn next(wish: &Wish) -> String {
    match wish {
        Wish::Add { id, .. } => format!("finished; start r{id}, if it does not run"),
        Wish::Promote { .. } => "finished".to_owned(),
        Wish::Remove { id: gone } | Wish::Replace { old: gone, .. } => {
            format!("finished; r{gone} may be stopped now, and its data directory removed")
        }
        Wish::Move { id, address } => {
            format!(
                "finished; if r{id} does not listen there yet: `synod node --peers {id}={address} ...`"
            )
        }
    }
}

fn failed(error: &anyhow::Error, exit: Exit) -> Exit {
    anstream::eprint!("{}", error_text(error));
    exit
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_model::{ConfigurationId, Registration};

    fn cluster(count: u16) -> Configuration {
        let ids = (0..count).map(ReplicaId).collect();
        let first = Configuration::new(ConfigurationId(1), ids).expect("members");
        let address = |id: ReplicaId| format!("h{id}:7000");
        let of = |id| Registration { address: address(id), ..Registration::first_of(id) };
        first.with_all_registered(of).expect("short addresses")
    }

    #[test]
    fn an_even_number_of_voters_is_warned_of() {
        assert_eq!(even(&cluster(4), &cluster(3)), None);
        assert_eq!(even(&cluster(4), &cluster(4)), None, "the change does not make it so");
        let warning =
            "4 voters go on without 1 of them, no more than 3 do: an odd number is better";
        assert_eq!(even(&cluster(3), &cluster(4)).as_deref(), Some(warning));
        assert!(even(&cluster(3), &cluster(2)).is_some_and(|it| it.contains("when either")));
    }

    #[test]
    fn who_is_not_ready_is_named_with_what_to_look_at() {
        let after = cluster(3);
        let mut ready = MemberSet::default();
        after.insert(&mut ready, ReplicaId(1));
        let text = not_ready(&after, ready, |id| Some(id == ReplicaId(0)));
        let expected = "\
not done: 1 of the 3 who would vote are ready; a majority must be, and every learner that becomes a voter
  r0 at h0:7000 is there: it still gets what is committed, or its incarnation is another one than was given
  r2 at h2:7000 is silent: does it run, and do its peers reach it there?";
        assert_eq!(text, expected);
    }
}
