//! Showing a path to people: its steps as text, and a picture.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use stateright::Model;
use synod_model::show;
use synod_model::world::{Action, ClusterState, ModelProperty, Scenario, World};

use crate::cli::DEFAULT_ADDRESS;
use crate::hunt::Indices;

/// What there is of a path: each state, with the action that was taken there.
type Course = Vec<(ClusterState, Option<Action>)>;

/// The states and actions along `indices`.
fn walk(world: &World, indices: &Indices) -> Course {
    let mut course = Course::new();
    let mut indices = indices.0.iter();
    let mut state = indices.next().and_then(|&index| world.init_states().get(index).cloned());
    let mut actions = Vec::new();
    while let Some(before) = state {
        actions.clear();
        world.actions(&before, &mut actions);
        let action = indices.next().and_then(|&index| actions.get(index)).copied();
        state = action.and_then(|action| world.next_state(&before, action));
        course.push((before, action));
    }
    course
}

/// Where the picture of a path to `property` goes, unless told otherwise.
pub fn default_file(scenario: &str, property: ModelProperty) -> PathBuf {
    let letters =
        property.name().chars().filter(|it| it.is_ascii_alphanumeric() || *it == ' ' || *it == '-');
    let name: String = letters.map(|it| if it == ' ' { '-' } else { it }).collect();
    target_directory().join("synod-check").join(format!("{scenario}-{name}.svg"))
}

/// Cargo's target directory: the one that this program was built in, wherever that is; for a program
/// that was installed elsewhere, `target` here.
fn target_directory() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let mut above = program.ancestors().skip(1);
    // Cargo marks it so that backups leave it out.
    let built_in = above.find(|directory| directory.join("CACHEDIR.TAG").is_file());
    built_in.map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// Writes a picture, and the directories that lead to it.
///
/// # Errors
///
/// If it cannot be written.
pub fn write(svg: &str, file: &Path) -> anyhow::Result<()> {
    let written = match file.parent() {
        Some(directory) if directory != Path::new("") => fs::create_dir_all(directory),
        _ => Ok(()),
    };
    let written = written.and_then(|()| fs::write(file, svg));
    written.with_context(|| format!("cannot write the picture to {}", file.display()))
}

/// A path for people: its steps, where its picture is (`svg`, or a place of its own), and where the
/// explorer shows it.
///
/// # Errors
///
/// If the picture cannot be written.
pub fn described(
    scenario_name: &str,
    property: ModelProperty,
    scenario: &Scenario,
    path: &Indices,
    svg: Option<&Path>,
) -> anyhow::Result<String> {
    let world = World::new(scenario.clone());
    let course = walk(&world, path);
    let file = svg.map_or_else(|| default_file(scenario_name, property), Path::to_path_buf);
    write(&show::path_svg(&world, &course), &file)?;
    Ok(format!(
        "{}\npicture   {}\nexplorer  {}\n          while `synod-check explore {scenario_name}` runs\n",
        show::path_text(&world, &course),
        file.display(),
        path.page(DEFAULT_ADDRESS),
    ))
}
