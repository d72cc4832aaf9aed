//! A path for people: its steps as text, and a picture.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use stateright::Model;
use synod_model::show;
use synod_model::world::{Action, ClusterState, ModelProperty, World};

use crate::cli::DEFAULT_ADDRESS;
use crate::hunt::Indices;
use crate::subject::Subject;

/// Each state of a path, with the action that was taken there.
pub type PathSteps = Vec<(ClusterState, Option<Action>)>;

/// The states and actions along `indices`, as far as they lead.
pub fn walk(world: &World, indices: &Indices) -> PathSteps {
    let mut steps = PathSteps::new();
    let mut indices = indices.0.iter();
    let mut state = indices.next().and_then(|&index| world.init_states().get(index).cloned());
    let mut actions = Vec::new();
    while let Some(before) = state {
        actions.clear();
        world.actions(&before, &mut actions);
        let action = indices.next().and_then(|&index| actions.get(index)).copied();
        state = action.and_then(|action| world.next_state(&before, action));
        steps.push((before, action));
    }
    steps
}

/// The properties of `properties` that are violated in the last state along `path`.
pub fn violated_at_end(
    subject: &Subject,
    path: &Indices,
    properties: &[ModelProperty],
) -> Vec<ModelProperty> {
    let world = World::new(subject.scenario.clone());
    let Some((state, _)) = walk(&world, path).pop() else {
        return Vec::new();
    };
    properties.iter().copied().filter(|property| !world.holds(*property, &state)).collect()
}

/// The default file for the picture of a path to `property`.
pub fn default_file(scenario: &str, property: ModelProperty) -> PathBuf {
    let letters =
        property.name().chars().filter(|it| it.is_ascii_alphanumeric() || *it == ' ' || *it == '-');
    let name: String = letters.map(|it| if it == ' ' { '-' } else { it }).collect();
    target_directory().join("synod-check").join(format!("{scenario}-{name}.svg"))
}

/// The target directory of cargo that this program was built in. If the program was installed
/// elsewhere, `target` in the working directory.
fn target_directory() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let mut above = program.ancestors().skip(1);
    // Cargo puts this file there, so that backups leave the directory out.
    let built_in = above.find(|directory| directory.join("CACHEDIR.TAG").is_file());
    built_in.map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// Writes a picture, and makes its directory.
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

/// A path as text: its steps, the file of its picture, and its page in the explorer. The picture is
/// written to `svg`, or else to the default file.
///
/// # Errors
///
/// If the picture cannot be written.
pub fn described(
    subject: &Subject,
    property: ModelProperty,
    path: &Indices,
    svg: Option<&Path>,
) -> anyhow::Result<String> {
    let world = World::new(subject.scenario.clone());
    let steps = walk(&world, path);
    let file = svg.map_or_else(|| default_file(&subject.name, property), Path::to_path_buf);
    let caption = show::Caption { scenario: &subject.name, property };
    write(&show::path_svg(&world, &steps, Some(&caption)), &file)?;
    let summary = steps.last().map(|(state, _)| show::state_summary(&world, state));
    Ok(format!(
        "in the last state\n{}\n{}\npicture   {}\nexplorer  {}\n          while this runs: synod-check explore {}\n",
        summary.unwrap_or_default(),
        show::path_text(&world, &steps),
        file.display(),
        path.page(DEFAULT_ADDRESS, &subject.slug()),
        subject.arguments,
    ))
}
