//! A path as a picture: a sequence diagram.
//!
//! Time runs downwards, and every replica has a line. A row is a step: its sentence is on the left, and
//! its effects are on the line of the replica where it happens. A message is an arrow from the step that
//! sent it to the step that delivers it; a message that is never delivered is not drawn. The line of a
//! replica is broad while it stands for election, and broader while it coordinates.
//!
//! The picture is SVG without scripts, style sheets or references, so that it can be put into any page.
//! The layout needs the width of texts, so all text is monospaced.

mod rows;
mod signs;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use svg::Document;
use svg::node::element::{Group, Line as Stroke, Rectangle, Text, Title};

use super::words;
use crate::world::local::RoleKind;
use crate::world::{Action, ClusterState, ModelProperty, PropertyKind, World};
use rows::Row;
use signs::{ArrowStyle, Sign};

/// The width of a letter of a label.
const LABEL_LETTER: f64 = 6.65;
/// The height of a line of text.
const TEXT_LINE: f64 = 17.0;
/// The space between two rows.
const GAP: f64 = 8.0;
/// The left edge of sentences, and the most letters in a line of them.
const SENTENCE_X: f64 = 34.0;
const SENTENCE_LETTERS: usize = 46;
/// The line of the first replica, and the distance between lines. With more than three replicas the
/// distance is smaller, so that five fit beside the explorer's lists in a window of 1280 pixels.
const FIRST_X: f64 = 386.0;
const APART: f64 = 110.0;
const APART_MANY: f64 = 88.0;
/// The distance from a replica's line to its labels.
const LABEL_X: f64 = 11.0;
/// The distance from a replica's line to the edge of a sign.
const SIGN_RADIUS: f64 = 8.0;
const MARGIN: f64 = 10.0;
/// The distance from the middle of a letter down to the base line of the text.
const BASE: f64 = 4.0;

const INK: &str = "#1f2328";
const FAINT: &str = "#d0d7de";
const RED: &str = "#a40e26";
const GREEN: &str = "#116329";
/// The most letters in a line of a caption.
const CAPTION_LETTERS: usize = 78;

/// What a picture is about. The picture begins with it, and its last row says that it is so.
#[derive(Clone, Copy, Debug)]
pub struct Caption<'a> {
    /// The scenario.
    pub scenario: &'a str,
    /// The property that the last state reaches or violates.
    pub property: ModelProperty,
}

impl Caption<'_> {
    fn is_violated(self) -> bool {
        self.property.kind() != PropertyKind::Sometimes
    }

    /// The words for the last row, and their colour.
    fn verdict(self) -> (String, &'static str) {
        if self.is_violated() {
            (format!("✗ violated: {}", self.property), RED)
        } else {
            (format!("✓ reached: {}", self.property), GREEN)
        }
    }
}

/// A path as a sequence diagram, in SVG. `path` is the result of
/// [`Path::into_vec`](stateright::Path::into_vec).
#[must_use]
pub fn path_svg(
    world: &World,
    path: &[(ClusterState, Option<Action>)],
    caption: Option<&Caption<'_>>,
) -> String {
    let mut rows = rows::rows(world, path);
    if let (Some(caption), Some(last)) = (caption, rows.last_mut()) {
        last.verdict = Some(caption.verdict());
    }
    let mut picture = Picture::new(world.scenario().replicas, &rows);
    picture.caption(caption.copied());
    picture.legend();
    picture.rows();
    picture.time_lines();
    picture.arrows();
    picture.marks();
    picture.finish()
}

/// A picture that is being drawn.
struct Picture<'a> {
    replicas: usize,
    rows: &'a [Row],
    /// The distance between the replicas' lines.
    apart: f64,
    width: f64,
    /// The top of the legend, then that of the time lines.
    top: f64,
    /// The middle of the first line of text of each row, and the bottom of the last row.
    middles: Vec<f64>,
    bottom: f64,
    drawn: Group,
}

