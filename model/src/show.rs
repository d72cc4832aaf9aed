//! What people see of the model: text and pictures.
//!
//! A cluster state is a few numbers that name contents. So it can be read only with the
//! [`World`](crate::world::World) that it belongs to, which knows the contents. This module defines
//! nothing: the module [`world`](crate::world) defines what the model means, and does not use this one.
//!
//! The modules, in the order in which to read them:
//!
//! 1. [`words`]: entries, records and messages in words.
//! 2. [`mod@sentence`]: an action as a sentence.
//! 3. [`lines`]: a state as lines, each about one topic.
//! 4. [`text`]: a state as text, and a path as text, step by step.
//! 5. [`summary`]: what each replica holds, in a few lines.
//! 6. [`details`]: everything in a state, as derived `Debug` implementations print it.
//! 7. [`picture`]: a path as a sequence diagram in SVG.

mod details;
mod lines;
mod picture;
mod sentence;
mod summary;
mod text;
mod words;

pub use details::state_details;
pub use picture::{Caption, path_svg};
pub use sentence::sentence;
pub use summary::state_summary;
pub use text::{path_text, state_text};
