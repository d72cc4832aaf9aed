//! The signs of a picture. Each kind of event has its own shape and colour, and each phase of the protocol
//! its own style of arrow.

use std::format;
use std::string::String;

use svg::node::element::{Circle, Group, Line as Stroke, Polygon, Polyline, Rectangle};

use crate::world::MessageKind;

/// The sign for something that happens at a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Client,
    Stand,
    Coordinate,
    StepDown,
    Promise,
    Write,
    Sync,
    Commit,
    Crash,
}

impl Sign {
    /// All of them, in the order of the legend.
    pub(super) const ALL: [Self; 9] = [
        Self::Client,
        Self::Stand,
        Self::Coordinate,
        Self::StepDown,
        Self::Promise,
        Self::Write,
        Self::Sync,
        Self::Commit,
        Self::Crash,
    ];

    /// Its name in the legend.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client or timer",
            Self::Stand => "stands for election",
            Self::Coordinate => "begins to coordinate",
            Self::StepDown => "steps down",
            Self::Promise => "writes a promise",
            Self::Write => "writes an entry",
            Self::Sync => "synced: durable now",
            Self::Commit => "commits",
            Self::Crash => "crashes and restarts",
        }
    }

    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Client => "#57606a",
            Self::Stand => "#bf3989",
            Self::Promise => "#7b2fbf",
            Self::Coordinate => "#9a6700",
            Self::StepDown => "#7d6232",
            Self::Write => "#bc4c00",
            Self::Sync => "#0550ae",
            Self::Commit => "#1a7f37",
            Self::Crash => "#cf222e",
        }
    }

    /// The shape around a point, about 12 pixels wide.
    pub(super) fn draw(self, x: f64, y: f64) -> Group {
        let group = Group::new().set("stroke", self.colour()).set("stroke-width", 1.8);
        let points = |all: &[(f64, f64)]| {
            let all = all.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy));
            all.collect::<std::vec::Vec<String>>().join(" ")
        };
        let polygon = |all: &[(f64, f64)]| Polygon::new().set("points", points(all));
        let (solid, hollow) = (self.colour(), "#ffffff");
        match self {
            Self::Client => {
                group.add(Circle::new().set("cx", x).set("cy", y).set("r", 4.5).set("fill", hollow))
            }
            Self::Stand => {
                group.add(polygon(&[(0.0, -6.0), (6.0, 5.0), (-6.0, 5.0)]).set("fill", hollow))
            }
            Self::StepDown => {
                group.add(polygon(&[(0.0, 6.0), (6.0, -5.0), (-6.0, -5.0)]).set("fill", hollow))
            }
            Self::Coordinate => group.add(polygon(&STAR).set("fill", "#ffd33d")),
            Self::Promise => group.add(
                polygon(&[(0.0, -6.5), (6.0, 0.0), (0.0, 6.5), (-6.0, 0.0)]).set("fill", hollow),
            ),
            Self::Write => group.add(square(x, y).set("fill", hollow)),
            // A ticked box: what was written stays.
            Self::Sync => group.add(square(x, y).set("fill", solid)).add(
                Polyline::new()
                    .set("points", points(&[(-3.0, 0.0), (-1.0, 2.5), (3.0, -2.5)]))
                    .set("fill", "none")
                    .set("stroke", "#ffffff"),
            ),
            Self::Commit => {
                group.add(Circle::new().set("cx", x).set("cy", y).set("r", 5.5).set("fill", solid))
            }
            Self::Crash => {
                let stroke = |dx: f64| {
                    Stroke::new()
                        .set("x1", x - dx)
                        .set("y1", y - 6.0)
                        .set("x2", x + dx)
                        .set("y2", y + 6.0)
                        .set("stroke-width", 3)
                };
                group.add(stroke(6.0)).add(stroke(-6.0))
            }
        }
    }
}

