//! Programs that no Keep runs, brought to one all the same, past the command that would not have packed them: each is
//! refused in words, by exec or by the shim, and none ends a Keep in another way.

use crate::Test;
use crate::host::{Setting, read, start, told};
use crate::support::{Form, probe};

pub(crate) const TESTS: &[Test] =
    &[("refused::what_is_no_program_for_a_keep_says_why", what_is_no_program_for_a_keep_says_why)];

/// Where its program headers are in the probe, as its linker lays them out: the first four are its segments.
const SEGMENTS: [usize; 4] = [64, 64 + 56, 64 + 2 * 56, 64 + 3 * 56];

fn what_is_no_program_for_a_keep_says_why() {
    let good = read(&probe(Form::Native));
    let word = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!(SEGMENTS.map(|at| word(at) & 0xffff_ffff), [1; 4], "segments");
    let [_, code, constants, data] = SEGMENTS;
    let edited = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let earlier = word(constants + 16) - 0x1000;
    let larger = |mib: u64| edited(data + 40, &(mib << 20).to_le_bytes());
    let exec = "the program cannot be put into a Keep: ";
    let faults = [
        (edited(code + 4, &[7]), format!("{exec}its segment at {:#x} is writable and executable at once", word(code + 16))),
        (
            edited(constants + 16, &earlier.to_le_bytes()),
            format!("{exec}its segment at {earlier:#x} overlaps the one before, or shares a page with it"),
        ),
        (
            good[..good.len() / 2].to_vec(),
            // Which segment it is depends on the linker.
            format!("{exec}it is cut short: a segment reaches until byte "),
        ),
        (larger(1100), format!("{exec}its segment at {:#x} makes it larger than 1 GiB", word(data + 16))),
        // Larger than the micro-VM's memory, which only the shim knows.
        (larger(600), "the platform cannot start the program: it needs 601 MiB of memory, and beside its file and exec the micro-VM has ".to_owned()),
    ];
    for backend in ["kvm", "sim-snp"] {
        let life = |file: &[u8]| {
            let (setting, built) = (Setting::new(backend, &["exit", "3"]), Setting::built(file.to_vec(), ""));
            let brief = setting.brief_of(&built);
            told(&start(backend, 0, built, brief, keep::Stdio::Null).wait())
        };
        assert_eq!(life(&good), "Exit(3)", "control");
        assert_eq!(life(&larger(300)), "Exit(3)", "control: it has room");
        for (file, why) in &faults {
            let ended = life(file);
            let expected = format!("Refused {{ step: 13, code: \"elf.invalid\", message: \"{why}");
            assert!(ended.starts_with(&expected), "{ended}\n{expected}");
        }
    }
}
