//! The memory of this machine: what its system says is free, and what the groups of processes that this one
//! runs in may still take (a container's limit).

use std::path::{Path, PathBuf};

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::bounded;

/// Bytes that programs can still have; `None` where the system does not tell.
pub fn free_memory() -> Option<u64> {
    let wanted = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let machine = System::new_with_specifics(wanted).ok()?.available_memory();
    // 0 is what a system says that tells nothing.
    let machine = (machine > 0).then_some(machine);
    let group = free_in_groups(Path::new("/"));
    machine.into_iter().chain(group).min()
}

/// A hierarchy of groups: where it is mounted, what is limited and used there, and what of `memory.stat` its
/// programs hold. The files that the system keeps in memory for them give way.
struct Hierarchy {
    mount: PathBuf,
    group: PathBuf,
    limit: &'static str,
    used: &'static str,
    held: &'static str,
}

/// Bytes that the groups of this process leave it, the tightest of them, by the files below `root`. `None`
/// without groups.
fn free_in_groups(root: &Path) -> Option<u64> {
    let read = |path: &str| bounded::read_text(&root.join(path), bounded::SETTINGS).ok();
    let groups = read("proc/self/cgroup")?;
    let mounts = read("proc/self/mountinfo")?;
    let of = |version: usize, group: &str| hierarchy(root, &mounts, version, group);
    let hierarchies = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            "" if number == "0" => of(2, group),
            _ if controllers.split(',').any(|c| c == "memory") => of(1, group),
            _ => None,
        }
    });
    hierarchies.filter_map(|h| free_in(&h)).min()
}

/// The hierarchy of a version of groups, where the mounts have it.
fn hierarchy(root: &Path, mounts: &str, version: usize, group: &str) -> Option<Hierarchy> {
    let (kind, limit, used, held) = match version {
        2 => ("cgroup2", "memory.max", "memory.current", "anon"),
        _ => (
            "cgroup",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_rss",
        ),
    };
    // number parent device root mount options [fields] - kind source options (proc(5))
    mounts.lines().find_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        let place: Vec<&str> = place.split(' ').collect();
        let what: Vec<&str> = what.split(' ').collect();
        let limits_memory = what.get(2)?.split(',').any(|option| option == "memory");
        if what.first() != Some(&kind) || version == 1 && !limits_memory {
            return None;
        }
        let (of, mount) = (place.get(3)?, place.get(4)?);
        // A container sees its own group as the root, whatever it is called outside.
        let group = Path::new(group).strip_prefix(of).unwrap_or(Path::new(""));
        let mount = root.join(mount.trim_start_matches('/'));
        Some(Hierarchy {
            group: mount.join(group.strip_prefix("/").unwrap_or(group)),
            mount,
            limit,
            used,
            held,
        })
    })
}

/// What the tightest of the groups around one leaves.
fn free_in(hierarchy: &Hierarchy) -> Option<u64> {
    let free = |group: &Path| {
        let read = |name: &str| bounded::read_text(&group.join(name), bounded::SETTINGS).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        // "max" is no limit.
        let limit = number(hierarchy.limit)?;
        let held = read("memory.stat").and_then(|stat| {
            let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
            lines
                .find(|(key, _)| *key == hierarchy.held)?
                .1
                .parse()
                .ok()
        });
        Some(limit.saturating_sub(held.or_else(|| number(hierarchy.used))?))
    };
    let groups = hierarchy.group.ancestors();
    let groups = groups.take_while(|group| group.starts_with(&hierarchy.mount));
    groups.filter_map(free).min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const V1: &str = "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 23 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";

    /// A system with these files, and what its groups leave.
    fn free(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        free_in_groups(root.path())
    }

    fn with<'a>(group: &'a str, mounts: &'a str, more: &[(&'a str, &'a str)]) -> Option<u64> {
        let own = [("proc/self/cgroup", group), ("proc/self/mountinfo", mounts)];
        free(&[&own, more].concat())
    }

    #[test]
    fn a_container_of_version_2() {
        // Files that the system keeps for it count as free.
        let own = [
            ("sys/fs/cgroup/memory.max", "1000\n"),
            ("sys/fs/cgroup/memory.current", "900\n"),
            ("sys/fs/cgroup/memory.stat", "anon 300\nfile 600\n"),
        ];
        assert_eq!(with("0::/\n", V2, &own), Some(700));
        assert_eq!(with("0::/\n", V2, &own[..2]), Some(100));
        // No limit, no word.
        let none = [("sys/fs/cgroup/memory.max", "max\n"), own[1], own[2]];
        assert_eq!(with("0::/\n", V2, &none), None);
        assert_eq!(with("0::/\n", V2, &[]), None);
        // More is held than a lowered limit allows.
        let less = [("sys/fs/cgroup/memory.max", "200\n"), own[1], own[2]];
        assert_eq!(with("0::/\n", V2, &less), Some(0));
    }

    #[test]
    fn the_tightest_of_the_groups_around_counts() {
        let slice = [
            ("sys/fs/cgroup/a.slice/memory.max", "500"),
            ("sys/fs/cgroup/a.slice/memory.current", "450"),
            ("sys/fs/cgroup/a.slice/b.scope/memory.max", "10000"),
            ("sys/fs/cgroup/a.slice/b.scope/memory.current", "100"),
            // Of another group.
            ("sys/fs/cgroup/c.slice/memory.max", "1"),
            ("sys/fs/cgroup/c.slice/memory.current", "0"),
        ];
        assert_eq!(with("0::/a.slice/b.scope\n", V2, &slice), Some(50));
        let inner = [
            ("sys/fs/cgroup/a.slice/b.scope/memory.max", "120"),
            slice[3],
            slice[0],
            ("sys/fs/cgroup/a.slice/memory.current", "200"),
        ];
        assert_eq!(with("0::/a.slice/b.scope\n", V2, &inner), Some(20));
    }

    #[test]
    fn a_container_of_version_1() {
        let groups = "3:cpu,cpuacct:/\n2:pids,memory:/docker/f00\n0::/\n";
        let at = "sys/fs/cgroup/memory/docker/f00";
        let own = [
            (&*format!("{at}/memory.limit_in_bytes"), "2000\n"),
            (&*format!("{at}/memory.usage_in_bytes"), "1900\n"),
            (
                &*format!("{at}/memory.stat"),
                "cache 9\nrss 1\ntotal_rss 500\n",
            ),
            // What the machine writes for "no limit".
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
        ];
        assert_eq!(with(groups, V1, &own), Some(1500));
        // Inside, the group is the root of the mount; outside it is called /docker/f00.
        let mounts = V1.replace(
            "/ /sys/fs/cgroup/memory",
            "/docker/f00 /sys/fs/cgroup/memory",
        );
        let inside = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1900\n"),
        ];
        assert_eq!(with(groups, &mounts, &inside), Some(100));
        // As seen by a process that was moved into a group outside of what its container shows.
        let other = groups.replace("/docker/f00", "/elsewhere");
        assert_eq!(with(&other, &mounts, &inside), Some(100));
    }

    #[test]
    fn both_versions_at_once_and_neither() {
        let both = format!("{V1}32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        let files = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "300"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "100"),
            ("sys/fs/cgroup/unified/memory.max", "max"),
        ];
        assert_eq!(with("4:memory:/\n0::/\n", &both, &files), Some(200));
        assert_eq!(with("", "", &[]), None);
        assert_eq!(free(&[]), None);
        assert_eq!(with("0::/\nnonsense\n", "x - cgroup2\n", &[]), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let free = free_memory().unwrap();
        assert!(free > 1 << 20, "{free}");
    }
}
