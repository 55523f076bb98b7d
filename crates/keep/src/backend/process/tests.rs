//! Keeps from their start to their end: a hostile one in exec's place, and exec with native programs.

use std::collections::BTreeMap;
use std::sync::mpsc;

use workload::brief::{Brief, Source};
use workload::manifest::Manifest;
use workload::package::{Package, Program};

use super::super::Nil;
use super::*;
use crate::launch::{Event, Stdio};
use crate::task::{calls, tiny};
use crate::{Backend, Blobs, Image};

const EXIT: u8 = 60;
const FORK: u8 = 57;

fn host(blobs: Box<dyn Blobs>, events: Box<dyn FnMut(Event) + Send>) -> Host {
    Host { blobs, listen: BTreeMap::new(), cache: None, stdio: Stdio::Null, events }
}

/// A Keep that sends these bytes to its platform, does something, and then computes for ever.
fn hostile(message: &[u8], then: &[u8]) -> Running {
    // mov edi,3; lea rsi,[rip+14+THEN]; mov edx,LENGTH; mov eax,1; syscall; THEN; jmp .
    let (length, place) = (u8::try_from(message.len()).unwrap(), 14 + u8::try_from(then.len()).unwrap());
    let code =
        [0xbf, 3, 0, 0, 0, 0x48, 0x8d, 0x35, place, 0, 0, 0, 0xba, length, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05];
    let elf = tiny(&[&code[..], then, &[0xeb, 0xfe], message].concat());
    let launch =
        Launch { image: Image::of(Vec::leak(elf)), brief: Arc::from([]), brief_hash: [0; 32], deployment: None };
    Nil.start(&launch, host(Box::new(BTreeMap::new()), Box::new(|_| {}))).unwrap()
}

#[test]
fn a_breach_of_the_protocol_ends_the_keep() {
    let ended = hostile(&[1, 0, 0, 0, 99], &[]).wait();
    assert!(matches!(&ended, Err(RunError::Protocol(why)) if why.contains("99")), "{ended:?}");
}

/// What the Keep would do about it never comes to be.
#[test]
fn a_breach_of_the_protocol_is_the_reason() {
    // xor eax,eax; mov edx,1; syscall: which reads until its platform is gone.
    let read = [0x31, 0xc0, 0xba, 1, 0, 0, 0, 0x0f, 0x05];
    for _ in 0..20 {
        let ended = hostile(&[1, 0, 0, 0, 99], &[&read[..], &calls(FORK, 0)].concat()).wait();
        assert!(matches!(&ended, Err(RunError::Protocol(_))), "{ended:?}");
    }
}

#[test]
fn the_outcome_ends_the_keep() {
    assert_eq!(hostile(&[3, 0, 0, 0, 9, 0, 7], &[]).wait().unwrap(), End::Exit(7));
}

/// exec, with this as the workload's program.
fn native(program: &[u8], events: impl FnMut(Event) + Send + 'static) -> Running {
    let built = Package::build(&Manifest::default(), Program::Elf(program.to_vec()), vec![]).unwrap();
    let mut blobs: BTreeMap<_, _> = built.blobs.into_iter().map(|(blob, bytes)| (blob.digest, bytes)).collect();
    blobs.insert(built.digest, built.manifest);
    let brief = Brief {
        trust_domain: "local".parse().unwrap(),
        steward: None,
        source: Source::Host,
        owner: None,
        deployment: "run".parse().unwrap(),
        role: "main".parse().unwrap(),
        workload: built.digest,
        args: Vec::new(),
        env: Vec::new(),
    };
    let launch = Launch::new(Image::built_in().unwrap(), brief.try_encode().unwrap(), None).unwrap();
    Nil.start(&launch, host(Box::new(blobs), Box::new(events))).unwrap()
}

#[test]
fn a_native_program_ends_as_it_ends() {
    assert_eq!(native(&tiny(&calls(EXIT, 42)), |_| {}).wait().unwrap(), End::Exit(42));
    let hlt = [0xf4];
    assert_eq!(native(&tiny(&hlt), |_| {}).wait().unwrap(), End::Signal(11));
    let ended = native(&tiny(&calls(FORK, 0)), |_| {}).wait();
    let named = matches!(&ended, Err(RunError::Call { who: Caller::Program, name, .. }) if name == "fork");
    assert!(named, "{ended:?}");
}

/// What is no program is refused by exec, before anything is handed over.
#[test]
fn exec_refuses_what_no_keep_runs() {
    let mut fixed = tiny(&calls(EXIT, 0));
    fixed[16] = 2;
    let ended = native(&fixed, |_| {}).wait();
    let refused = matches!(&ended, Ok(End::Refused { step: 13, code, .. }) if code == "elf.invalid");
    assert!(refused, "{ended:?}");
}

/// Descriptor 3 is the program's too: what it says there is judged as what exec says.
#[test]
fn a_program_that_breaks_the_protocol_is_ended() {
    let message = [1, 0, 0, 0, 99];
    let code = [0xbf, 3, 0, 0, 0, 0x48, 0x8d, 0x35, 14, 0, 0, 0, 0xba, 5, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05];
    let ended = native(&tiny(&[&code[..], &[0xeb, 0xfe], &message].concat()), |_| {}).wait();
    assert!(matches!(&ended, Err(RunError::Protocol(why)) if why.contains("99")), "{ended:?}");
}

/// It needs no platform, so it may close its way there.
#[test]
fn a_program_may_close_descriptor_3() {
    // mov edi,3; mov eax,3; syscall; mov edi,9; mov eax,60; syscall
    let code = [0xbf, 3, 0, 0, 0, 0xb8, 3, 0, 0, 0, 0x0f, 0x05, 0xbf, 9, 0, 0, 0, 0xb8, EXIT, 0, 0, 0, 0x0f, 0x05];
    assert_eq!(native(&tiny(&code), |_| {}).wait().unwrap(), End::Exit(9));
}

/// At any moment, and whichever of its processes runs: here at the last word of exec, and a little later each time.
#[test]
fn a_keep_is_stopped_while_its_program_is_replaced() {
    for pause in [0, 1, 3, 10, 30] {
        let (tell, told) = mpsc::channel();
        let keep = native(&tiny(&[0xeb, 0xfe]), move |event| {
            if matches!(event, Event::Milestone { step: 13, .. }) {
                // The receiver waits for it.
                _ = tell.send(());
            }
        });
        told.recv().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        keep.stopper().stop();
        let ended = keep.wait();
        assert!(matches!(ended, Err(RunError::Stopped)), "{pause}: {ended:?}");
    }
}
