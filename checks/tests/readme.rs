//! What README.md and docs/ say about the checker is true.
//!
//! The table of scenarios in README.md is made from `scenarios::TABLE`. To update it, run
//! `UPDATE_README=1 cargo test -p synod-checks --test readme`. Every command of the checker on these
//! pages is one that it understands.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::Parser as _;
use indicatif::HumanCount;
use synod_checks::cli::{Cli, Command, tier_name};
use synod_checks::scenarios::{StateCount, TABLE, Tier};

const BEGIN: &str = "<!-- scenarios -->\n";
const END: &str = "<!-- /scenarios -->";
const TIERS: [Tier; 3] = [Tier::Quick, Tier::Full, Tier::Deep];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// The table for README.md, with one column for each tier.
fn table() -> String {
    let mut table = String::from("| name | what it shows |");
    for tier in TIERS {
        let _ = write!(table, " unique states, {} |", tier_name(tier));
    }
    table.push_str("\n|---|---|--:|--:|--:|\n");
    for row in TABLE {
        let _ = write!(table, "| `{}` | {} |", row.name, row.shows);
        for tier in TIERS {
            let cell = if row.tier == tier { row.states.to_string() } else { String::new() };
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    let scenarios = TABLE.len();
    let _ = write!(table, "| **in all** | {scenarios} scenarios |");
    for tier in TIERS {
        let _ = write!(table, " {} |", sum(tier));
    }
    table.push('\n');
    table
}

/// The number of states of a tier, if it is known for each of its scenarios.
fn sum(tier: Tier) -> String {
    let mut sum = 0;
    let mut mark = "";
    for row in TABLE.iter().filter(|row| row.tier == tier) {
        match row.states {
            StateCount::Counted(0) | StateCount::Unknown => return "not counted".to_owned(),
            StateCount::Counted(states) => sum += states,
            StateCount::Estimated(states) => {
                sum += states;
                mark = "~";
            }
        }
    }
    format!("{mark}{}", HumanCount(sum))
}

#[test]
fn the_table_of_scenarios_is_fresh() {
    let file = top().join("README.md");
    let readme = fs::read_to_string(&file).expect("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the marker before the table");
    let (there, after) = rest.split_once(END).expect("the marker after the table");
    let fresh = table();
    if env::var_os("UPDATE_README").is_some() {
        fs::write(&file, format!("{before}{BEGIN}{fresh}{END}{after}")).expect("to write it");
        return;
    }
    assert!(
        there == fresh,
        "the table in README.md is not that of scenarios.rs: UPDATE_README=1 cargo test -p synod-checks --test readme writes it anew:\n{fresh}"
    );
}

/// README.md, and every page below docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![top().join("README.md")];
    let mut folders = vec![top().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of pages") {
            let path = entry.expect("a page").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The words of a command line; `"..."` is one word.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    parts
        .flat_map(|(place, part)| {
            let is_quoted = place % 2 == 1;
            let words = if is_quoted { vec![part] } else { part.split_whitespace().collect() };
            words.into_iter().map(str::to_owned)
        })
        .collect()
}

#[test]
fn commands_on_the_pages_are_understood() {
    let mut found = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for line in text.lines() {
            // Only blocks of code: a command within a sentence may have a placeholder.
            let Some(arguments) = line.strip_prefix("    cargo run --release") else {
                continue;
            };
            // The node's own tests check its commands.
            if arguments.starts_with(" -p synod ") {
                continue;
            }
            found += 1;
            let arguments = words(arguments.trim_start().trim_start_matches("-- "));
            let program = std::iter::once("synod-check".to_owned());
            let cli = Cli::try_parse_from(program.chain(arguments));
            let cli = cli.unwrap_or_else(|error| panic!("{}: {line}\n{error}", page.display()));
            if let Some(Command::Trace(args)) = cli.command {
                let subject = args.own.subject(args.scenario).expect("a scenario");
                let properties = subject.scenario.properties();
                let part = args.property.to_lowercase();
                let names = properties.iter().map(|property| property.name().to_lowercase());
                let matching = names.filter(|name| name.contains(&part)).count();
                assert_eq!(matching, 1, "{}: {line}", page.display());
            }
        }
    }
    assert!(found > 3, "README alone has more commands than {found}");
}

/// Links within the repository lead somewhere.
#[test]
fn links_lead_somewhere() {
    // `trace` makes this file.
    let made = ["trace.svg"];
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or(link);
            if file.is_empty() || link.contains("://") || made.iter().any(|it| file.ends_with(it)) {
                continue;
            }
            let there = page.parent().expect("a folder").join(file);
            assert!(there.exists(), "{} links to {link}", page.display());
        }
    }
}
