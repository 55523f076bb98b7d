//! Keeps from their start to their end: a hostile one in exec's place, and exec with native programs.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::mpsc;

use workload::brief::{Brief, Source, StewardRef};
use workload::digest::Digest;
use workload::manifest::Manifest;
use workload::package::{Package, Program};

use super::super::Nil;
use super::*;
use crate::folders::Folders;
use crate::launch::{Event, Memory, Stdio};
use crate::task::{calls, tiny};
use crate::{Backend, Blobs, Image, Signal};

const EXIT: u8 = 60;
const FORK: u8 = 57;

fn host(blobs: Box<dyn Blobs>, events: Box<dyn FnMut(Event) + Send>) -> Host {
    Host { blobs, listen: BTreeMap::new(), folders: Folders::default(), cache: None, stdio: Stdio::Null, events }
}

/// A Keep that sends these bytes to its platform, does something, and then computes for ever.
fn hostile(message: &[u8], then: &[u8]) -> Running {
    Nil.start(&posing(message, then), nobody()).unwrap()
}

/// A host that has nothing.
fn nobody() -> Host {
    host(Box::new(BTreeMap::new()), Box::new(|_| {}))
}

/// Of a program in exec's place.
fn posing(message: &[u8], then: &[u8]) -> Launch {
    // mov edi,3; lea rsi,[rip+14+THEN]; mov edx,LENGTH; mov eax,1; syscall; THEN; jmp .
    let (length, place) = (u8::try_from(message.len()).unwrap(), 14 + u8::try_from(then.len()).unwrap());
    let code =
        [0xbf, 3, 0, 0, 0, 0x48, 0x8d, 0x35, place, 0, 0, 0, 0xba, length, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05];
    let elf = tiny(&[&code[..], then, &[0xeb, 0xfe], message].concat());
    Launch {
        image: Image::of(Vec::leak(elf)),
        brief: Arc::from([]),
        brief_hash: [0; 32],
        deployment: None,
        signature: None,
        memory: Memory::default(),
    }
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

#[test]
fn what_began_becomes_the_first_keep_of_its_image() {
    let [launch, other] = [7, 8].map(|status| posing(&[3, 0, 0, 0, 9, 0, status], &[]));
    let begun = Begun::new(launch.image, Stdio::Null, None);
    let waits = || begun.first.lock().unwrap().is_some();
    assert_eq!(begun.start(&other, nobody()).unwrap().wait().unwrap(), End::Exit(8));
    let inherits = Host { stdio: Stdio::Inherit, ..nobody() };
    assert_eq!(begun.start(&launch, inherits).unwrap().wait().unwrap(), End::Exit(7));
    assert!(waits(), "it is for another image, and for other streams");
    assert_eq!(begun.start(&launch, nobody()).unwrap().wait().unwrap(), End::Exit(7));
    assert!(!waits());
    assert_eq!(begun.start(&launch, nobody()).unwrap().wait().unwrap(), End::Exit(7), "the second is made for it");
}

#[test]
fn what_began_for_nothing_ends() {
    let launch = posing(&[], &[]);
    let (tell, told) = mpsc::channel();
    let first = std::thread::spawn(move || {
        let started = Started::exec(launch.image, Stdio::Null, None)()?;
        tell.send(started.ours.try_clone().unwrap()).unwrap();
        Ok(started)
    });
    let begun = Begun { image: launch.image, stdio: Stdio::Null, first: Mutex::new(Some(first)) };
    let mut ours = told.recv().unwrap();
    ours.set_nonblocking(true).unwrap();
    assert!(ours.read(&mut [0]).is_err(), "control: it is there");
    drop(begun);
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
}

/// exec, with this as the workload's program.
fn native(program: &[u8], events: impl FnMut(Event) + Send + 'static) -> Running {
    exec(None, program, events)
}

fn exec(steward: Option<StewardRef>, program: &[u8], events: impl FnMut(Event) + Send + 'static) -> Running {
    let built = Package::build(&Manifest::default(), Program::Elf(program.to_vec()), vec![]).unwrap();
    let mut blobs: BTreeMap<_, _> = built.blobs.into_iter().map(|(blob, bytes)| (blob.digest, bytes)).collect();
    blobs.insert(built.digest, built.manifest);
    let brief = Brief {
        trust_domain: "local".parse().unwrap(),
        steward,
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

/// A program that never ends, so many milliseconds after the last word of the exec that it replaces.
fn replaced(pause: u64) -> Running {
    let (tell, told) = mpsc::channel();
    let keep = native(&tiny(&[0xeb, 0xfe]), move |event| {
        if matches!(event, Event::Milestone { step: 13, .. }) {
            // The receiver waits for it.
            _ = tell.send(());
        }
    });
    told.recv().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(pause));
    keep
}

/// At any moment, and whichever of its processes runs: here at the last word of exec, and a little later each time.
#[test]
fn a_keep_is_stopped_while_its_program_is_replaced() {
    for pause in [0, 1, 3, 10, 30] {
        let keep = replaced(pause);
        keep.stopper().stop();
        let ended = keep.wait();
        assert!(matches!(ended, Err(RunError::Stopped)), "{pause}: {ended:?}");
    }
}

/// Its status is the byte on descriptor 4, which it waits for.
const LISTENS: [u8; 36] = [
    // mov edi,4; lea rsi,[rsp-8]; mov edx,1; xor eax,eax; syscall
    0xbf, 4, 0, 0, 0, 0x48, 0x8d, 0x74, 0x24, 0xf8, 0xba, 1, 0, 0, 0, 0x31, 0xc0, 0x0f, 0x05,
    // cmp eax,1; jne to the beginning; movzx edi,byte [rsp-8]; mov eax,60; syscall
    0x83, 0xf8, 1, 0x75, 0xe8, 0x0f, 0xb6, 0x7c, 0x24, 0xf8, 0xb8, EXIT, 0, 0, 0, 0x0f, 0x05,
];

#[test]
fn the_wish_for_an_end_is_the_number_of_a_signal() {
    for (signal, number) in [(Signal::Interrupt, 2), (Signal::Terminate, 15)] {
        let keep = hostile(&[], &LISTENS);
        keep.stopper().end(signal);
        // What is in exec's place says no outcome.
        let ended = keep.wait();
        let said = format!("exit status: {number}");
        assert!(matches!(&ended, Err(RunError::Silent(why)) if *why == said), "{ended:?}");
    }
}

/// Also if the two are not the same: it ends by the second, and is said to have ended by that.
#[test]
fn who_does_not_hear_is_ended_the_second_time() {
    let keep = hostile(&[], &[]);
    let stopper = keep.stopper();
    stopper.end(Signal::Terminate);
    assert!(!keep.keep.is_finished(), "it computes");
    stopper.end(Signal::Interrupt);
    stopper.end(Signal::Terminate);
    assert_eq!(keep.wait().unwrap(), End::Signal(2));
}

#[test]
fn a_keep_that_told_its_end_is_not_said_to_have_been_ended() {
    let keep = hostile(&[3, 0, 0, 0, 9, 0, 7], &[]);
    let stopper = keep.stopper();
    stopper.end(Signal::Terminate);
    assert_eq!(keep.wait().unwrap(), End::Exit(7));
    stopper.end(Signal::Terminate);
}

/// It has no program yet that could answer anybody.
#[test]
fn a_keep_that_enrols_ends_at_once() {
    for (signal, status) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        let steward = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", steward.local_addr().unwrap());
        let named = StewardRef { url, anchors: vec![Digest::of(b"root")], tls: Vec::new() };
        let keep = exec(Some(named), &tiny(&[0xeb, 0xfe]), |_| {});
        // It waits for an answer that never comes.
        let _asked = steward.accept().unwrap();
        keep.stopper().end(signal);
        assert_eq!(keep.wait().unwrap(), End::Exit(status));
    }
}

/// Whichever of its processes runs, as above; and it has no descriptor 4 that it would not know what to do with.
#[test]
fn a_native_program_does_not_hear() {
    for pause in [0, 1, 3, 10, 30] {
        let keep = replaced(pause);
        keep.stopper().end(Signal::Terminate);
        assert_eq!(keep.wait().unwrap(), End::Signal(15), "{pause}");
    }
    // mov edi,4; mov esi,1; mov eax,72; syscall; neg eax; mov edi,eax; mov eax,60; syscall: F_GETFD
    let asks = [
        0xbf, 4, 0, 0, 0, 0xbe, 1, 0, 0, 0, 0xb8, 72, 0, 0, 0, 0x0f, 0x05, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, EXIT, 0, 0, 0,
        0x0f, 0x05,
    ];
    const EBADF: u8 = 9;
    assert_eq!(native(&tiny(&asks), |_| {}).wait().unwrap(), End::Exit(EBADF));
    let ended = hostile(&[], &asks).wait();
    assert!(matches!(&ended, Err(RunError::Silent(why)) if why == "exit status: 0"), "control: {ended:?}");
}
