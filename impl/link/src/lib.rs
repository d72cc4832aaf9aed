//! A network link between two processes on one machine, for tests and benchmarks.
//!
//! A [`Link`] has two [sides](Side). A process on one side does not connect to a process on the other:
//! it connects to a [door](Link::open) of the link, and the link connects to the process behind it.
//! Whatever the connections carry passes the link. It takes as long as on a real one, and arrives no
//! faster than a real one lets it through.
//!
//! | property | what happens |
//! |---|---|
//! | delay | bytes arrive this much later; each direction has its own ([`Line::delay`]) |
//! | rate | all connections of the link share it, in each direction ([`Line::bytes_per_second`]). They take turns in pieces of at most 16 KiB, so a busy one does not starve another |
//! | buffer | a connection holds what is on its way, and 60 ms of the rate more. Then the link reads nothing, and TCP puts back-pressure on the sender |
//! | cut | in one direction or both: time stands still for what is on its way, and connections stay open. After the cut it arrives, as it does when TCP repeats what was lost ([`Link::cut`]) |
//! | reset | all connections break at once, at both ends, and lose what is on its way ([`Link::reset`]) |
//! | counters | how many bytes entered the link, in each direction ([`Link::carried_bytes`]) |
//!
//! All of it can be changed while connections are open.
//!
//! A connection through a link takes a round trip until it carries bytes, and nothing is connected
//! across a cut. Its ends differ from those of a real connection in this: the dialer believes at once
//! that it is connected, because the link accepts on behalf of the other side. The rate counts the
//! bytes of the connections, without the headers of TCP and IP.
//!
//! # The modules, in the order in which to read them
//!
//! 1. `line`: the conditions of one direction.
//! 2. `bottleneck`: which piece passes when. It knows no socket and no clock.
//! 3. `way`: the bottleneck on a clock, and who waits for it.
//! 4. `carrier`: the sockets of one connection.
//! 5. `link`: the link as its user sees it.
//! 6. `socket`: sockets that hide little in the kernel's buffers.

// Whatever comes from outside has an error of its own; what must be true inside is asserted, with the
// reason. Tests may be short about both.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bottleneck;
mod carrier;
mod line;
mod link;
mod socket;
mod way;

pub use line::Line;
pub use link::{Link, LinkError, Links, Side};
