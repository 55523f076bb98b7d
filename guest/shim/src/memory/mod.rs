//! The program's memory: which areas there are ([`areas`]), which physical pages are free ([`frames`]), and the page
//! tables that make the one into the other (`space`).

pub(crate) mod areas;
pub(crate) mod frames;
#[cfg(target_os = "none")]
pub(crate) mod space;
