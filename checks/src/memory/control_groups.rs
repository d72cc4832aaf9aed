//! What the control groups of this process leave of the machine's memory: in a container, for example,
//! or under a limit of systemd.
//!
//! A limit of any ancestor holds as well, and version 1 and version 2 of control groups may be mounted
//! at once. So this module looks at every group from that of the process up to the mount point, in both
//! versions, and the smallest amount counts.

use std::fs;
use std::path::{Path, PathBuf};

use super::plain;

/// Version 1 says "no limit" by a number about as large as this.
const UNLIMITED: u64 = 1 << 60;

/// What the limits of all groups allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupLimits {
    /// The lowest limit.
    pub(super) limit: Option<u64>,
    /// The least memory that a group has left.
    pub(super) left: Option<u64>,
}

/// The limits of the groups of this process.
pub(super) fn of_this_process() -> GroupLimits {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    limits(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

/// The limits of the groups in `groups`, the text of `/proc/self/cgroup`. `mounts` is the text of
/// `/proc/self/mountinfo`.
fn limits(groups: &str, mounts: &str) -> GroupLimits {
    let mut limits = GroupLimits::default();
    for (files, kind) in mounts.lines().filter_map(mounted) {
        let Some(own) = groups.lines().find_map(|line| path_in(line, kind)) else {
            continue;
        };
        for directory in files.directories(own) {
            limits.add(&directory, kind);
        }
    }
    limits
}

/// The version of control groups, which have different files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where the groups of a hierarchy are.
struct Mount<'a> {
    /// The group that is mounted: not the root of the hierarchy in many containers.
    root: &'a str,
    point: PathBuf,
}

/// A mount of groups that limit memory, from a line of `mountinfo`, see proc(5).
fn mounted(line: &str) -> Option<(Mount<'_>, Version)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let version = match (kind.next()?, kind.nth(1)) {
        ("cgroup2", _) => Version::Two,
        ("cgroup", Some(options)) if options.split(',').any(|it| it == "memory") => Version::One,
        _ => return None,
    };
    let mut mount = mount.split(' ').skip(3);
    let root = mount.next()?;
    // A space in a path is written as \040.
    Some((Mount { root, point: PathBuf::from(mount.next()?.replace("\\040", " ")) }, version))
}

/// The path of the process's group, from a line of `/proc/self/cgroup`.
fn path_in(line: &str, version: Version) -> Option<&str> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_it = match version {
        Version::One => controllers.split(',').any(|it| it == "memory"),
        Version::Two => controllers.is_empty(),
    };
    is_it.then_some(path)
}

impl Mount<'_> {
    /// The directories of a group and of all its ancestors that are mounted.
    fn directories(&self, group: &str) -> Vec<PathBuf> {
        // A group outside of what is mounted cannot be seen. What is mounted is then its nearest
        // ancestor that can.
        let inside = Path::new(group).strip_prefix(self.root).unwrap_or(Path::new(""));
        inside.ancestors().map(|ancestor| self.point.join(ancestor)).collect()
    }
}

impl GroupLimits {
    /// Adds the limits of one group.
    fn add(&mut self, directory: &Path, version: Version) {
        let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let (limits, used, files): (&[&str], _, _) = match version {
            // Above `memory.high` the kernel slows a process down so far that it makes no progress.
            Version::Two => (&["memory.max", "memory.high"], "memory.current", "inactive_file"),
            Version::One => {
                (&["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file")
            }
        };
        let limits = limits.iter().copied();
        let Some(limit) = limits.filter_map(number).filter(|it| *it < UNLIMITED).min() else {
            return;
        };
        self.limit = Some(self.limit.map_or(limit, |it| it.min(limit)));
        if let Some(used) = number(used) {
            // Cached files count as used, but the kernel frees them on demand.
            let files = read("memory.stat").and_then(|text| plain(&text, files)).unwrap_or(0);
            let left = limit.saturating_sub(used.saturating_sub(files));
            self.left = Some(self.left.map_or(left, |it| it.min(left)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a group with these files.
    fn group(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).expect("a directory");
        for (name, content) in files {
            fs::write(directory.join(name), content).expect("a file");
        }
    }

    #[test]
    fn the_smallest_limit_of_all_ancestors_counts() {
        let folder = tempfile::tempdir().expect("a directory");
        let top = folder.path();
        let mounts = format!(
            "30 20 0:25 / {} rw,nosuid shared:4 - cgroup2 cgroup rw,nsdelegate\n",
            top.display()
        );
        group(
            &top.join("user"),
            &[("memory.max", "700000000\n"), ("memory.current", "200000000\n")],
        );
        group(
            &top.join("user/shell/own"),
            &[
                ("memory.max", "max\n"),
                ("memory.high", "max\n"),
                ("memory.current", "100000\n"),
                ("memory.stat", "inactive_file 5\n"),
            ],
        );
        let parent = GroupLimits { limit: Some(700_000_000), left: Some(500_000_000) };
        assert_eq!(limits("0::/user/shell/own\n", &mounts), parent);
        // The one in the middle is lower, and its cached files can be freed.
        let middle = [
            ("memory.max", "900000000"),
            ("memory.high", "400000000"),
            ("memory.current", "90000000"),
            ("memory.stat", "active_file 3\ninactive_file 10000000\n"),
        ];
        group(&top.join("user/shell"), &middle);
        let middle = GroupLimits { limit: Some(400_000_000), left: Some(320_000_000) };
        assert_eq!(limits("0::/user/shell/own\n", &mounts), middle);
        assert_eq!(limits("0::/other\n", &mounts), GroupLimits::default());
    }

    #[test]
    fn both_versions_count() {
        let folder = tempfile::tempdir().expect("a directory");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let mounts = format!(
            "1 0 0:1 / {} rw - cgroup cgroup rw,cpu\n\
             2 0 0:2 / {} rw - cgroup cgroup rw,memory\n\
             3 0 0:3 / {} rw - cgroup2 cgroup2 rw\n",
            folder.path().display(),
            one.display(),
            two.display()
        );
        let unlimited = [("memory.limit_in_bytes", "9223372036854771712")];
        group(&one.join("a/b"), &unlimited);
        group(
            &one.join("a"),
            &[
                ("memory.limit_in_bytes", "700"),
                ("memory.usage_in_bytes", "300"),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 100\n"),
            ],
        );
        let groups = "4:memory:/a/b\n1:cpu:/\n0::/c\n";
        let only_one = GroupLimits { limit: Some(700), left: Some(500) };
        assert_eq!(limits(groups, &mounts), only_one);
        group(&two.join("c"), &[("memory.max", "600"), ("memory.current", "10")]);
        assert_eq!(limits(groups, &mounts), GroupLimits { limit: Some(600), left: Some(500) });
    }

    #[test]
    fn in_a_container_the_mounted_group_is_the_top() {
        let folder = tempfile::tempdir().expect("a directory");
        let top = folder.path();
        let files = [("memory.max", "700"), ("memory.current", "100")];
        group(top, &files);
        let mount = |root| format!("1 0 0:1 {root} {} ro - cgroup2 cgroup rw", top.display());
        let expected = GroupLimits { limit: Some(700), left: Some(600) };
        // With and without a namespace of its own.
        assert_eq!(limits("0::/\n", &mount("/")), expected);
        assert_eq!(limits("0::/docker/abc\n", &mount("/docker/abc")), expected);
        assert_eq!(limits("0::/\n", &mount("/docker/abc")), expected);
    }
}
