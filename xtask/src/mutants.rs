//! Shims in which one check is missing, and the hostile host that has to notice each of them.
//!
//! Owns the list. A mutant is a text of the guest's sources that becomes another in a copy of them; a text that is not
//! there any more, or there twice, is a failure: whoever changes the check changes the mutant.
//!
//! Not in the list: that a page is forgotten by all processors before it has another use. A KVM that keeps page tables of
//! its own makes them forget by itself, so there nobody would notice.
//!
//! Invariant: the shim as it is passes the same lies.

use std::fs;
use std::path::{Path, PathBuf};

use crate::call::{Call, Failed, Repository, Workspace, step};
use crate::recipe;
use crate::reproducible::copy_tree;

/// A check that is missing.
struct Mutant {
    name: &'static str,
    /// File below `guest/`, what stands there, what stands there instead.
    changes: &'static [(&'static str, &'static str, &'static str)],
    /// Which lies are told: those whose names have this.
    aim: &'static str,
    /// On simulated firmware.
    firmware: bool,
}

const RING: &str = "contracts/gate/src/ring.rs";
const FILES: &str = "shim/src/syscall/files.rs";
const EVENTS: &str = "shim/src/syscall/files/events.rs";
const BOOT: &str = "shim/src/boot.rs";

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a read may have any length",
        changes: &[(
            RING,
            "Kind::Read | Kind::Write | Kind::Wait => u64::from(self.length),",
            "Kind::Read | Kind::Write | Kind::Wait => u64::MAX >> 1,",
        )],
        aim: "Read × Result × OneMore",
        firmware: false,
    },
    Mutant {
        name: "a datagram may have any length",
        changes: &[(
            RING,
            "Kind::Send | Kind::Receive => u64::from(self.length.saturating_sub(ADDRESS)),",
            "Kind::Send | Kind::Receive => u64::MAX >> 1,",
        )],
        aim: "Receive × Result × OneMore",
        firmware: false,
    },
    Mutant {
        name: "there are half events",
        changes: &[(
            RING,
            "Kind::Wait => result <= most && result.is_multiple_of(u64::from(EVENT)),",
            "Kind::Wait => result <= most,",
        )],
        aim: "Wait × Result × One",
        firmware: false,
    },
    Mutant {
        name: "any bit is readiness",
        changes: &[(RING, "Kind::Poll => result & !most == 0,", "Kind::Poll => result <= 0xffff,")],
        aim: "Poll × Result × ",
        firmware: false,
    },
    Mutant {
        name: "errors have any number",
        changes: &[(RING, "if (-LAST_ERROR..0).contains(&signed) {", "if (-65535..0).contains(&signed) {")],
        aim: "Result × PastErrors",
        firmware: false,
    },
    Mutant {
        name: "a result is read twice",
        changes: &[(
            "shim/src/host.rs",
            "Ok(Ok(value)) => Ok(value),",
            "Ok(Ok(_)) => Ok(shared::block().read(FIRST.wrapping_add(RESULT))),",
        )],
        aim: "Read × While × Double",
        firmware: false,
    },
    Mutant {
        name: "a set tells of another set's events",
        changes: &[(EVENTS, "watched.filter(|watched| watched.set == set) else", "watched.filter(|_| true) else")],
        aim: "Wait × Data × Fill",
        firmware: false,
    },
    Mutant {
        name: "events have bits that nobody asked for",
        changes: &[(
            EVENTS,
            "let bits = bits & (watched.events | ring::ALWAYS) & 0xffff;",
            "let bits = bits & 0xffff;",
        )],
        aim: "Wait × Data × Fill",
        firmware: false,
    },
    Mutant {
        name: "an address is as long as there is room",
        changes: &[(
            FILES,
            "let most = u64::from(u32::from_le_bytes(get(room)?)).min(count);",
            "let most = u64::from(u32::from_le_bytes(get(room)?)).min(28);",
        )],
        aim: "Name × Result",
        firmware: false,
    },
    Mutant {
        name: "memory of the program is written unseen",
        changes: &[(
            "shim/src/syscall/mod.rs",
            "space.ready(to, bytes.len() as u64, WRITE)?;",
            "_ = (&mut space, WRITE);",
        )],
        aim: "What × Result",
        firmware: false,
    },
    Mutant {
        name: "the host says how much memory there is",
        changes: &[(
            BOOT,
            "if !memory.is_multiple_of(PAGE) || memory <= plan.free || memory > SHARED {",
            "if memory == SHARED.wrapping_add(7) {",
        )],
        aim: "start::Memory",
        firmware: false,
    },
    Mutant {
        name: "the host says how fast time goes",
        changes: &[(BOOT, "if !(1_000_000..=100_000_000_000).contains(&ticks) {", "if ticks == 7 {")],
        aim: "start::Ticks",
        firmware: false,
    },
    Mutant {
        name: "processors come uninvited",
        changes: &[
            ("shim/src/threads/seats.rs", ".filter(|_| ticket <= self.asked.load(Ordering::SeqCst))", ""),
            ("shim/src/threads/bound.rs", "        None => lie(),", "        None => arch::stop(),"),
        ],
        aim: "Processors × Extra",
        firmware: false,
    },
    Mutant {
        name: "any brief will do",
        changes: &[(
            "shim/src/attest/door.rs",
            "if snp::host_data(&report) != Some(&door.hash) {",
            "if snp::host_data(&report).is_none() {",
        )],
        aim: "Read × Data × Flip",
        firmware: true,
    },
    Mutant {
        name: "what is written takes its neighbours along",
        changes: &[(
            FILES,
            "into_window(from.wrapping_add(done), 0, part)?;",
            "into_window(from.wrapping_add(done), 0, part.saturating_add(64).min(DATA))?;",
        )],
        aim: "Write × Words",
        firmware: false,
    },
];

