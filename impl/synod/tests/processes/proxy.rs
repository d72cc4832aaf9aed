//! The network between replicas, so that it can be slow, far, cut or reset: each two replicas are joined
//! by a [`Link`].
//!
//! What is sent over a cut link is held back, as TCP does when packets get lost. It goes on when the
//! link is restored. So both ends notice only silence.

use synod_link::{Line, Link, Links, Side};

use crate::cluster::Cluster;

/// All links between the replicas of a cluster.
#[derive(Debug)]
pub(crate) struct Network {
    pairs: Vec<Pair>,
    _links: Links,
}

/// The link between two replicas.
#[derive(Debug)]
struct Pair {
    left: u16,
    right: u16,
    link: Link,
}

impl Pair {
    fn side_of(&self, replica: u16) -> Option<Side> {
        match replica {
            it if it == self.left => Some(Side::Left),
            it if it == self.right => Some(Side::Right),
            _ => None,
        }
    }
}

impl Network {
    /// Leads the connections of a cluster through links without limits, before any replica runs.
    pub(crate) fn between(cluster: &mut Cluster) -> Self {
        Self::with_lines(cluster, Line::default())
    }

    /// The same with these conditions, in each direction of each link.
    pub(crate) fn with_lines(cluster: &mut Cluster, line: Line) -> Self {
        let links = Links::start().unwrap();
        let size = cluster.size;
        let mut pairs = Vec::new();
        let mut open = |link: &Link, side, from: u16, to: u16| {
            let target = cluster.peer_address(to).parse().unwrap();
            let args = cluster.more_args.entry(from).or_default();
            let member = format!("{to}={}", link.open(side, target).unwrap());
            match args.iter().position(|arg| arg == "--peers") {
                Some(at) => args[at + 1] = format!("{},{member}", args[at + 1]),
                None => args.extend(["--peers".to_owned(), member]),
            }
        };
        for left in 0..size {
            for right in left + 1..size {
                let pair = Pair { left, right, link: links.link(line) };
                open(&pair.link, Side::Left, left, right);
                open(&pair.link, Side::Right, right, left);
                pairs.push(pair);
            }
        }
        Self { pairs, _links: links }
    }

    /// Changes the conditions of all links.
    pub(crate) fn set_lines(&self, line: Line) {
        self.pairs.iter().for_each(|pair| pair.link.set_lines(line));
    }

    /// Changes the conditions of all links of a replica.
    pub(crate) fn set_lines_of(&self, replica: u16, line: Line) {
        self.of(replica).for_each(|(link, _)| link.set_lines(line));
    }

    /// Cuts all links to and from this replica.
    pub(crate) fn isolate(&self, replica: u16) {
        self.of(replica)
            .for_each(|(link, _)| Side::BOTH.into_iter().for_each(|from| link.cut(from)));
    }

    /// Nothing that this replica sends arrives.
    pub(crate) fn mute(&self, replica: u16) {
        self.of(replica).for_each(|(link, side)| link.cut(side));
    }

    /// Nothing that is sent to this replica arrives.
    pub(crate) fn deafen(&self, replica: u16) {
        self.of(replica).for_each(|(link, side)| link.cut(side.opposite()));
    }

    /// Restores all links of this replica.
    pub(crate) fn mend(&self, replica: u16) {
        self.of(replica)
            .for_each(|(link, _)| Side::BOTH.into_iter().for_each(|from| link.restore(from)));
    }

    /// Breaks all connections.
    pub(crate) fn reset(&self) {
        self.pairs.iter().for_each(|pair| pair.link.reset());
    }

    /// The bytes on all links, in both directions, so far.
    pub(crate) fn carried_bytes(&self) -> u64 {
        let of = |pair: &Pair| Side::BOTH.map(|from| pair.link.carried_bytes(from));
        self.pairs.iter().flat_map(of).sum()
    }

    /// The links of a replica, each with the side where it stands.
    fn of(&self, replica: u16) -> impl Iterator<Item = (&Link, Side)> {
        self.pairs.iter().filter_map(move |it| Some((&it.link, it.side_of(replica)?)))
    }
}
