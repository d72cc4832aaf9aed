//! The clock on the wall may be set back or forward at any time. Nothing that a node does depends on
//! it: what it counts is monotonic time, `tokio::time::Instant`. So there is nothing to run here, and
//! the proof is that no source names the other clock. (The lines of a node's log begin with the time
//! of day; what writes them is tracing-subscriber, and nobody reads it back.)

use std::fs;
use std::path::Path;

#[test]
fn no_source_of_the_node_or_the_core_reads_the_clock_on_the_wall() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![here.join("src"), here.join("../model/src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                seen += 1;
                let text = fs::read_to_string(&path).unwrap();
                for clock in ["SystemTime", "UNIX_EPOCH", "clock_gettime", "chrono::"] {
                    assert!(!text.contains(clock), "{} names {clock}", path.display());
                }
            }
        }
    }
    assert!(seen > 50, "{seen} sources cannot be all of them");
}