/// Seeds that are tried, at most: each cell comes up in the first thousand.
const LIES: &str = "4000";

/// Has the hostile host find each of them.
pub(crate) fn run(repository: &Repository) -> Result<(), Failed> {
    let place = repository.target().join("mutants");
    // Cargo's own folder stays: what does not change is not compiled again.
    let copy = place.join("tree");
    let mut missed = None;
    for (number, mutant) in MUTANTS.iter().enumerate() {
        let found = step(&format!("mutant {} of {}: {}", number + 1, MUTANTS.len(), mutant.name), || {
            let shim = build(repository, &copy, &place.join("target"), mutant)?;
            let mut arguments = vec!["test", "--locked", "--release", "--package", "keep", "--test", "hostile", "--"];
            arguments.extend(["--stop", "--lies", LIES, "--aim", mutant.aim, "--shim"]);
            let call = repository.cargo(Workspace::Root, &arguments).arguments(&[&shim]);
            let call = if mutant.firmware { call.arguments(&["--firmware"]) } else { call };
            let output = call.command().output().map_err(|error| call.failed(mutant.name, error))?;
            let said = String::from_utf8_lossy(&output.stdout);
            // That it found something, not that it could not begin.
            match said.lines().find(|line| line.starts_with("seed ") || line.starts_with("without lies")) {
                Some(finding) if !output.status.success() => {
                    println!("  found: {finding}");
                    Ok(())
                }
                _ => Err(call.failed(mutant.name, format_args!("not found; {}", said.trim()))),
            }
        });
        // All are tried: which are missed says more than that one is.
        if let Err(failed) = found {
            println!("  {failed}", failed = failed.why);
            missed.get_or_insert(failed);
        }
    }
    missed.map_or(Ok(()), Err)
}

/// The shim without the check.
fn build(repository: &Repository, copy: &Path, target: &Path, mutant: &Mutant) -> Result<PathBuf, Failed> {
    let guest = copy.join("guest");
    let cargo = Call::new("cargo", &guest)
        .arguments(&["build", "--locked", "--release", "--package", "shim", "--target", "x86_64-unknown-none"])
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", recipe::SHIM.join(" "));
    let failed = |error: &dyn std::fmt::Display| cargo.failed(mutant.name, error);
    if copy.exists() {
        fs::remove_dir_all(copy).map_err(|error| failed(&error))?;
    }
    copy_tree(repository, copy).map_err(|error| failed(&error))?;
    for (file, from, to) in mutant.changes {
        let path = guest.join(file);
        let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
        if text.matches(from).count() != 1 {
            return Err(failed(&format_args!("{file} does not have this text once: {from}")));
        }
        fs::write(&path, text.replace(from, to)).map_err(|error| failed(&error))?;
    }
    cargo.output(mutant.name)?;
    Ok(target.join("x86_64-unknown-none/release/shim"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that a changed check is noticed at once, and not at night.
    #[test]
    fn every_mutant_is_a_change_of_the_sources() {
        let repository = Repository::of_this_build();
        for mutant in MUTANTS {
            for (file, from, to) in mutant.changes {
                let text = fs::read_to_string(repository.root().join("guest").join(file)).unwrap();
                assert_eq!(text.matches(from).count(), 1, "{}: {file}: {from}", mutant.name);
                assert_ne!(from, to);
            }
        }
    }
}
