//! A state as the page gets it, with the path to it and the actions that are possible there.

use serde::Serialize;
use stateright::Model as _;
use synod_model::show;
use synod_model::world::{ModelProperty, PropertyKind, World};

use crate::hunt::Indices;
use crate::paths;

/// A state.
#[derive(Debug, Serialize)]
pub struct StateView {
    /// The sentences of the steps to it.
    steps: Vec<String>,
    /// The state, with marks at what the last step changed.
    text: String,
    /// Everything in it.
    details: String,
    /// The path as a picture; none for the first state.
    picture: Option<String>,
    /// The properties that it violates.
    violated: Vec<&'static str>,
    /// What may happen next: the index of each action that changes something, and its sentence.
    actions: Vec<(usize, String)>,
}

/// The state at the end of a path. `scenario` is the name of the scenario, for the picture.
///
/// # Errors
///
/// If the path leads nowhere. The error says where it ends.
pub fn state(world: &World, scenario: &str, path: &str) -> Result<StateView, String> {
    let indices: Result<Vec<usize>, _> = path.split('/').map(str::parse).collect();
    let indices =
        indices.map_err(|_| format!("{path:?} is no path: it is numbers, such as 0/3/1"))?;
    let length = indices.len();
    let steps = paths::walk(world, &Indices(indices));
    if steps.len() < length {
        let reached = steps.len();
        return Err(match steps.last() {
            None => "the first number of a path is 0, for the first state".to_owned(),
            Some((state, _)) => {
                let mut actions = Vec::new();
                world.actions(state, &mut actions);
                format!(
                    "step {reached} of the path does not exist: after {} steps, {} actions are possible",
                    reached - 1,
                    actions.len()
                )
            }
        });
    }
    let Some((state, _)) = steps.last() else {
        return Err("an empty path".to_owned());
    };
    let before = steps.len().checked_sub(2).and_then(|index| steps.get(index));
    let sentences = steps
        .iter()
        .filter_map(|(state, action)| action.map(|action| show::sentence(world, state, action)));
    let mut actions = Vec::new();
    world.actions(state, &mut actions);
    let actions = actions.into_iter().enumerate();
    let changing = actions.filter(|(_, action)| world.next_state(state, *action).is_some());
    let always = world.scenario().properties().into_iter();
    let violated: Vec<_> =
        always.filter(|it| it.kind() == PropertyKind::Always && !world.holds(*it, state)).collect();
    // The picture marks a row only where something is wrong.
    let caption = violated.first().map(|&property| show::Caption { scenario, property });
    Ok(StateView {
        steps: sentences.collect(),
        text: show::state_text(world, state, before.map(|(before, _)| before)),
        details: show::state_details(world, state),
        picture: (length > 1).then(|| show::path_svg(world, &steps, caption.as_ref())),
        violated: violated.into_iter().map(ModelProperty::name).collect(),
        actions: changing
            .map(|(index, action)| (index, show::sentence(world, state, action)))
            .collect(),
    })
}
