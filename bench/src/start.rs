//! How long a Keep takes to begin: with exec until it first asks its host for something, and with a small program in
//! exec's place from start to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use keep::backend::{MicroVm, Nil, Sim};
use keep::{Backend, Blobs, Folders, Host, Image, Launch, Stdio};
use silicon::amd::{Amd, Product};
use workload::Digest;
use workload::brief::{Brief, Source};

use crate::Result;

/// Says when it is asked, and has nothing.
struct First(Sender<Instant>);

impl Blobs for First {
    fn read(&mut self, _: Digest, _: u64, _: usize) -> Option<(u64, &[u8])> {
        // Nobody waits for a second time.
        _ = self.0.send(Instant::now());
        None
    }
}

pub(crate) fn backend(name: &str) -> Box<dyn Backend> {
    match name {
        "nil" => Box::new(Nil),
        "kvm" => Box::new(MicroVm),
        _ => Box::new(Sim::micro_vm(Arc::new(Amd::from_seed([0; 32], Product::Genoa)))),
    }
}

fn launch(image: Image) -> Result<Launch> {
    let brief = Brief {
        trust_domain: "local".parse()?,
        steward: None,
        source: Source::Host,
        owner: None,
        deployment: "bench".parse()?,
        role: "main".parse()?,
        workload: Digest::of(b"nothing"),
        args: Vec::new(),
        env: Vec::new(),
    };
    Ok(Launch::new(image, brief.encode(), None)?)
}

fn host(blobs: Box<dyn Blobs>) -> Host {
    Host {
        blobs,
        listen: BTreeMap::new(),
        folders: Folders::default(),
        cache: None,
        stdio: Stdio::Null,
        events: Box::new(|_| {}),
    }
}

/// Until exec asks for its workload.
pub(crate) fn exec(backend: &dyn Backend) -> Result<Duration> {
    let (first, asked) = channel();
    let launch = launch(Image::built_in()?)?;
    let start = Instant::now();
    let keep = backend.start(&launch, host(Box::new(First(first))))?;
    let asked = asked.recv()?;
    // It is refused, because there is no workload.
    _ = keep.wait();
    Ok(asked.duration_since(start))
}

/// From start to end, of a program in exec's place.
pub(crate) fn instead(backend: &dyn Backend, program: &'static [u8]) -> Result<Duration> {
    let launch = launch(Image::of(program))?;
    let start = Instant::now();
    // How it ends is not what a Keep says that has exec in it.
    _ = backend.start(&launch, host(Box::new(BTreeMap::new())))?.wait();
    Ok(start.elapsed())
}
