//! Bounds as a file in TOML.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::{Args as _, Command};

use super::Bounds;
use super::scenario::Contradiction;

/// The columns of a comment.
const COLUMNS: usize = 78;

/// Reads bounds from a file, and checks that they go together.
///
/// # Errors
///
/// If the file cannot be read, or a value in it is not allowed. The error names the file, the line and
/// the key, and says what is allowed.
pub fn read(file: &Path) -> anyhow::Result<Bounds> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read the scenario in {name}\n  `synod-check list --toml NAME` prints one as a start"
        )
    })?;
    let bounds: Bounds = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..at).unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or_default().trim();
        // A list may have several lines. The key is on its first.
        let begun = text.lines().take(number).filter_map(|line| line.split_once('='));
        let keys = begun.map(|(key, _)| key.trim()).filter(|key| is_key(key));
        let key = keys.last().map(|key| format!("{key}: ")).unwrap_or_default();
        let what = error.message().trim().replace('\n', ": ");
        anyhow!("{name}, line {number}: {key}{what}\n  the line is: {line}")
    })?;
    bounds.scenario().map_err(|Contradiction { key, what }| {
        let of_key = |line: &str| line.split_once('=').is_some_and(|(it, _)| it.trim() == key);
        let line = text.lines().position(of_key);
        let line = line.map(|index| format!(", line {}", index + 1)).unwrap_or_default();
        anyhow!("{name}{line}: {key}: {what}")
    })?;
    Ok(bounds)
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-' || it == '_')
}

/// Bounds as a file, with a comment on each. `heading` is the first comment.
pub fn to_toml(bounds: &Bounds, heading: &str) -> String {
    let mut text = String::new();
    comment(heading, &mut text);
    let described = Bounds::augment_args(Command::new("bounds"));
    let values = bounds.table();
    for argument in described.get_arguments() {
        let key = argument.get_long().unwrap_or_default();
        let Some(value) = values.get(key) else {
            continue;
        };
        text.push('\n');
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        comment(&help, &mut text);
        let is_long = value.to_string().len() + key.len() > COLUMNS;
        match value {
            toml::Value::Array(values) if is_long => {
                let _ = writeln!(text, "{key} = [");
                for value in values {
                    let _ = writeln!(text, "    {value},");
                }
                text.push_str("]\n");
            }
            value => {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
    }
    text
}

/// Writes a comment of as many lines as it takes.
fn comment(words: &str, text: &mut String) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