impl<'a> Picture<'a> {
    fn new(replicas: usize, rows: &'a [Row]) -> Self {
        let apart = if replicas > 3 { APART_MANY } else { APART };
        let ends = rows.iter().flat_map(|row| {
            let x = line_x(row.at, apart);
            row.marks.iter().map(move |mark| label_end(x, &mark.label))
        });
        let width = ends.fold(line_x(replicas, apart), f64::max).ceil();
        let drawn = Group::new()
            .set("font-family", "'DejaVu Sans Mono', Menlo, Consolas, monospace")
            .set("font-size", 12)
            .set("fill", INK);
        Self { replicas, rows, apart, width, top: MARGIN, middles: Vec::new(), bottom: 0.0, drawn }
    }

    fn add(&mut self, node: impl Into<std::boxed::Box<dyn svg::node::Node>>) {
        svg::node::Node::append(&mut self.drawn, node);
    }

    /// Draws the names of the scenario and the property above everything else.
    fn caption(&mut self, caption: Option<Caption<'_>>) {
        let Some(caption) = caption else {
            return;
        };
        let words = format!("{}: {}", caption.scenario, caption.property);
        let title = Title::new(words.clone());
        self.add(title);
        for line in words::wrapped(&words, CAPTION_LETTERS) {
            let middle = self.top + TEXT_LINE / 2.0;
            let heading = text(MARGIN, middle, &line).set("font-weight", "bold");
            self.add(heading.set("font-size", 14).set("class", "caption"));
            self.top += TEXT_LINE + 3.0;
        }
        self.top += GAP;
    }

    /// Draws the legend of the signs and arrows that occur, and lays out the rows below it.
    fn legend(&mut self) {
        let rows = self.rows;
        let marks = || rows.iter().flat_map(|row| &row.marks);
        let arrows = || rows.iter().filter_map(|row| row.arrow.as_ref());
        let signs = Sign::ALL.into_iter().filter(|sign| marks().any(|it| it.sign == *sign));
        let styles =
            ArrowStyle::ALL.into_iter().filter(|style| arrows().any(|it| it.style == *style));
        let (mut x, mut y) = (MARGIN, self.top + TEXT_LINE / 2.0);
        let right = self.width - MARGIN;
        let mut place = |room: f64, name: &str| {
            let width = room + letters(name, LABEL_LETTER) + 16.0;
            if x + width > right {
                (x, y) = (MARGIN, y + TEXT_LINE + 2.0);
            }
            x += width;
            (x - width, y)
        };
        let mut drawn = Vec::new();
        for sign in signs {
            let (x, y) = place(20.0, sign.name());
            drawn.push(sign.draw(x + 8.0, y).add(label(x + 20.0, y, sign.name(), INK)));
        }
        for style in styles {
            let (x, y) = place(46.0, style.name());
            let arrow = style.draw((x, y), (x + 40.0, y));
            drawn.push(arrow.add(label(x + 46.0, y, style.name(), INK)));
        }
        for it in drawn {
            self.add(it);
        }
        self.top = y + 2.5 * TEXT_LINE;
        let mut y = self.top + GAP;
        for row in rows {
            self.middles.push(y + GAP / 2.0 + TEXT_LINE / 2.0);
            y += row_height(row);
        }
        self.bottom = y + GAP;
    }

