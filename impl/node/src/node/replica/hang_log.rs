//! What the log says of a disk or an application that hangs: a line when it begins, one when the replica
//! gives way, and one when it ends.

use synod_wire::api::Resource;
use tracing::warn;

use crate::shell::HangNews;

pub(super) fn tell_hangs(news: &mut Vec<HangNews>) {
    for it in news.drain(..) {
        match it {
            HangNews::Hangs { resource, limit, coordinates: true } => warn!(
                resource = Resource::from(resource).name(),
                hung_after = ?limit,
                "hangs: it has made no progress within the limit; this coordinator gives way once a \
                 majority of the others is further, and stays as long as none is"
            ),
            HangNews::Hangs { resource, limit, coordinates: false } => warn!(
                resource = Resource::from(resource).name(),
                hung_after = ?limit,
                "hangs: it has made no progress within the limit; until it does, this replica neither \
                 stands for election nor agrees to one"
            ),
            HangNews::GaveWay { resource, coordinated: true } => warn!(
                resource = Resource::from(resource).name(),
                "gives way: its own resource hangs, and a majority of the others is further"
            ),
            HangNews::GaveWay { resource, coordinated: false } => warn!(
                resource = Resource::from(resource).name(),
                "gives up its candidacy: its own resource hangs"
            ),
            HangNews::Works { resource, after } => warn!(
                resource = Resource::from(resource).name(),
                made_no_progress_for = ?after,
                "makes progress again; this replica takes part fully"
            ),
        }
    }
}
