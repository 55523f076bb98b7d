//! However a Keep ends, and whoever ends it, nothing of it is left; and its host process, if that lives, says why.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use crate::census::{Process, processes};
use crate::host::Setting;
use crate::support::{eventually, folder, read, wait};
use crate::{Test, rounds};

pub(crate) const TESTS: &[Test] = &[
    ("ends::a_stopped_keep_is_gone_whatever_it_does", a_stopped_keep_is_gone_whatever_it_does),
    ("ends::whoever_is_killed_nothing_is_left", whoever_is_killed_nothing_is_left),
];

/// Programs that never end by themselves: one that waits for a byte, and two that compute.
const ENDLESS: [&[&str]; 3] = [&["cat"], &["spin", "1"], &["spin", "4"]];

/// A host, and the folder in which it runs.
struct Started {
    host: Child,
    folder: tempfile::TempDir,
}

impl Started {
    fn new(setting: Setting) -> Self {
        let folder = folder(&[]);
        let host = setting.host(folder.path()).spawn().expect("the host starts");
        Self { host, folder }
    }

    /// Processes of the host's group: itself, monitors, Keeps.
    fn processes(&self) -> impl Iterator<Item = Process> {
        let group = self.host.id();
        processes().filter(move |process| process.group == group)
    }

    /// What it said when it was over; nothing of it is left.
    #[track_caller]
    fn over(mut self, leaves: &[&str]) -> String {
        eventually("no process is left", || self.processes().next().is_none());
        let mut said = String::new();
        self.host.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        let files = std::fs::read_dir(&self.folder).expect("the folder reads");
        let files: Vec<_> = files.map(|file| file.expect("a file").file_name()).collect();
        assert_eq!(files, leaves);
        said
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Those who are left after a failure.
        kill(&format!("-{}", self.host.id()));
        _ = self.host.wait();
    }
}

/// SIGKILL, to a process or, after a minus sign, a group. Whoever is gone is what was wanted.
fn kill(whom: &str) {
    let ran = Command::new("kill").args(["-KILL", "--", whom]).output();
    ran.expect("there is a command `kill`");
}

fn a_stopped_keep_is_gone_whatever_it_does() {
    for backend in ["nil", "kvm", "sim-snp"] {
        for args in ENDLESS {
            let mut started = Started::new(Setting::new(backend, args));
            let said = match args {
                ["cat"] => {
                    started.host.stdin.as_mut().expect("piped").write_all(b"x").expect("it reads");
                    "x"
                }
                _ => "spins\n",
            };
            let (_stdout, found) = read(started.host.stdout.take().expect("piped"), said.len());
            assert_eq!(found, said.as_bytes(), "the program runs");
            File::create(started.folder.path().join("stop")).expect("a file can be made");
            assert_eq!(wait(&mut started.host).code(), Some(1), "{backend} {args:?}");
            assert_eq!(started.over(&["stop"]), "the Keep was stopped\n", "{backend} {args:?}");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Monitor,
    Host,
    Both,
}

/// At any moment from before the machine is made until its program computes or waits.
fn whoever_is_killed_nothing_is_left() {
    const LATEST: usize = 300;
    for round in 0..rounds(12) {
        let backend = ["kvm", "sim-snp"][round % 2];
        let whom = [Whom::Monitor, Whom::Host, Whom::Both][round / 2 % 3];
        let args = ENDLESS[round % ENDLESS.len()];
        // Spread over the whole time, in an order that has to do with nothing else.
        let after = round * 97 % (LATEST + 1);
        let case = format!("{whom:?} of {backend} {args:?} after {after} ms");
        let mut started = Started::new(Setting::new(backend, args));
        // Held open: a program that reads waits.
        let _stdin = started.host.stdin.take();
        sleep(Duration::from_millis(after as u64));
        match whom {
            Whom::Host => started.host.kill().expect("it can be killed"),
            Whom::Both => kill(&format!("-{}", started.host.id())),
            Whom::Monitor => {
                let host = started.host.id();
                let monitor = || processes().find(|process| process.parent == host);
                eventually("there is a monitor", || {
                    monitor().is_some_and(|monitor| {
                        kill(&monitor.pid.to_string());
                        true
                    })
                });
            }
        }
        let status = wait(&mut started.host);
        let said = started.over(&[]);
        if whom == Whom::Monitor {
            let told = "the Keep ended without an outcome: signal: 9 (SIGKILL)\n";
            assert_eq!((status.code(), said.as_str()), (Some(1), told), "{case}");
        } else {
            assert_eq!((status.signal(), said.as_str()), (Some(9), ""), "{case}");
        }
    }
}
