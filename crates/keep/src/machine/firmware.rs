//! The firmware beside a micro-VM, and the monitor's way to it: commands as the host of SEV-SNP gives them to AMD's.
//!
//! Owns the commands. The firmware is in the host process and sees the machine's memory, which it measures and into which
//! it puts its secrets; the monitor says where, and carries the guest's messages without being able to read them.
//!
//! Refuses commands that are none or come out of their order. Whoever is at the other end learns a status and no more.

use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::rand::GetRandomFlags;
use silicon::{Amd, Finish, Guest, Launch, PageKind};

use crate::measure;
use crate::sys;
use crate::sys::memory::Memory;

/// A page, or a guest message.
pub(crate) type Page = [u8; 4096];

/// A command that cannot be obeyed: not now, no memory there, no such thing (AMD 56860, Status Codes).
const INVALID_GUEST_STATE: u32 = 0x02;
const INVALID_ADDRESS: u32 = 0x09;
const INVALID_PARAMETER: u32 = 0x16;

/// What a command is, in the first of its four words; the others are address, kind and number of pages. A page follows
/// the second and the last of them.
const UPDATE: u64 = 1;
const PROCESSOR: u64 = 2;
const FINISH: u64 = 3;
const REQUEST: u64 = 4;

/// The monitor's end: plain reads and writes, which are all that it may still do.
pub(crate) struct Link(File);

impl Link {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(OwnedFd::from(stream).into())
    }

    /// SNP_LAUNCH_UPDATE of pages that lie in the machine's memory.
    pub(crate) fn update(&mut self, kind: measure::PageKind, at: u64, pages: u64) -> Result<()> {
        self.ask([UPDATE, at, kind as u64, pages], None)
    }

    /// SNP_LAUNCH_UPDATE of a processor's first state.
    pub(crate) fn processor(&mut self, at: u64, state: &Page) -> Result<()> {
        self.ask([PROCESSOR, at, 0, 0], Some(state))
    }

    /// SNP_LAUNCH_FINISH.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.ask([FINISH, 0, 0, 0], None)
    }

    /// SNP_GUEST_REQUEST: the answer to a guest's message.
    pub(crate) fn request(&mut self, message: &Page) -> Result<Page> {
        self.ask([REQUEST, 0, 0, 0], Some(message))?;
        let mut answer = [0; 4096];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }

    fn ask(&mut self, words: [u64; 4], page: Option<&Page>) -> Result<()> {
        let mut bytes = words.map(u64::to_le_bytes).concat();
        bytes.extend(page.into_iter().flatten());
        self.0.write_all(&bytes)?;
        let mut status = [0; 4];
        self.0.read_exact(&mut status)?;
        match u32::from_le_bytes(status) {
            0 => Ok(()),
            status => Err(Error::other(format!("the firmware answers {status:#x}"))),
        }
    }
}

/// Starts the firmware for one guest, with this Keep's launch field and memory; `prepare` is given the guest before it runs.
pub(crate) fn start(
    amd: &Amd,
    keep: &crate::Launch,
    prepare: impl Fn(Guest) -> Guest + Send + 'static,
) -> Result<sys::Firmware> {
    let host_data = keep.field();
    let memory = Memory::file(keep.memory.get())?;
    let seen = Memory::of(memory.as_fd(), keep.memory.get())?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut random = [0; 32];
    rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
    let launch = amd.launch(amd.request().policy).map_err(Error::other)?.with_randomness(&random);
    std::thread::Builder::new().name("keep-firmware".to_owned()).spawn(move || {
        let finish = Finish { host_data, id_block: None };
        // An error: the monitor is gone, and whoever waits for it learns why.
        _ = serve(ours, &seen, launch, &finish, prepare);
    })?;
    Ok(sys::Firmware { memory, stream: theirs })
}

enum State {
    Launching(Launch),
    Running(Box<Guest>),
}

/// Serves the firmware's commands until the monitor is gone.
fn serve(
    mut monitor: UnixStream,
    memory: &Memory,
    launch: Launch,
    finish: &Finish<'_>,
    prepare: impl Fn(Guest) -> Guest,
) -> Result<()> {
    let mut state = State::Launching(launch);
    let mut page = [0; 4096];
    loop {
        let words = [(); 4].map(|()| word(&mut monitor));
        let [Ok(command), Ok(at), Ok(kind), Ok(pages)] = words else { return Ok(()) };
        if matches!(command, PROCESSOR | REQUEST) {
            monitor.read_exact(&mut page)?;
        }
        let mut answer = None;
        let done = match (command, &mut state) {
            (UPDATE, State::Launching(launch)) => update(launch, memory, at, kind, pages),
            (PROCESSOR, State::Launching(launch)) => {
                launch.update(PageKind::Vmsa, at, &mut page).map_err(|error| error.status())
            }
            (FINISH, State::Launching(launch)) => match launch.clone().finish(finish) {
                Ok(guest) => {
                    state = State::Running(Box::new(prepare(guest)));
                    Ok(())
                }
                Err(error) => Err(error.status()),
            },
            (REQUEST, State::Running(guest)) => match guest.request(&page) {
                Ok(found) => {
                    answer = Some(found);
                    Ok(())
                }
                Err(error) => Err(error.status()),
            },
            (UPDATE..=REQUEST, _) => Err(INVALID_GUEST_STATE),
            _ => Err(INVALID_PARAMETER),
        };
        monitor.write_all(&done.err().unwrap_or(0).to_le_bytes())?;
        monitor.write_all(answer.as_ref().map_or(&[][..], |answer| answer))?;
    }
}

fn word(stream: &mut UnixStream) -> Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn update(launch: &mut Launch, memory: &Memory, at: u64, kind: u64, pages: u64) -> std::result::Result<(), u32> {
    let kinds = [PageKind::Normal, PageKind::Secrets, PageKind::Cpuid];
    let kind = kinds.into_iter().find(|known| *known as u64 == kind).ok_or(INVALID_PARAMETER)?;
    let mut page = [0; 4096];
    for index in 0..pages {
        let at = index.checked_mul(4096).and_then(|offset| at.checked_add(offset)).ok_or(INVALID_ADDRESS)?;
        memory.get(at, &mut page).ok_or(INVALID_ADDRESS)?;
        launch.update(kind, at, &mut page).map_err(|error| error.status())?;
        if kind == PageKind::Secrets {
            memory.put(at, &page);
        }
    }
    Ok(())
}
