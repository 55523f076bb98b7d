//! What a process has, counted: descriptors, threads, processes below it, mapped memory files, memory.
//!
//! Refuses to wait for ever for what it counted before.

use std::fs;

use crate::support::eventually;

/// All that could be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) children: usize,
    pub(crate) memory_files: usize,
}

impl Census {
    /// Of this process, now.
    pub(crate) fn take() -> Self {
        let count = |path| fs::read_dir(path).expect("a folder of /proc").count();
        let maps = fs::read_to_string("/proc/self/maps").expect("a file of /proc");
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: processes().filter(|process| process.parent == std::process::id()).count(),
            memory_files: maps.lines().filter(|line| line.contains("/memfd:")).count(),
        }
    }

    /// Waits until everything is as it was: threads that nobody waits for, such as a firmware's, take a moment to end.
    #[track_caller]
    pub(crate) fn is_again(self) {
        eventually(&format!("it is {:?} and was {self:?}", Self::take()), || Self::take() == self);
    }
}

/// What this process allocates is counted: what it holds of the kernel's would hide a little that is lost each time.
#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// Bytes of memory that are in use.
pub(crate) fn memory() -> usize {
    ALLOCATOR.allocated()
}

/// A process that is alive, from `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
}

/// All of them but zombies, who wait only for whoever inherited them.
pub(crate) fn processes() -> impl Iterator<Item = Process> {
    let all = fs::read_dir("/proc").expect("there is /proc");
    all.filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may have anything in it.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (state != "Z" && state != "X").then_some(Process { pid, parent, group })
    })
}