    /// Draws the sentences. Every other row is shaded, and the last one is marked.
    fn rows(&mut self) {
        let rows = self.rows;
        for (index, row) in rows.iter().enumerate() {
            let middle = self.middles[index];
            let is_last = index + 1 == rows.len();
            let is_violated = row.verdict.as_ref().is_some_and(|(_, colour)| *colour == RED);
            let shade = match index % 2 {
                _ if is_violated => "#ffebe9",
                _ if is_last => "#fff8c5",
                0 => "#f6f8fa",
                _ => "#ffffff",
            };
            let shade = Rectangle::new()
                .set("x", 0)
                .set("y", middle - TEXT_LINE / 2.0 - GAP / 2.0)
                .set("width", self.width)
                .set("height", row_height(row))
                .set("fill", shade);
            let number = text(SENTENCE_X - 8.0, middle, &(index + 1).to_string());
            let mut group = Group::new()
                .add(shade)
                .add(number.set("text-anchor", "end").set("fill", "#57606a"));
            for (line, words) in (0_u16..).zip(words::wrapped(&row.sentence, SENTENCE_LETTERS)) {
                group = group.add(text(SENTENCE_X, middle + f64::from(line) * TEXT_LINE, &words));
            }
            if let Some((verdict, colour)) = &row.verdict {
                let y = middle + lines_height(sentence_lines(row));
                for (line, words) in (0_u16..).zip(words::wrapped(verdict, SENTENCE_LETTERS)) {
                    let words = text(SENTENCE_X, y + f64::from(line) * TEXT_LINE, &words);
                    let words = words.set("font-weight", "bold").set("fill", *colour);
                    group = group.add(words.set("class", "verdict"));
                }
                let edge = Rectangle::new()
                    .set("x", 0)
                    .set("y", middle - TEXT_LINE / 2.0 - GAP / 2.0)
                    .set("width", 5)
                    .set("height", row_height(row))
                    .set("fill", *colour);
                group = group.add(edge);
            }
            self.add(group);
        }
    }

    /// Draws a line for each replica. It is broader where the replica stands or coordinates.
    fn time_lines(&mut self) {
        for replica in 0..self.replicas {
            let x = self.line_x(replica);
            let line = Stroke::new()
                .set("class", "time-line")
                .set("x1", x)
                .set("y1", self.top)
                .set("x2", x)
                .set("y2", self.bottom)
                .set("stroke", "#8c959f")
                .set("stroke-width", 1.2);
            let mut group = Group::new().add(Title::new(format!("r{replica}"))).add(line);
            for (role, from, to) in self.spans(replica) {
                let (colour, width) = match role {
                    RoleKind::Follower => continue,
                    RoleKind::Canvassing | RoleKind::Candidate => ("#f6c7e3", 5.0),
                    RoleKind::Coordinator => ("#ffdf5d", 9.0),
                };
                let bar = Rectangle::new()
                    .set("x", x - width / 2.0)
                    .set("y", from)
                    .set("width", width)
                    .set("height", to - from)
                    .set("fill", colour);
                group = group.add(bar);
            }
            let name = |y: f64| {
                text(x, y, &format!("r{replica}"))
                    .set("text-anchor", "middle")
                    .set("font-weight", "bold")
                    .set("font-size", 14)
            };
            group = group.add(name(self.top - TEXT_LINE / 2.0));
            group = group.add(name(self.bottom + TEXT_LINE / 2.0));
            self.add(group);
        }
    }

    /// The roles of a replica, each with where it begins and ends.
    fn spans(&self, replica: usize) -> Vec<(RoleKind, f64, f64)> {
        let mut spans: Vec<(RoleKind, f64, f64)> = Vec::new();
        for (row, middle) in self.rows.iter().zip(&self.middles) {
            let role = row.roles[replica];
            match spans.last_mut() {
                Some((last, _, _)) if *last == role => {}
                Some((_, _, to)) => {
                    *to = *middle;
                    spans.push((role, *middle, self.bottom));
                }
                None => spans.push((role, *middle, self.bottom)),
            }
        }
        spans
    }