const STAR: [(f64, f64); 10] = [
    (0.0, -7.5),
    (2.0, -2.4),
    (7.2, -2.3),
    (3.2, 1.0),
    (4.6, 6.1),
    (0.0, 3.2),
    (-4.6, 6.1),
    (-3.2, 1.0),
    (-7.2, -2.3),
    (-2.0, -2.4),
];

fn square(x: f64, y: f64) -> Rectangle {
    let corner = (x - 5.0, y - 5.0);
    Rectangle::new().set("x", corner.0).set("y", corner.1).set("width", 10).set("height", 10)
}

/// How the arrow of a message is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrowStyle {
    Phase1,
    Phase2,
    Phase3,
    Reject,
    Forward,
    CatchUp,
}

impl ArrowStyle {
    /// All of them, in the order of the legend.
    pub(super) const ALL: [Self; 6] =
        [Self::Phase1, Self::Phase2, Self::Phase3, Self::Reject, Self::Forward, Self::CatchUp];

    /// The style for messages of this kind.
    pub(super) fn of(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Canvass
            | MessageKind::Agree
            | MessageKind::Propose
            | MessageKind::Promise => Self::Phase1,
            MessageKind::Accept | MessageKind::Acknowledge | MessageKind::Room => Self::Phase2,
            MessageKind::Commit
            | MessageKind::Round
            | MessageKind::Obey
            | MessageKind::Progress
            | MessageKind::Applied => Self::Phase3,
            MessageKind::Reject => Self::Reject,
            MessageKind::Submit
            | MessageKind::Submitted
            | MessageKind::Read
            | MessageKind::ReadAt
            | MessageKind::NotTaken
            | MessageKind::NotReady
            | MessageKind::Forward => Self::Forward,
            MessageKind::Ask
            | MessageKind::Committed
            | MessageKind::Compare
            | MessageKind::Offer
            | MessageKind::CommittedThrough
            | MessageKind::AskReady
            | MessageKind::Ready
            | MessageKind::Remind
            | MessageKind::Forgot => Self::CatchUp,
        }
    }

    /// Its name in the legend.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Phase1 => "canvass, propose, promise",
            Self::Phase2 => "accept, acknowledge",
            Self::Phase3 => "commit, round",
            Self::Reject => "reject",
            Self::Forward => "submit, read",
            Self::CatchUp => "catch-up, compare, remind",
        }
    }

    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Phase1 => "#7b2fbf",
            Self::Phase2 => "#bc4c00",
            Self::Phase3 => "#1a7f37",
            Self::Reject => "#cf222e",
            Self::Forward => "#57606a",
            Self::CatchUp => "#0969da",
        }
    }

    fn dashes(self) -> &'static str {
        match self {
            Self::Phase1 => "7 3",
            Self::Phase2 => "none",
            Self::Phase3 => "2 3",
            Self::Reject => "9 3 2 3",
            Self::Forward => "12 4",
            Self::CatchUp => "4 2 1 2",
        }
    }

    /// An arrow from one point to another.
    pub(super) fn draw(self, from: (f64, f64), to: (f64, f64)) -> Group {
        const HEAD: f64 = 9.0;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1.0);
        let (dx, dy) = (dx / length, dy / length);
        let end = (to.0 - dx * HEAD, to.1 - dy * HEAD);
        let side = (-dy * HEAD / 2.4, dx * HEAD / 2.4);
        let head = [to, (end.0 + side.0, end.1 + side.1), (end.0 - side.0, end.1 - side.1)];
        let head = head.map(|(x, y)| format!("{x:.1},{y:.1}")).join(" ");
        let mut way = Stroke::new()
            .set("x1", from.0)
            .set("y1", from.1)
            .set("x2", format!("{:.1}", end.0))
            .set("y2", format!("{:.1}", end.1))
            .set("stroke", self.colour())
            .set("stroke-width", 1.6);
        if self.dashes() != "none" {
            way = way.set("stroke-dasharray", self.dashes());
        }
        Group::new().add(way).add(Polygon::new().set("points", head).set("fill", self.colour()))
    }
}
