//! A Keep as a micro-VM: what lies where in its memory ([`layout`]), how its processor starts ([`state`]), the machine
//! ([`run`]), and the host's answers to the
//! calls of its shim ([`answers`]), and what it may do beside ([`confine`]).
//!
//! The virtual machine monitor is a process of its own: this program started once more, confined, with descriptor 3 as its
//! way to the host process, which serves it as it serves an exec under `nil`. Whoever breaks out of the micro-VM is in that
//! process.
//!
//! Refuses to be anything else than such a child.

pub(crate) mod answers;
mod confine;
pub(crate) mod elf;
pub(crate) mod firmware;
pub(crate) mod layout;
mod liar;
mod looker;
mod rewriter;
pub(crate) mod run;
pub(crate) mod state;

use std::process::ExitCode;

use crate::Image;

/// The name by which this program knows that it is to be the monitor of a micro-VM.
pub(crate) const NAME: &str = "donjon-vmm";

/// Becomes the monitor of a micro-VM if this process was started as one. To be called before anything else.
#[must_use]
pub fn monitor() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.next()? != NAME {
        return None;
    }
    Some(run::main())
}

/// What the machine is made of.
fn image() -> Result<Image, String> {
    let [shim, exec] = crate::sys::others().map_err(|error| format!("cannot read what it was given: {error}"))?;
    let mut image = Image::built_in().map_err(|error| error.to_string())?;
    if let Some(exec) = exec {
        image = Image::of(Vec::leak(exec));
    }
    Ok(match shim {
        Some(shim) => image.with_shim(Vec::leak(shim)),
        None => image,
    })
}
