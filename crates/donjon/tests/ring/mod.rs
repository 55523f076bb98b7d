//! Micro-VMs whose calls a thread of the host serves before the bell rings: everything is as without it.

use std::path::Path;

use crate::support::{Form, Input, donjon, finish, probe, program};

fn served(program: &Path, arguments: &[&str], input: Input) -> crate::support::Ran {
    let mut command = donjon(Path::new("/"), ["run", "-q", program.to_str().unwrap()].iter().chain(arguments));
    command.env("DONJON_RING", "served");
    finish(command, input)
}

#[test]
fn threads_and_sockets() {
    let said = "shares: [(0, 0), (1, 1000), (2, 2000), (3, 3000)], total 6000\n\
                no certificates\n\
                writing: ReadOnlyFilesystem\n\
                echo: hello, hello\n\
                a panic: as it should\n";
    served(&program("threads", "threads", Form::Native), &["7"], Input::Nothing).assert(7, said, "");
}

#[test]
fn streams() {
    let bytes: Vec<u8> = (0..3 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for form in [Form::Module, Form::Native] {
        let ran = served(&probe(form), &["cat"], Input::Bytes(bytes.clone()));
        assert!(ran.code() == 0 && ran.stdout == bytes, "{form:?}");
    }
}