    /// Draws messages, from the step that sent them to the step that delivers them.
    fn arrows(&mut self) {
        let rows = self.rows;
        for (index, row) in rows.iter().enumerate() {
            let Some(arrow) = &row.arrow else {
                continue;
            };
            // The arrow begins below the last label of the step that sends, and ends at the first label
            // of the step that delivers. If it comes from the right, it ends at the end of that label.
            // So arrows cross no labels.
            let sent_at = match arrow.sent {
                Some(sent) => self.middles[sent] + marks_height(&rows[sent]) - TEXT_LINE / 2.0,
                None => self.middles[index],
            };
            let arrives_at = match row.marks.first() {
                Some(mark) if arrow.from > row.at => label_end(self.line_x(row.at), &mark.label),
                _ if arrow.from > row.at => self.line_x(row.at) + SIGN_RADIUS,
                _ => self.line_x(row.at) - SIGN_RADIUS,
            };
            let to = (arrives_at, self.middles[index]);
            let drawn = arrow.style.draw((self.line_x(arrow.from), sent_at), to);
            self.add(drawn.add(Title::new(row.sentence.clone())));
        }
    }

    /// Draws what happens at the replicas.
    fn marks(&mut self) {
        let rows = self.rows;
        for (index, row) in rows.iter().enumerate() {
            let x = self.line_x(row.at);
            for (line, mark) in (0_u16..).zip(&row.marks) {
                let y = self.middles[index] + f64::from(line) * TEXT_LINE;
                let sign = mark.sign.draw(x, y);
                let end = label_end(x, &mark.label);
                // The ground hides arrows that would make the label hard to read.
                let ground = Rectangle::new()
                    .set("x", x + LABEL_X - 1.0)
                    .set("y", y - TEXT_LINE / 2.0 + 1.0)
                    .set("width", end - x - LABEL_X)
                    .set("height", TEXT_LINE - 2.0)
                    .set("fill", "#ffffff")
                    .set("fill-opacity", 0.85);
                let label = label(x + LABEL_X, y, &mark.label, mark.sign.colour());
                self.add(ground);
                self.add(label);
                self.add(sign);
            }
        }
    }

    fn line_x(&self, replica: usize) -> f64 {
        line_x(replica, self.apart)
    }

    fn finish(self) -> String {
        let (width, height) = (self.width, (self.bottom + TEXT_LINE + MARGIN).ceil());
        let ground = Rectangle::new()
            .set("width", width)
            .set("height", height)
            .set("fill", "#ffffff")
            .set("stroke", FAINT);
        Document::new()
            .set("width", width)
            .set("height", height)
            .set("viewBox", (0.0, 0.0, width, height))
            .set("style", "max-width: 100%; height: auto")
            .set("role", "img")
            .add(ground)
            .add(self.drawn)
            .to_string()
    }
}

/// The position of a replica's line.
fn line_x(replica: usize, apart: f64) -> f64 {
    FIRST_X + f64::from(u32::try_from(replica).unwrap_or(u32::MAX)) * apart
}

fn letters(text: &str, letter: f64) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)) * letter
}

fn label_end(line_x: f64, label: &str) -> f64 {
    line_x + LABEL_X + letters(label, LABEL_LETTER) + 3.0
}

fn lines_height(lines: usize) -> f64 {
    f64::from(u32::try_from(lines.max(1)).unwrap_or(u32::MAX)) * TEXT_LINE
}

fn marks_height(row: &Row) -> f64 {
    lines_height(row.marks.len())
}

fn row_height(row: &Row) -> f64 {
    let verdict =
        row.verdict.as_ref().map(|(text, _)| words::wrapped(text, SENTENCE_LETTERS).len());
    let verdict = verdict.map_or(0.0, lines_height);
    marks_height(row).max(lines_height(sentence_lines(row)) + verdict) + GAP
}

fn sentence_lines(row: &Row) -> usize {
    words::wrapped(&row.sentence, SENTENCE_LETTERS).len()
}

fn text(x: f64, y: f64, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y + BASE)
}

fn label(x: f64, y: f64, content: &str, colour: &str) -> Text {
    text(x, y, content).set("font-size", 11).set("fill", colour).set("stroke", "none")
}
