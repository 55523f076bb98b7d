//! Keeps without number: one after another, and as many at once, from one process that has no more after than before.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::process::{Command, Stdio};

use keep::{End, Host, Image, Launch, RunError, Running};

use crate::census::{Census, memory};
use crate::host::{Setting, of_name, read, start, told};
use crate::support::{Form, probe};
use crate::{Test, rounds};

pub(crate) const TESTS: &[Test] = &[
    ("many::keeps_one_after_another_leave_nothing", keeps_one_after_another_leave_nothing),
    ("many::keeps_at_once_leave_nothing", keeps_at_once_leave_nothing),
    ("many::what_is_left_is_seen", what_is_left_is_seen),
];

/// Bytes by which this process may grow, whatever the number of Keeps: two for each of the fewest.
const GROWTH: usize = 100;

/// What a Keep is to do, and how it then ends.
#[derive(Debug, Clone, Copy)]
enum Life {
    /// The probe in exec's place from the start on, which has no arguments and says so.
    Short(&'static str),
    /// exec, which puts the probe in its place.
    Whole(&'static str),
    /// Stopped, wherever it is then.
    Stopped(&'static str),
}

impl Life {
    fn start(self) -> Running {
        match self {
            Self::Short(backend) => {
                let host = Host {
                    blobs: Box::new(BTreeMap::new()),
                    listen: BTreeMap::new(),
                    folders: keep::Folders::default(),
                    cache: None,
                    stdio: keep::Stdio::Null,
                    events: Box::new(|_| {}),
                };
                let launch = Launch::new(Image::of(program()), Setting::new(backend, &[]).brief(), None);
                of_name(backend, 0).start(&launch.expect("a brief"), host).expect("the Keep starts")
            }
            Self::Whole(backend) => whole(Setting::new(backend, &["exit", "3"])),
            Self::Stopped(backend) => {
                let running = whole(Setting::new(backend, &["spin", "2"]));
                running.stopper().stop();
                running
            }
        }
    }

    #[track_caller]
    fn check(self, ended: &Result<End, RunError>) {
        match (self, ended) {
            (Self::Short(_), Err(RunError::Silent(status))) if status == "exit status: 64" => {}
            (Self::Whole(_), Ok(End::Exit(3))) | (Self::Stopped(_), Err(RunError::Stopped)) => {}
            _ => panic!("{self:?}: {}", told(ended)),
        }
    }
}

fn whole(setting: Setting) -> Running {
    let built = Setting::built(read(&probe(Form::Native)), setting.manifest);
    let brief = setting.brief_of(&built);
    start(setting.backend, setting.machine, built, brief, keep::Stdio::Null)
}

/// The probe, which every Keep's image borrows.
fn program() -> &'static [u8] {
    static PROGRAM: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| read(&probe(Form::Native)))
}

const LIVES: [Life; 10] = [
    Life::Short("kvm"),
    Life::Whole("kvm"),
    Life::Short("sim-snp"),
    Life::Short("kvm"),
    Life::Stopped("kvm"),
    Life::Short("sim-snp"),
    Life::Whole("sim-snp"),
    Life::Short("kvm"),
    Life::Whole("nil"),
    Life::Stopped("sim-snp"),
];

fn keeps_one_after_another_leave_nothing() {
    let one = |life: Life| life.check(&life.start().wait());
    let before = Census::take();
    // The first ones make what is kept: threads' memory, caches of signatures.
    LIVES.into_iter().chain(LIVES).for_each(one);
    before.is_again();
    let held = memory();
    LIVES.into_iter().cycle().take(rounds(50)).for_each(one);
    before.is_again();
    let grown = memory().saturating_sub(held);
    assert!(grown <= GROWTH, "{grown} bytes more than before");
}

fn keeps_at_once_leave_nothing() {
    const AT_ONCE: usize = 40;
    let before = Census::take();
    let wave = || {
        let endless = |index: usize| whole(Setting::new(["kvm", "sim-snp"][index % 2], &["sleep", "3600000"]));
        let running: Vec<_> = (0..AT_ONCE).map(endless).collect();
        assert_eq!(Census::take().children, before.children + AT_ONCE, "all of them live");
        let lives: Vec<_> = LIVES.into_iter().map(|life| (life, life.start())).collect();
        lives.into_iter().for_each(|(life, running)| life.check(&running.wait()));
        running.iter().for_each(|running| running.stopper().stop());
        for running in running {
            let ended = running.wait();
            assert!(matches!(ended, Err(RunError::Stopped)), "{}", told(&ended));
        }
    };
    wave();
    before.is_again();
    // In more rounds than one: what all that memory was for is kept, for the next.
    let held = memory();
    for _ in 1..rounds(1) {
        wave();
        before.is_again();
    }
    let grown = memory().saturating_sub(held);
    assert!(grown <= GROWTH, "{grown} bytes more than before");
}

/// The control: a little of each thing is found.
fn what_is_left_is_seen() {
    let (before, held) = (Census::take(), memory());
    let file = File::open("/dev/null").expect("there is such a file");
    let thread = std::thread::spawn(std::thread::park);
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a command");
    let each: Vec<_> = (0..rounds(50)).map(|_| black_box([1_u8; 3].to_vec())).collect();
    let after = Census::take();
    let expected = Census {
        // The child's standard input is one too.
        descriptors: before.descriptors + 2,
        threads: before.threads + 1,
        children: before.children + 1,
        memory_files: before.memory_files,
    };
    assert_eq!(after.descriptors, expected.descriptors);
    assert_eq!((after.threads, after.children), (expected.threads, expected.children));
    let grown = memory().saturating_sub(held);
    assert!(grown > GROWTH, "{grown} bytes more than before");
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    thread.thread().unpark();
    thread.join().expect("it does not panic");
    drop((file, each));
    before.is_again();
}
